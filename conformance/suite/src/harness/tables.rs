//! Page tables of the tests' own: roots that are copies of the boot root, with one free slot for experiments.

use super::world;
use core::sync::atomic::{AtomicU64, Ordering};
use pvops_abi::addr::{PAGE_SIZE, PhysAddr, VirtAddr};
use pvops_abi::layout::start_info::VirtRange;
use pvops_abi::ops;
use pvops_abi::ops::mmu::{Decoded, Entry, Level, PageFlags, Retain, Slot, mmu};
use spin::Once;

/// Bytes that a PML4 slot spans.
const SLOT_BYTES: u64 = 1 << 39;
/// Distance of the windows that tests get.
const WINDOW_BYTES: u64 = 16 << 20;

/// Kernel data that was never used.
pub(crate) const DATA: PageFlags = PageFlags::PRESENT.union(PageFlags::WRITABLE).union(PageFlags::NO_EXECUTE);

static BASE_ROOT: Once<PhysAddr> = Once::new();
static NEXT_WINDOW: AtomicU64 = AtomicU64::new(0);

/// The root that tests start in.
pub(crate) fn base_root() -> PhysAddr {
    *BASE_ROOT.call_once(new_root)
}

/// Loads it.
pub(crate) fn load_base_root() {
    load(base_root(), Retain::Keep);
}

/// Loads `root`, one of [`new_root`].
pub(crate) fn load(root: PhysAddr, retain: Retain) {
    // SAFETY: roots of `new_root` are announced and hold all that the boot root does.
    ops::irq::without(|| unsafe { mmu().load_root(root, retain) });
}

/// A root with all that the boot root maps and nothing else.
pub(crate) fn new_root() -> PhysAddr {
    let root = world::frame();
    fill_root(root);
    root
}

/// Makes `root`, a frame that is no table, what [`new_root`] returns.
pub(crate) fn fill_root(root: PhysAddr) {
    let boot_root = world::boot().boot_root;
    for index in 0..512 {
        let entry = world::word(PhysAddr(boot_root.0 + index * 8)).load(Ordering::Relaxed);
        world::word(PhysAddr(root.0 + index * 8)).store(entry, Ordering::Relaxed);
    }
    mmu().table_allocated(root, Level::Pml4).expect("a frame of memory can be a table");
}

/// Addresses that no test has used, the same in every root; 2 MiB aligned.
pub(crate) fn window() -> VirtAddr {
    VirtAddr(free_slot().0 + NEXT_WINDOW.fetch_add(WINDOW_BYTES, Ordering::Relaxed))
}

/// The start of 16 neighbouring slots that hold nothing, in no root but those of the test that asks.
pub(crate) fn common_window() -> VirtAddr {
    let free = |first: &u64| (*first..first + 16).all(is_free_slot);
    let after = free_slot().0 / SLOT_BYTES + 1;
    VirtAddr((after..240).find(free).expect("16 free PML4 slots") * SLOT_BYTES)
}

/// The first slot of the lower half that is free.
fn free_slot() -> VirtAddr {
    VirtAddr((1..256).find(|index| is_free_slot(*index)).expect("a free PML4 slot") * SLOT_BYTES)
}

/// Whether a PML4 slot is usable, not reserved, and empty in the boot root.
fn is_free_slot(index: u64) -> bool {
    let boot = world::boot();
    let mut reserved =
        boot.reserved_ranges[..boot.reserved_range_count].iter().chain(mmu().reserved_ranges());
    let (first, last) = (index * SLOT_BYTES, index * SLOT_BYTES + (SLOT_BYTES - 1));
    let clashes = |range: &VirtRange| range.start <= last && first <= range.last;
    let usable = boot.usable_range.start <= first && last <= boot.usable_range.last;
    let entry = world::word(PhysAddr(boot.boot_root.0 + index * 8)).load(Ordering::Relaxed);
    usable && !reserved.any(clashes) && entry == 0
}

/// Where the entry of `level` for `address` stands; the tables above it are made where they are missing.
pub(crate) fn slot(root: PhysAddr, address: VirtAddr, level: Level, user: bool) -> Slot {
    let mut slot = slot_in(root, Level::Pml4, address);
    while slot.level != level {
        let below = slot.level.below().expect("every level is above the last");
        let table = match mmu().decode(slot.level, mmu().read(slot)) {
            Decoded::Table(table) => table,
            Decoded::Leaf(..) => panic!("windows hold no large pages above a table"),
            Decoded::Absent => {
                let table = world::frame();
                mmu().table_allocated(table, below).expect("a frame of memory can be a table");
                mmu().set(slot, mmu().table(table, user));
                table
            }
        };
        slot = slot_in(table, below, address);
    }
    slot
}

fn slot_in(table: PhysAddr, level: Level, address: VirtAddr) -> Slot {
    let spanned = VirtAddr(address.0 & !(level.entry_bytes() - 1));
    Slot { table, index: address.table_index(level as u8), level, address: spanned }
}

/// Maps a page where none is, and returns where its entry stands.
pub(crate) fn map(root: PhysAddr, address: VirtAddr, frame: PhysAddr, flags: PageFlags) -> Slot {
    let slot = slot(root, address, Level::Pt, flags.contains(PageFlags::USER));
    mmu().set(slot, mmu().leaf(Level::Pt, frame, flags));
    slot
}

/// Flags of the leaf at `slot`.
pub(crate) fn flags(slot: Slot) -> PageFlags {
    match mmu().decode(slot.level, mmu().read(slot)) {
        Decoded::Leaf(_, flags) => flags,
        Decoded::Absent | Decoded::Table(_) => PageFlags::empty(),
    }
}

/// Takes the page at `slot` away and flushes it on this CPU.
pub(crate) fn unmap(slot: Slot) {
    mmu().set(slot, Entry::ABSENT);
    mmu().flush_page(slot.address, this_cpu());
}

/// The calling CPU, as a set.
pub(crate) fn this_cpu() -> ops::CpuSet {
    ops::CpuSet::single(ops::cpu::current())
}

/// A frame whose first word is `mark`.
pub(crate) fn marked_frame(mark: u64) -> PhysAddr {
    let frame = world::frame();
    world::word(frame).store(mark, Ordering::Relaxed);
    frame
}

/// The address `pages` behind `address`.
pub(crate) fn page(address: VirtAddr, pages: u64) -> VirtAddr {
    VirtAddr(address.0 + pages * PAGE_SIZE)
}
