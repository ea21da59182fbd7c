//! Gives each CPU its ring of records, and tells where they are. Only with the feature `trace`.

use super::super::layout::{CPU_PAGES, cpu_pages};
use super::super::time;
use super::memory::{BootMemory, bytes_at};
use super::tables::{self, DATA};
use crate::boot::refuse_machine;
use crate::domain::console;
use core::mem::offset_of;
use trace_records::{CAPACITY, Header, MAGIC, RING_BYTES};

const PAGE: u64 = 4096;

/// Maps a stack for the points in the entry code and a ring behind it below `pointers`, the CPU's table. Returns where the ring is
/// in physical memory.
pub fn map_ring(memory: &mut BootMemory, pointers: u64) -> u64 {
    let bytes = PAGE + RING_BYTES as u64;
    let Some(phys) = memory.take(bytes, PAGE, false) else { refuse_machine("no memory for the trace") };
    for offset in (0..bytes).step_by(PAGE as usize) {
        let virt = CPU_PAGES + cpu_pages::TRACE + offset;
        tables::map(memory, pointers, 3, 1, virt, phys + offset, DATA);
    }
    phys + PAGE
}

/// Fills in the first page of the ring at `phys`, and prints where it is: whoever reads it finds it by that line.
pub fn begin_ring(cpu: usize, phys: u64) {
    let page = bytes_at(phys, PAGE);
    let (first_tick, _) = time::parameters();
    let words = [
        (offset_of!(Header, magic), MAGIC),
        (offset_of!(Header, cpu), cpu as u64),
        (offset_of!(Header, capacity), CAPACITY as u64),
        (offset_of!(Header, ticks_per_second), time::hz()),
        (offset_of!(Header, first_tick), first_tick),
    ];
    for (offset, word) in words {
        page[offset..offset + 8].copy_from_slice(&word.to_le_bytes());
    }
    console::boot::print("pvops: trace of CPU ");
    console::boot::print_decimal(cpu as u64);
    console::boot::print(" at ");
    console::boot::print_decimal(phys);
    console::boot::print("\n");
}
