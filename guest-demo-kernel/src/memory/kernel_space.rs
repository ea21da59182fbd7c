//! The kernel's own address space, built from scratch, and what every other address space shares with it.
//!
//! Kernel image, physical map and required mappings keep the addresses they have at entry; the kernel adds one
//! PML4 slot for its stacks, and chooses another one, in the lower half, for user programs. Which slots are free
//! differs from world to world, so nothing here is a constant address.

use super::frames;
use super::tables::{self, MapError, Owner};
use crate::arch;
use crate::cpu;
use crate::sync::IrqLock;
use alloc::boxed::Box;
use alloc::vec::Vec;
use core::sync::atomic::AtomicU64;
use pvops_abi::addr::{PAGE_SIZE, PhysAddr, VirtAddr};
use pvops_abi::boot::{BootContext, BootRegion};
use pvops_abi::layout::MemoryKind;
use pvops_abi::layout::start_info::VirtRange;
use pvops_abi::ops;
use pvops_abi::ops::mmu::{Decoded, Level, PageFlags, RequiredMapping, Retain, mmu};
use spin::Once;

/// Bytes that one PML4 slot spans.
pub(crate) const SLOT_BYTES: u64 = 1 << 39;
/// Pages of a kernel stack. Debug builds format registers with many kilobytes of locals.
const STACK_PAGES: u64 = 8;
/// Distance of kernel stacks; the pages between them are never mapped.
const STACK_DISTANCE: u64 = 2 * STACK_PAGES * PAGE_SIZE;
/// Offset in the kernel's slot of addresses that are mapped for tests only.
const WINDOW: u64 = SLOT_BYTES / 2;
/// Offset in the kernel's slot where nothing is ever mapped.
const HOLE: u64 = SLOT_BYTES / 4 * 3;

const KERNEL_DATA: PageFlags =
    PageFlags::PRESENT.union(PageFlags::WRITABLE).union(PageFlags::NO_EXECUTE).union(PageFlags::GLOBAL);

static SPACE: Once<KernelSpace> = Once::new();
static STACKS: IrqLock<StackPool> = IrqLock::new(StackPool { unused: Vec::new(), made: 0 });

struct KernelSpace {
    root: PhysAddr,
    /// The kernel's own slot: stacks and the test window.
    own: VirtAddr,
    /// The slot of user programs.
    user: VirtAddr,
    /// PML4 indices that all roots share.
    common: Vec<usize>,
}

/// A stack that a thread owns; its guard page is below it.
#[derive(Clone, Copy)]
pub(crate) struct KernelStack {
    /// Its end, where it begins to grow down from.
    pub(crate) top: VirtAddr,
    /// The stack pointer while its thread is not running.
    pub(crate) saved: &'static AtomicU64,
}

impl KernelStack {
    /// The last word of its guard page.
    pub(crate) fn guard(&self) -> VirtAddr {
        VirtAddr(self.top.0 - STACK_PAGES * PAGE_SIZE - 8)
    }
}

struct StackPool {
    unused: Vec<KernelStack>,
    made: u64,
}

/// Builds the address space and loads it. Exercises `mmu::required_mappings`, `load_root` and `set_common_slots`.
pub(crate) fn build(boot: &'static BootContext) -> Result<(), MapError> {
    let root = tables::new_table(Level::Pml4)?;
    map_image(boot, root)?;
    map_boot_stack(boot, root)?;
    map_required(root)?;
    map_physical_memory(boot, root)?;
    let user = choose_slot(boot, root, 1..256);
    let own = choose_slot(boot, root, (1..512).rev().filter(|index| slot_start(*index) != user.0));
    // Its top table must exist before the first root copies the entry.
    tables::make_slot(root, own, Level::Pdpt, Owner::Kernel)?;
    ops::irq::without(|| arch::load_root(root, Retain::Drop));
    let common = declare_common_slots(root);
    SPACE.call_once(|| KernelSpace { root, own, user, common });
    Ok(())
}

