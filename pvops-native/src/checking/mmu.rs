//! The MMU group that asks the ledger before it asks the hardware.

use pvops_abi::addr::{PAGE_SIZE, PhysAddr, VirtAddr};
use pvops_abi::boot::BootContext;
use pvops_abi::layout::start_info::VirtRange;
use pvops_abi::ops::mmu::{
    Decoded, Entry, Level, MmuCaps, MmuError, MmuOps, PageFlags, RequiredMapping, Retain, Slot,
};
use pvops_abi::ops::{CpuSet, Kernel};
use spin::{Mutex, Once};
use x86_64::instructions::interrupts;

use super::ledger::{Flush, Frames, Ledger};
use super::violation::Violation;
use crate::irq::masked;
use crate::mmu::NATIVE;

/// The group.
pub(super) struct CheckingMmu;

/// What [`start`] is given.
struct Surroundings {
    kernel: &'static dyn Kernel,
    boot_root: PhysAddr,
}

static SURROUNDINGS: Once<Surroundings> = Once::new();
static LEDGER: Mutex<Ledger> = Mutex::new(Ledger::new());

/// Keeps what the group needs.
pub(super) fn start(boot: &'static BootContext, kernel: &'static dyn Kernel) {
    SURROUNDINGS.call_once(|| Surroundings { kernel, boot_root: boot.boot_root });
}

fn surroundings() -> &'static Surroundings {
    SURROUNDINGS.get().expect("pvops-native: used before start")
}

/// Frames through the kernel's map.
struct Mapped;

impl Frames for Mapped {
    fn load(&self, frame: PhysAddr, index: usize) -> u64 {
        // SAFETY: the frame is a table or a copy of one, which the kernel maps; the hardware may change it.
        unsafe { word(frame, index).read_volatile() }
    }

    fn store(&self, frame: PhysAddr, index: usize, raw: u64) {
        // SAFETY: the ledger stores only into copies, whose frames are its own.
        unsafe { word(frame, index).write_volatile(raw) };
    }
}

fn word(frame: PhysAddr, index: usize) -> *mut u64 {
    (surroundings().kernel.phys_to_virt(frame).0 + 8 * index as u64) as *mut u64
}

/// Lets `work` look into the ledger; a violation panics after the ledger is unlocked, so that a kernel's panic
/// may still use the MMU.
fn checked<R>(work: impl FnOnce(&mut Ledger) -> Result<R, Violation>) -> R {
    let result = masked(|| work(&mut LEDGER.lock()));
    match result {
        Ok(value) => value,
        Err(violation) => panic!("checking: {violation}"),
    }
}

/// Writes an entry by `write`, which returns the old one; before and after, the ledger has its say.
fn change(slot: Slot, new: impl FnOnce(u64) -> u64, write: impl FnOnce() -> Entry) -> Entry {
    checked(|ledger| {
        let new = new(Mapped.load(slot.table, slot.index & 511));
        ledger.check_write(&Mapped, slot, new)?;
        let old = write();
        ledger.written(&Mapped, slot, old.to_raw(), new, NATIVE.current_root());
        Ok(old)
    })
}

/// Looks at every table, then notes a flush.
fn flush(flush: Flush) {
    checked(|ledger| {
        ledger.verify(&Mapped)?;
        ledger.flushed(flush);
        Ok(())
    });
}

impl MmuOps for CheckingMmu {
    fn caps(&self) -> MmuCaps {
        MmuCaps { pages_2m: false, pages_1g: false, ..NATIVE.caps() }
    }

    fn leaf(&self, level: Level, phys: PhysAddr, flags: PageFlags) -> Entry {
        assert!(level == Level::Pt, "checking: a leaf is larger than the capabilities allow: {phys:?}");
        assert!(phys.is_page_aligned(), "checking: a leaf is not aligned: {phys:?}");
        NATIVE.leaf(level, phys, flags)
    }

    fn table(&self, table: PhysAddr, user: bool) -> Entry {
        NATIVE.table(table, user)
    }

    fn decode(&self, level: Level, entry: Entry) -> Decoded {
        NATIVE.decode(level, entry)
    }

    fn read(&self, slot: Slot) -> Entry {
        checked(|ledger| ledger.check_read(slot));
        NATIVE.read(slot)
    }

