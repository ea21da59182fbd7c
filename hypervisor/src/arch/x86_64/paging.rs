//! The shadow pool as the running domain's window shows it, and this CPU's translation caches.

use super::cpu;
use super::percpu::cpu as this_cpu;
use crate::mmu::memory::{ShadowTables, Table};
use crate::mmu::{HYPERVISOR_FIRST_SLOT, HYPERVISOR_SLOTS};
use core::ops::Range;
use core::ptr;

/// The pool of the running domain.
#[derive(Debug)]
#[repr(C)]
pub struct PoolTables {
    /// Where the pool is mapped in the domain's window.
    base: u64,
    /// Its first host-physical address; the pool is contiguous.
    phys: u64,
    /// Its size in bytes.
    bytes: u64,
    hypervisor: [u64; HYPERVISOR_SLOTS],
}

impl PoolTables {
    /// # Safety
    /// While the value is used, `base` maps `count` pages of memory that start at `phys`, writable, and used by
    /// nothing else; `hypervisor` are the PML4 entries of the slots for the CPU that runs the domain.
    #[must_use]
    pub unsafe fn new(base: u64, phys: u64, count: u32, hypervisor: [u64; HYPERVISOR_SLOTS]) -> Self {
        Self { base, phys, bytes: u64::from(count) * 4096, hypervisor }
    }

    #[inline(always)]
    fn entry(&self, table: Table, index: usize) -> *mut u64 {
        assert!(table.distance() < self.bytes && index < 512);
        (self.base + table.distance() + index as u64 * 8) as *mut u64
    }
}

impl ShadowTables for PoolTables {
    #[inline(always)]
    fn read(&self, table: Table, index: usize) -> u64 {
        // SAFETY: in bounds of the pool, by `new`. Volatile: the hardware reads and marks entries.
        unsafe { self.entry(table, index).read_volatile() }
    }

    #[inline(always)]
    fn write(&mut self, table: Table, index: usize, entry: u64) {
        // SAFETY: as in `read`; one aligned store, so the hardware sees the old or the new entry.
        unsafe { self.entry(table, index).write_volatile(entry) };
    }

    #[inline(always)]
    fn write_several(
        &mut self,
        table: Table,
        places: Range<usize>,
        mut entry: impl FnMut(usize) -> Option<u64>,
    ) -> usize {
        assert!(places.end <= 512);
        let start = self.entry(table, 0);
        let mut place = places.start;
        while place < places.end
            && let Some(entry) = entry(place)
        {
            // SAFETY: as in `write`: the place is below 512.
            unsafe { start.add(place).write_volatile(entry) };
            place += 1;
        }
        place - places.start
    }

    #[inline(always)]
    fn next_filled(&self, table: Table, from: usize) -> usize {
        assert!(from <= 512);
        let start = self.entry(table, 0) as u64 + from as u64 * 8;
        let (left, is_filled): (usize, usize);
        // SAFETY: reads the entries from `from` on, at most to the table's last, in bounds by `new`. DF is clear.
        unsafe {
            core::arch::asm!(
                "xor eax, eax", "repe scasq", "setne al",
                inout("rdi") start => _, inout("rcx") 512 - from => left, out("rax") is_filled,
                options(nostack, readonly)
            );
        }
        // It stops behind the entry that it found.
        512 - left - is_filled
    }

    fn zero(&mut self, table: Table) {
        // SAFETY: as in `read`.
        unsafe { ptr::write_bytes(self.entry(table, 0), 0, 512) };
    }

    fn address(&self, table: Table) -> u64 {
        self.phys + table.distance()
    }

    fn table_at(&self, address: u64) -> Table {
        // The pool's first address ends in the same zeros as a table's.
        Table::around(address.wrapping_sub(self.phys))
    }

    #[inline(always)]
    fn table_below(&self, entry: u64) -> Option<Table> {
        let table = self.table_at(entry);
        (table.distance() < self.bytes).then_some(table)
    }

    fn map_hypervisor(&mut self, table: Table) {
        // SAFETY: as in `write_several`: the slots are below 512.
        unsafe {
            self.entry(table, HYPERVISOR_FIRST_SLOT).cast::<[u64; HYPERVISOR_SLOTS]>().write(self.hypervisor)
        };
    }

    fn flush_page(&mut self, address: u64) {
        cpu::flush_page(address);
    }

    #[inline(never)]
    fn flush_all(&mut self) {
        let root = this_cpu().root.get();
        // SAFETY: it is the root that is loaded.
        unsafe { cpu::load_root(root) };
    }
}

/// Loads one of the two views of the running vCPU's root, unless it is loaded.
pub fn load_view(root: u64) {
    let this = this_cpu();
    if this.root.get() != root {
        this.root.set(root);
        // SAFETY: views come from `Shadow::load_root`, which puts the hypervisor's slots into every PML4.
        unsafe { cpu::load_root(root) };
    }
}