/// Takes the boot stack out of the address space; nobody runs on it any more.
pub(crate) fn unmap_boot_stack(boot: &BootContext) {
    for page in pages(boot.boot_stack, boot.boot_stack_bytes) {
        tables::unmap_page(root(), page);
    }
    mmu().flush_range(boot.boot_stack.page_base(), boot.boot_stack_bytes + PAGE_SIZE, cpu::online());
}

/// The kernel's root.
pub(crate) fn root() -> PhysAddr {
    space().root
}

/// First address of the slot of user programs.
pub(crate) fn user_base() -> VirtAddr {
    space().user
}

/// Addresses where tests map pages of their own.
pub(crate) fn window() -> VirtAddr {
    VirtAddr(space().own.0 + WINDOW)
}

/// An address where nothing is mapped.
pub(crate) fn unmapped_address() -> VirtAddr {
    VirtAddr(space().own.0 + HOLE)
}

/// A new root that has nothing but the kernel's slots.
pub(crate) fn new_root() -> Result<PhysAddr, MapError> {
    let root = tables::new_table(Level::Pml4)?;
    for index in &space().common {
        let address = tables::slot_address(*index);
        mmu().set(tables::root_slot(root, address), mmu().read(tables::root_slot(space().root, address)));
    }
    Ok(root)
}

/// Shows every kernel page.
pub(crate) fn visit_pages(show: &mut dyn FnMut(tables::Leaf)) {
    for index in &space().common {
        let slot = tables::root_slot(space().root, tables::slot_address(*index));
        tables::visit(slot, &mut |found| {
            if let tables::Found::Leaf(leaf) = found {
                show(leaf);
            }
        });
    }
}

/// A kernel stack, mapped. Stacks are used again and stay mapped, so they need no flush.
pub(crate) fn allocate_stack() -> Option<KernelStack> {
    let number = {
        let mut pool = STACKS.lock();
        if let Some(stack) = pool.unused.pop() {
            return Some(stack);
        }
        pool.made += 1;
        pool.made
    };
    let top = VirtAddr(space().own.0 + number * STACK_DISTANCE);
    for page in pages(VirtAddr(top.0 - STACK_PAGES * PAGE_SIZE), STACK_PAGES * PAGE_SIZE) {
        tables::map_page(space().root, page, frames::allocate()?, KERNEL_DATA).ok()?;
    }
    Some(KernelStack { top, saved: Box::leak(Box::new(AtomicU64::new(0))) })
}

/// Gives a stack back; nobody runs on it.
pub(crate) fn release_stack(stack: KernelStack) {
    STACKS.lock().unused.push(stack);
}

fn space() -> &'static KernelSpace {
    SPACE.get().expect("built at boot")
}

/// Maps the image as the boot tables do, page by page, with the rights that its segments have there.
fn map_image(boot: &BootContext, root: PhysAddr) -> Result<(), MapError> {
    copy_mappings(boot, root, boot.kernel_start, boot.kernel_bytes, |leaf| frames::pin(leaf.frame))
}

/// The stack under our feet, until [`unmap_boot_stack`].
fn map_boot_stack(boot: &BootContext, root: PhysAddr) -> Result<(), MapError> {
    copy_mappings(boot, root, boot.boot_stack, boot.boot_stack_bytes, |_| {})
}

fn copy_mappings(
    boot: &BootContext,
    root: PhysAddr,
    start: VirtAddr,
    bytes: u64,
    note: impl Fn(&tables::Leaf),
) -> Result<(), MapError> {
    let rights = PageFlags::PRESENT | PageFlags::WRITABLE | PageFlags::NO_EXECUTE | PageFlags::UNCACHED;
    for page in pages(start, bytes) {
        // Gaps between segments stay gaps.
        if let Some(leaf) = tables::find_in_boot_tables(boot.boot_root, page) {
            tables::map_page(root, page, leaf.frame, (leaf.flags & rights) | PageFlags::GLOBAL)?;
            note(&leaf);
        }
    }
    Ok(())
}