    fn set(&self, slot: Slot, entry: Entry) {
        change(slot, |_| entry.to_raw(), || NATIVE.exchange(slot, entry));
    }

    fn exchange(&self, slot: Slot, entry: Entry) -> Entry {
        change(slot, |_| entry.to_raw(), || NATIVE.exchange(slot, entry))
    }

    fn clear_flags(&self, slot: Slot, flags: PageFlags) -> Entry {
        checked(|ledger| ledger.check_clearing(&Mapped, slot));
        change(slot, |old| old & !flags.bits(), || NATIVE.clear_flags(slot, flags))
    }

    fn table_allocated(&self, frame: PhysAddr, level: Level) -> Result<(), MmuError> {
        let kernel = surroundings().kernel;
        let copy = kernel.alloc_frame().ok_or(MmuError::NoResources)?;
        let kept = checked(|ledger| ledger.announce(&Mapped, frame, level, copy));
        if !kept {
            kernel.free_frame(copy);
            return Err(MmuError::NoResources);
        }
        NATIVE.table_allocated(frame, level)
    }

    fn table_released(&self, frame: PhysAddr, level: Level) {
        let copy = checked(|ledger| ledger.release(&Mapped, frame, level, NATIVE.current_root()));
        NATIVE.table_released(frame, level);
        surroundings().kernel.free_frame(copy);
    }

    unsafe fn load_root(&self, root: PhysAddr, retain: Retain) {
        checked(|ledger| {
            if interrupts::are_enabled() {
                return Err(Violation::of_frame("a root is loaded with interrupts enabled", root));
            }
            if root == surroundings().boot_root {
                return Ok(());
            }
            ledger.check_root(&Mapped, root, retain, NATIVE.current_root())?;
            check_required(ledger, root)
        });
        // SAFETY: the caller upholds the contract, some of which was just verified.
        unsafe { NATIVE.load_root(root, retain) };
        checked(|ledger| {
            ledger.loaded(root);
            Ok(())
        });
    }

    fn current_root(&self) -> PhysAddr {
        NATIVE.current_root()
    }

    fn flush_page(&self, address: VirtAddr, cpus: CpuSet) {
        self.flush_range(address, PAGE_SIZE, cpus);
    }

    fn flush_range(&self, address: VirtAddr, bytes: u64, cpus: CpuSet) {
        let start = address.page_base().0;
        flush(Flush::Range { start, last: address.0.saturating_add(bytes.max(1) - 1) | (PAGE_SIZE - 1) });
        NATIVE.flush_range(address, bytes, cpus);
    }

    fn flush_all(&self, cpus: CpuSet) {
        flush(Flush::All);
        NATIVE.flush_all(cpus);
    }

    fn populate(&self, address: VirtAddr, pages: usize) {
        NATIVE.populate(address, pages);
    }

    fn set_common_slots(&self, slots: &[u64; 8]) -> Result<(), MmuError> {
        checked(|ledger| {
            ledger.set_common_slots(slots);
            Ok(())
        });
        NATIVE.set_common_slots(slots)
    }

    fn required_mappings(&self, visit: &mut dyn FnMut(RequiredMapping)) {
        NATIVE.required_mappings(visit);
    }

    fn reserved_ranges(&self) -> &'static [VirtRange] {
        NATIVE.reserved_ranges()
    }

    fn batch_begin(&self) {
        checked(Ledger::begin_batch);
        NATIVE.batch_begin();
    }

    fn batch_end(&self) {
        checked(Ledger::end_batch);
        NATIVE.batch_end();
    }
}

/// Every required mapping is in `root`.
fn check_required(ledger: &Ledger, root: PhysAddr) -> Result<(), Violation> {
    let mut missing = None;
    NATIVE.required_mappings(&mut |required| {
        let pages = (0..required.bytes).step_by(PAGE_SIZE as usize);
        for page in pages {
            let (virt, phys) = (VirtAddr(required.virt.0 + page), PhysAddr(required.phys.0 + page));
            if ledger.leaf_at(&Mapped, root, virt) != Some(phys) {
                missing = Some(virt);
            }
        }
    });
    match missing {
        Some(address) => Err(Violation {
            address: Some(address),
            ..Violation::of_frame("a root lacks a required mapping", root)
        }),
        None => Ok(()),
    }
}
