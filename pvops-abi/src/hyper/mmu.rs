//! The MMU group: page tables are plain memory under the rules of a hardware TLB; only roots and flushes call.

use super::hypercall::{call, call2};
use super::{CURRENT_ROOT, code, physical, state};
use crate::addr::{PAGE_SIZE, PhysAddr, VirtAddr};
use crate::call::Mmu as Call;
use crate::error::Error;
use crate::layout::start_info::VirtRange;
use crate::layout::{FlushAllFlags, LoadRootFlags};
use crate::ops::mmu::{
    Decoded, Entry, Level, MmuCaps, MmuError, MmuOps, PageFlags, RequiredMapping, Retain, Slot,
};
use crate::ops::{CpuSet, entry_format};
use crate::patch::{Code, Operation};
use core::sync::atomic::{AtomicU64, Ordering};

pub(super) struct Mmu;

/// The entry at `index` of the table in `table`, as shared memory.
fn entry_at(table: PhysAddr, index: usize) -> &'static AtomicU64 {
    let address = state().kernel.phys_to_virt(table).0 + (index as u64 % 512) * 8;
    // SAFETY: the kernel maps all its physical memory writable where `phys_to_virt` says (its contract), tables
    // are in that memory, and all accesses to live tables are atomic.
    unsafe { &*(address as *const AtomicU64) }
}

/// Loads an entry.
pub(super) fn load(table: PhysAddr, index: usize) -> Entry {
    Entry::from_raw(entry_at(table, index).load(Ordering::Acquire))
}

/// A vCPU set as the calls take it: mask, and number of its lowest vCPU (all ones: every vCPU).
fn set_arguments(cpus: CpuSet) -> [u64; 2] {
    if cpus == CpuSet::ALL { [0, u64::MAX] } else { [cpus.bits(), 0] }
}

impl MmuOps for Mmu {
    fn caps(&self) -> MmuCaps {
        MmuCaps { pages_2m: true, pages_1g: true, keeps_roots: true }
    }

    fn leaf(&self, level: Level, phys: PhysAddr, flags: PageFlags) -> Entry {
        entry_format::leaf(level, phys, flags)
    }

    fn table(&self, table: PhysAddr, user: bool) -> Entry {
        entry_format::table(table, user)
    }

    fn decode(&self, level: Level, entry: Entry) -> Decoded {
        entry_format::decode(level, entry)
    }

    fn read(&self, slot: Slot) -> Entry {
        load(slot.table, slot.index)
    }

    fn set(&self, slot: Slot, entry: Entry) {
        entry_at(slot.table, slot.index).store(entry.to_raw(), Ordering::Release);
    }

    fn exchange(&self, slot: Slot, entry: Entry) -> Entry {
        Entry::from_raw(entry_at(slot.table, slot.index).swap(entry.to_raw(), Ordering::AcqRel))
    }

    fn clear_flags(&self, slot: Slot, flags: PageFlags) -> Entry {
        Entry::from_raw(entry_at(slot.table, slot.index).fetch_and(!flags.bits(), Ordering::AcqRel))
    }

    fn table_allocated(&self, frame: PhysAddr, _level: Level) -> Result<(), MmuError> {
        if frame.is_page_aligned() { Ok(()) } else { Err(MmuError::BadFrame) }
    }

    fn table_released(&self, frame: PhysAddr, level: Level) {
        if level == Level::Pml4 {
            call2(Call::ReleaseRoot.id(), frame.0, 0);
        }
    }

    unsafe fn load_root(&self, root: PhysAddr, retain: Retain) {
        let flags = match retain {
            Retain::Keep => LoadRootFlags::KEEP,
            Retain::Drop => LoadRootFlags::empty(),
        };
        let reply = call(Call::LoadRoot.id(), [root.0, flags.bits(), 0, 0, 0, 0]);
        reply.result().expect("a root in the kernel's own memory");
        CURRENT_ROOT.store(root.0, Ordering::Relaxed);
    }

    fn current_root(&self) -> PhysAddr {
        PhysAddr(CURRENT_ROOT.load(Ordering::Relaxed))
    }

    fn flush_page(&self, address: VirtAddr, cpus: CpuSet) {
        let [mask, base] = set_arguments(cpus);
        call(Call::FlushPage.id(), [address.0, mask, base, 0, 0, 0]);
    }

    fn flush_range(&self, address: VirtAddr, bytes: u64, cpus: CpuSet) {
        let [mask, base] = set_arguments(cpus);
        while call(Call::FlushRange.id(), [address.0, bytes, mask, base, 0, 0]).result() == Err(Error::Again)
        {
        }
    }

    fn flush_all(&self, cpus: CpuSet) {
        let [mask, base] = set_arguments(cpus);
        let arguments = [mask, base, FlushAllFlags::EVERY_ROOT.bits(), 0, 0, 0];
        while call(Call::FlushAll.id(), arguments).result() == Err(Error::Again) {}
    }

    fn populate(&self, address: VirtAddr, pages: usize) {
        call2(Call::Populate.id(), address.0, pages as u64);
    }

    fn set_common_slots(&self, slots: &[u64; 8]) -> Result<(), MmuError> {
        // Copied, because the caller's words may straddle two pages.
        static SLOTS: CommonSlots = CommonSlots([const { AtomicU64::new(0) }; 8]);
        for (to, from) in SLOTS.0.iter().zip(slots) {
            to.store(*from, Ordering::Relaxed);
        }
        let address = physical(VirtAddr(core::ptr::from_ref(&SLOTS) as u64));
        let address = address.ok_or(MmuError::BadFrame)?;
        let reply = call2(Call::SetCommonSlots.id(), address.0, 0);
        reply.result().map(|_| ()).map_err(|_| MmuError::NoResources)
    }

    fn required_mappings(&self, visit: &mut dyn FnMut(RequiredMapping)) {
        let start_info = state().start_info;
        visit(RequiredMapping {
            virt: VirtAddr(start_info.hypercall_page_virt),
            phys: PhysAddr(start_info.hypercall_page_phys),
            bytes: PAGE_SIZE,
            flags: PageFlags::PRESENT,
        });
    }

    fn reserved_ranges(&self) -> &'static [VirtRange] {
        let start_info = state().start_info;
        &start_info.reserved_ranges[..(start_info.reserved_range_count as usize).min(4)]
    }

    fn code(&self, operation: Operation) -> Option<Code> {
        code::mmu(operation)
    }
}

#[repr(align(64))]
struct CommonSlots([AtomicU64; 8]);
