//! The heap, and page tables under the rules of a TLB.

use crate::arch::raw;
use crate::cpu;
use crate::memory::{frames, kernel_space, tables};
use crate::report::Report;
use alloc::vec::Vec;
use demo_programs::{CHECKSUM_START, checksum, next_random};
use pvops_abi::addr::{PAGE_SIZE, PhysAddr, VirtAddr};
use pvops_abi::ops::mmu::{Level, PageFlags, mmu};

const DATA: PageFlags = PageFlags::PRESENT.union(PageFlags::WRITABLE).union(PageFlags::NO_EXECUTE);

pub(super) fn run(report: &mut Report) {
    heap(report);
    remap(report);
    protection(report);
    accessed_and_dirty(report);
}

/// Vectors of random sizes come and go; each must keep what was put into it.
fn heap(report: &mut Report) {
    let mut kept: Vec<Vec<u64>> = Vec::new();
    let (mut state, mut sum) = (1, CHECKSUM_START);
    for step in 0..4000 {
        state = next_random(state);
        if state % 3 == 0 && !kept.is_empty() {
            let gone = kept.swap_remove(state as usize / 3 % kept.len());
            sum = gone.iter().fold(sum, |sum, word| checksum(sum, *word));
        } else {
            kept.push((0..state % 200).map(|index| index * step).collect());
        }
    }
    sum = kept.iter().flatten().fold(sum, |sum, word| checksum(sum, *word));
    report.count("heap_checksum", sum);
}

/// A page is mapped, written, pointed elsewhere and flushed; what is read must be the new page. Exercises
/// `mmu::set`, `exchange` and `flush_page`.
fn remap(report: &mut Report) {
    let (page, root) = (kernel_space::window(), kernel_space::root());
    let [first, second] = [(), ()].map(|()| frames::allocate().expect("memory for two pages"));
    let slot = tables::map_page(root, page, first, DATA).expect("memory for tables");
    let mut right = 0;
    for round in 0..100 {
        let (frame, other) = if round % 2 == 0 { (first, second) } else { (second, first) };
        right += u64::from(raw::probe_store(page, round) && raw::probe_load(page) == Some(round));
        raw::write_frame(other, 0, &(round + 1000).to_le_bytes());
        let old = mmu().exchange(slot, mmu().leaf(Level::Pt, other, DATA));
        mmu().flush_page(page, cpu::online());
        right += u64::from(raw::probe_load(page) == Some(round + 1000));
        right += u64::from(mmu().decode(Level::Pt, old) == decoded_after_write(frame));
    }
    report.expect("remaps_seen", right, 300);
    unmap(report, page);
    [first, second].into_iter().for_each(frames::release);
}

/// An entry that was written through carries both bits.
fn decoded_after_write(frame: PhysAddr) -> pvops_abi::ops::mmu::Decoded {
    pvops_abi::ops::mmu::Decoded::Leaf(frame, DATA | PageFlags::ACCESSED | PageFlags::DIRTY)
}

/// After removal and flush the page faults.
fn unmap(report: &mut Report, page: VirtAddr) {
    tables::unmap_page(kernel_space::root(), page);
    mmu().flush_page(page, cpu::online());
    report.check("an unmapped page faults", raw::probe_load(page).is_none());
    // A range and everything, for the other two flushes.
    let frame = frames::allocate().expect("memory for a page");
    for flush in [flush_range as fn(VirtAddr), flush_all] {
        tables::map_page(kernel_space::root(), page, frame, DATA).expect("tables are there");
        let seen = raw::probe_store(page, 1);
        tables::unmap_page(kernel_space::root(), page);
        flush(page);
        report.check("a flushed page faults", seen && raw::probe_load(page).is_none());
    }
    frames::release(frame);
}

fn flush_range(page: VirtAddr) {
    mmu().flush_range(VirtAddr(page.0 - PAGE_SIZE), 3 * PAGE_SIZE, cpu::online());
}

fn flush_all(_: VirtAddr) {
    mmu().flush_all(cpu::online());
}

/// Rights hold for the kernel too: code is not written, guard pages are not there.
fn protection(report: &mut Report) {
    let code = VirtAddr(protection as fn(&mut Report) as usize as u64 & !7);
    let word = raw::probe_load(code).unwrap_or(0);
    report.check("kernel code can be read", word != 0);
    report.expect("kernel_code_writes", u64::from(raw::probe_store(code, word)), 0);
    report.check("null faults", raw::probe_load(VirtAddr(0)).is_none());
    report.check("a hole faults", raw::probe_load(kernel_space::unmapped_address()).is_none());
    report.check("a non-canonical address faults", raw::probe_load(VirtAddr(1 << 63)).is_none());
    let guard = crate::threads::with_current(|thread| thread.stack.guard());
    report.check("the guard page faults", raw::probe_load(guard).is_none());
}

/// A new entry is clean; a read sets A only, a write sets D; cleared and flushed bits are set again. Exercises
/// `mmu::clear_flags`.
fn accessed_and_dirty(report: &mut Report) {
    let (page, root) = (kernel_space::window(), kernel_space::root());
    let frame = frames::allocate().expect("memory for a page");
    let slot = tables::map_page(root, page, frame, DATA).expect("tables are there");
    let both = PageFlags::ACCESSED | PageFlags::DIRTY;
    let state = || tables::find(root, page).map_or(PageFlags::empty(), |leaf| leaf.flags & both);
    let mut seen = Vec::new();
    for _ in 0..2 {
        seen.push(state().bits());
        raw::probe_load(page);
        seen.push(state().bits());
        raw::probe_store(page, 7);
        seen.push(state().bits());
        mmu().clear_flags(slot, both);
        mmu().flush_page(page, cpu::online());
    }
    let expected = [PageFlags::empty(), PageFlags::ACCESSED, both].map(|flags| flags.bits()).repeat(2);
    report.check("accessed and dirty bits are exact", seen == expected);
    report.count("accessed_dirty_sequence", seen.iter().fold(0, |sum, bits| sum * 8 + (bits >> 5)));
    tables::unmap_page(root, page);
    mmu().flush_page(page, cpu::online());
    frames::release(frame);
}