fn map_required(root: PhysAddr) -> Result<(), MapError> {
    let mut result = Ok(());
    mmu().required_mappings(&mut |RequiredMapping { virt, phys, bytes, flags }| {
        let flags = flags | PageFlags::PRESENT | PageFlags::GLOBAL;
        result = result.and_then(|()| {
            (0..bytes).step_by(PAGE_SIZE as usize).try_for_each(|offset| {
                let (virt, phys) = (VirtAddr(virt.0 + offset), PhysAddr(phys.0 + offset));
                tables::map_page(root, virt, phys, flags).map(drop)
            })
        });
    });
    result
}

/// Maps all memory, where the boot tables map it; neighbours together, so that leaves can be large.
fn map_physical_memory(boot: &BootContext, root: PhysAddr) -> Result<(), MapError> {
    let is_memory = |region: &&BootRegion| {
        let no_memory = [MemoryKind::HypercallPage, MemoryKind::Device, MemoryKind::Reserved];
        !no_memory.contains(&region.kind)
    };
    let mut run = 0..0;
    for region in boot.regions().iter().filter(is_memory) {
        if region.start.0 != run.end {
            map_physical_run(boot, root, &run)?;
            run.start = region.start.0;
        }
        run.end = region.start.0 + region.bytes;
    }
    map_physical_run(boot, root, &run)
}

fn map_physical_run(boot: &BootContext, root: PhysAddr, run: &core::ops::Range<u64>) -> Result<(), MapError> {
    let address = VirtAddr(boot.physical_map.0.wrapping_add(run.start));
    tables::map_range(root, address, PhysAddr(run.start), run.end - run.start, KERNEL_DATA)
}

/// Tells the backend which slots are the kernel's in every root.
fn declare_common_slots(root: PhysAddr) -> Vec<usize> {
    let is_used = |index: &usize| {
        let slot = tables::root_slot(root, tables::slot_address(*index));
        mmu().decode(Level::Pml4, mmu().read(slot)) != Decoded::Absent
    };
    let common: Vec<usize> = (0..512).filter(is_used).collect();
    let mut words = [0; 8];
    common.iter().for_each(|index| words[index / 64] |= 1 << (index % 64));
    mmu().set_common_slots(&words).expect("few slots hold the kernel");
    common
}

/// The first of `candidates` that is ours to use: usable, not reserved, and empty in the boot tables and in ours.
fn choose_slot(boot: &BootContext, root: PhysAddr, candidates: impl IntoIterator<Item = usize>) -> VirtAddr {
    let slot = |root, index| tables::root_slot(root, tables::slot_address(index));
    let is_absent = |entry| mmu().decode(Level::Pml4, entry) == Decoded::Absent;
    let is_empty = |index| {
        is_absent(tables::boot_entry(slot(boot.boot_root, index))) && is_absent(mmu().read(slot(root, index)))
    };
    let reserved = boot.reserved_ranges[..boot.reserved_range_count].iter().chain(mmu().reserved_ranges());
    let is_free = |index: &usize| {
        let (first, last) = (slot_start(*index), slot_start(*index) + (SLOT_BYTES - 1));
        let usable = boot.usable_range.start <= first && last <= boot.usable_range.last;
        let clashes = |range: &VirtRange| range.start <= last && first <= range.last;
        usable && !reserved.clone().any(clashes) && is_empty(*index)
    };
    let index = candidates.into_iter().find(is_free).expect("a free PML4 slot");
    tables::slot_address(index)
}

fn slot_start(index: usize) -> u64 {
    tables::slot_address(index).0
}

fn pages(start: VirtAddr, bytes: u64) -> impl Iterator<Item = VirtAddr> {
    let first = start.page_base().0;
    let count = (start.0 + bytes).div_ceil(PAGE_SIZE) - first / PAGE_SIZE;
    (0..count).map(move |page| VirtAddr(first + page * PAGE_SIZE))
}
