//! The MMU group on the metal: entries are the hardware's, the translation buffer is the CPU's.
//!
//! Flushes act on the calling CPU: no other runs yet.

mod pcid;

use core::sync::atomic::{AtomicU64, Ordering};

use pvops_abi::addr::{PAGE_SIZE, PhysAddr, VirtAddr};
use pvops_abi::layout::start_info::VirtRange;
use pvops_abi::ops::CpuSet;
use pvops_abi::ops::mmu::{
    Decoded, Entry, Level, MmuCaps, MmuError, MmuOps, PageFlags, RequiredMapping, Retain, Slot,
};
use pvops_abi::patch::{Code, Operation};
use x86_64::instructions::tlb;
use x86_64::registers::control::{Cr3, Cr4, Cr4Flags};

use crate::cpu::{self, features::features};
use crate::machine::{machine, phys_to_virt};
use crate::{code, local_apic, page_entry};

/// The group; also what the checking backend wraps.
pub(crate) static NATIVE: Mmu = Mmu;

/// This machine's MMU.
pub(crate) struct Mmu;

/// Pages from which on a range is flushed whole.
const FLUSH_ALL_FROM_PAGES: u64 = 32;

/// Slots declared by `set_common_slots`.
static COMMON_SLOTS: [AtomicU64; 8] = [const { AtomicU64::new(0) }; 8];

/// The entry at `slot`, as the hardware's walker sees it: always by atomic accesses.
fn cell(slot: Slot) -> &'static AtomicU64 {
    let address = phys_to_virt(slot.table).0 + 8 * (slot.index as u64 & 511);
    // SAFETY: the kernel passes the frame of a table, which it maps at `phys_to_virt` while it is one.
    unsafe { AtomicU64::from_ptr(address as *mut u64) }
}

fn is_common(address: VirtAddr) -> bool {
    let index = address.table_index(4);
    COMMON_SLOTS[index / 64].load(Ordering::Relaxed) & 1 << (index % 64) != 0
}

/// Drops every translation of the calling CPU, of all PCIDs, global ones included: what a change of CR4.PGE
/// does (Intel SDM volume 3, 4.10.4.1).
fn flush_everything() {
    crate::irq::masked(|| {
        let flags = Cr4::read();
        // SAFETY: the bit only governs caching; it is on again before anything else happens.
        unsafe {
            Cr4::write(flags - Cr4Flags::PAGE_GLOBAL);
            Cr4::write(flags);
        }
    });
}

impl MmuOps for Mmu {
    fn caps(&self) -> MmuCaps {
        // Long mode has 2 MiB pages always.
        MmuCaps { pages_2m: true, pages_1g: features().pages_1g, keeps_roots: features().pcid }
    }

    fn leaf(&self, level: Level, phys: PhysAddr, mut flags: PageFlags) -> Entry {
        flags.set(PageFlags::NO_EXECUTE, flags.contains(PageFlags::NO_EXECUTE) && features().no_execute);
        Entry::from_raw(page_entry::leaf(level, phys, flags))
    }

    fn table(&self, table: PhysAddr, user: bool) -> Entry {
        Entry::from_raw(page_entry::table(table, user))
    }

    fn decode(&self, level: Level, entry: Entry) -> Decoded {
        page_entry::decode(level, entry.to_raw())
    }

    fn read(&self, slot: Slot) -> Entry {
        Entry::from_raw(cell(slot).load(Ordering::Acquire))
    }

    fn set(&self, slot: Slot, entry: Entry) {
        cell(slot).store(entry.to_raw(), Ordering::Release);
    }

    fn exchange(&self, slot: Slot, entry: Entry) -> Entry {
        Entry::from_raw(cell(slot).swap(entry.to_raw(), Ordering::AcqRel))
    }

    fn clear_flags(&self, slot: Slot, flags: PageFlags) -> Entry {
        Entry::from_raw(cell(slot).fetch_and(!flags.bits(), Ordering::AcqRel))
    }

    fn table_allocated(&self, _frame: PhysAddr, _level: Level) -> Result<(), MmuError> {
        Ok(())
    }

    fn table_released(&self, frame: PhysAddr, level: Level) {
        if level == Level::Pml4 {
            pcid::forget(frame);
        }
    }

    unsafe fn load_root(&self, root: PhysAddr, retain: Retain) {
        let value = if features().pcid { pcid::root_value(cpu::current(), root, retain) } else { root.0 };
        // SAFETY: the caller vouches for the root; bit 63 is set only with CR4.PCIDE, by `root_value`.
        unsafe {
            core::arch::asm!("mov cr3, {}", in(reg) value, options(nostack, preserves_flags));
        }
    }

    fn current_root(&self) -> PhysAddr {
        PhysAddr(Cr3::read_raw().0.start_address().as_u64())
    }

    fn flush_page(&self, address: VirtAddr, cpus: CpuSet) {
        if !cpus.contains(cpu::current()) {
            return;
        }
        // `invlpg` drops the page from the current PCID, and global ones from all.
        tlb::flush(x86_64::VirtAddr::new_truncate(address.0));
        if is_common(address) {
            pcid::drop_others(cpu::current());
        }
    }

    fn flush_range(&self, address: VirtAddr, bytes: u64, cpus: CpuSet) {
        let first = address.page_base().0;
        let pages = (address.0 - first).saturating_add(bytes).div_ceil(PAGE_SIZE);
        if pages >= FLUSH_ALL_FROM_PAGES {
            self.flush_all(cpus);
            return;
        }
        for page in 0..pages {
            self.flush_page(VirtAddr(first + page * PAGE_SIZE), cpus);
        }
    }

    fn flush_all(&self, cpus: CpuSet) {
        if cpus.contains(cpu::current()) {
            flush_everything();
        }
    }

    fn populate(&self, _address: VirtAddr, _pages: usize) {}

    fn set_common_slots(&self, slots: &[u64; 8]) -> Result<(), MmuError> {
        for (kept, declared) in COMMON_SLOTS.iter().zip(slots) {
            kept.store(*declared, Ordering::Relaxed);
        }
        Ok(())
    }

    fn required_mappings(&self, visit: &mut dyn FnMut(RequiredMapping)) {
        let firmware = &machine().firmware;
        let io_apics = firmware.io_apics.iter().flatten().map(|place| place.registers);
        for block in local_apic::mapped_block().into_iter().chain(io_apics).chain(firmware.hpet) {
            let phys = block.page_base();
            visit(RequiredMapping {
                virt: phys_to_virt(phys),
                phys,
                bytes: PAGE_SIZE,
                flags: PageFlags::PRESENT
                    | PageFlags::WRITABLE
                    | PageFlags::NO_EXECUTE
                    | PageFlags::UNCACHED
                    | PageFlags::GLOBAL,
            });
        }
    }

    fn reserved_ranges(&self) -> &'static [VirtRange] {
        &[]
    }

    fn code(&self, operation: Operation) -> Option<Code> {
        code::mmu(operation)
    }
}
