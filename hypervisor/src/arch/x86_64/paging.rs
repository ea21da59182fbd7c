//! The shadow pool as the running domain's window shows it, and this CPU's translation caches.

use super::cpu;
use super::percpu::cpu as this_cpu;
use crate::mmu::memory::{ShadowTables, Table};
use crate::mmu::{HYPERVISOR_FIRST_SLOT, HYPERVISOR_SLOTS};
use core::ptr;

/// The pool of the running domain.
#[derive(Debug)]
pub struct PoolTables {
    /// Where the pool is mapped in the domain's window.
    base: u64,
    /// Its first host-physical address; the pool is contiguous.
    phys: u64,
    count: u32,
    hypervisor: [u64; HYPERVISOR_SLOTS],
}

impl PoolTables {
    /// # Safety
    /// While the value is used, `base` maps `count` pages of memory that start at `phys`, writable, and used by
    /// nothing else; `hypervisor` are the PML4 entries of the slots for the CPU that runs the domain.
    #[must_use]
    pub unsafe fn new(base: u64, phys: u64, count: u32, hypervisor: [u64; HYPERVISOR_SLOTS]) -> Self {
        Self { base, phys, count, hypervisor }
    }

    fn entry(&self, table: Table, index: usize) -> *mut u64 {
        assert!(table.0 < self.count && index < 512);
        (self.base + u64::from(table.0) * 4096 + index as u64 * 8) as *mut u64
    }
}

impl ShadowTables for PoolTables {
    fn read(&self, table: Table, index: usize) -> u64 {
        // SAFETY: in bounds of the pool, by `new`. Volatile: the hardware reads and marks entries.
        unsafe { self.entry(table, index).read_volatile() }
    }

    fn write(&mut self, table: Table, index: usize, entry: u64) {
        // SAFETY: as in `read`; one aligned store, so the hardware sees the old or the new entry.
        unsafe { self.entry(table, index).write_volatile(entry) };
    }

    fn next_filled(&self, table: Table, from: usize) -> Option<usize> {
        if from >= 512 {
            return None;
        }
        let start = self.entry(table, from) as u64;
        let (end, is_filled): (u64, u64);
        // SAFETY: reads the entries from `from` on, at most to the table's last, in bounds by `new`. DF is clear.
        unsafe {
            core::arch::asm!(
                "xor eax, eax", "repe scasq", "setne al",
                inout("rdi") start => end, inout("rcx") 512 - from => _, out("rax") is_filled,
                options(nostack, readonly)
            );
        }
        // It stops behind the entry that it found.
        (is_filled != 0).then(|| from + ((end - start) / 8) as usize - 1)
    }

    fn zero(&mut self, table: Table) {
        // SAFETY: as in `read`.
        unsafe { ptr::write_bytes(self.entry(table, 0), 0, 512) };
    }

    fn address(&self, table: Table) -> u64 {
        self.phys + u64::from(table.0) * 4096
    }

    fn table_at(&self, address: u64) -> Table {
        Table((((address & crate::mmu::bits::FRAME) - self.phys) / 4096) as u32)
    }

    fn hypervisor_entry(&self, slot: usize) -> u64 {
        self.hypervisor[slot - HYPERVISOR_FIRST_SLOT]
    }

    fn flush_page(&mut self, address: u64) {
        cpu::flush_page(address);
    }

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
