//! Behaviour: tables mean what the manual says, with the rules of a hardware TLB: new entries are seen at once,
//! changed ones after a flush; accessed and dirty bits are exact.
//! Reason: paging, copy-on-write and reclaim rest on it, and a software TLB gets it wrong in ways of its own.
//! Method: maps frames with marks at fresh addresses, changes entries, looks at what is read and at the bits.

use crate::harness::Needs::Ops;
use crate::harness::tables::{self, DATA, flags, map, marked_frame, page, this_cpu, unmap, window};
use crate::harness::{Report, Test, faults, world};
use core::sync::atomic::Ordering;
use pvops_abi::addr::{PhysAddr, VirtAddr};
use pvops_abi::ops::CpuSet;
use pvops_abi::ops::mmu::{Entry, Level, PageFlags, mmu};

pub(super) const TESTS: &[Test] = &[
    Test {
        name: "mmu.new_entry",
        requirement_ids: &["MMU-007", "MMU-010", "OPS-008"],
        needs: Ops,
        run: new_entry,
    },
    Test { name: "mmu.remap", requirement_ids: &["MMU-011", "MMU-020", "OPS-009"], needs: Ops, run: remap },
    Test { name: "mmu.unmap", requirement_ids: &["MMU-011", "OPS-009"], needs: Ops, run: unmapped },
    Test { name: "mmu.flush_range", requirement_ids: &["MMU-011", "OPS-009"], needs: Ops, run: flush_range },
    Test {
        name: "mmu.flush_all",
        requirement_ids: &["MMU-011", "MMU-020", "OPS-009"],
        needs: Ops,
        run: flush_all,
    },
    Test { name: "mmu.flush_table", requirement_ids: &["MMU-011"], needs: Ops, run: flush_table },
    Test {
        name: "mmu.accessed_dirty",
        requirement_ids: &["MMU-008", "OPS-010"],
        needs: Ops,
        run: accessed_dirty,
    },
    Test {
        name: "mmu.bits_cleared",
        requirement_ids: &["MMU-008", "OPS-010"],
        needs: Ops,
        run: bits_cleared,
    },
    Test { name: "mmu.exchange", requirement_ids: &["MMU-008", "OPS-010"], needs: Ops, run: exchange },
    Test { name: "mmu.widen", requirement_ids: &["MMU-007", "OPS-008"], needs: Ops, run: widen },
    Test {
        name: "mmu.large_page",
        requirement_ids: &["MMU-001", "MMU-008", "MMU-011"],
        needs: Ops,
        run: large_page,
    },
    Test { name: "mmu.alias", requirement_ids: &["MMU-008"], needs: Ops, run: alias },
];

const DIRTY: PageFlags = PageFlags::DIRTY;
const ACCESSED: PageFlags = PageFlags::ACCESSED;

fn base() -> PhysAddr {
    tables::base_root()
}

fn reads(report: &mut Report, what: &str, address: VirtAddr, mark: u64) {
    if let Some(value) = report.works(what, faults::read(address)) {
        report.equal(what, value, mark);
    }
}

fn new_entry(report: &mut Report) {
    let address = window();
    report.faults("before", faults::read(address), faults::PAGE_FAULT, 0);
    map(base(), address, marked_frame(0x11), DATA);
    reads(report, "a new entry, not flushed", address, 0x11);
    // A neighbour of an entry in use: its table is known already.
    map(base(), page(address, 1), marked_frame(0x12), DATA);
    reads(report, "a new neighbour, not flushed", page(address, 1), 0x12);
}

fn remap(report: &mut Report) {
    let address = window();
    let slot = map(base(), address, marked_frame(0x21), DATA);
    reads(report, "the first frame", address, 0x21);
    for mark in [0x22, 0x23, 0x24] {
        mmu().set(slot, mmu().leaf(Level::Pt, marked_frame(mark), DATA));
        mmu().flush_page(address, this_cpu());
        reads(report, "the frame after a flush", address, mark);
    }
}

fn unmapped(report: &mut Report) {
    let address = window();
    let slot = map(base(), address, marked_frame(0x31), DATA);
    reads(report, "while mapped", address, 0x31);
    report.works("a write while mapped", faults::write(address, 0x32));
    unmap(slot);
    report.faults("a read after the flush", faults::read(address), faults::PAGE_FAULT, 0);
    report.faults("a write after the flush", faults::write(address, 0), faults::PAGE_FAULT, faults::WRITE);
}

/// Maps `count` pages, touches them, points them elsewhere, flushes by `flush`, and looks.
fn remap_many(report: &mut Report, count: u64, flush: impl Fn(VirtAddr)) {
    let address = window();
    let slots = (0..count).map(|index| map(base(), page(address, index), marked_frame(index), DATA));
    slots.for_each(drop);
    for index in 0..count {
        reads(report, "before", page(address, index), index);
    }
    for index in 0..count {
        let slot = tables::slot(base(), page(address, index), Level::Pt, false);
        mmu().set(slot, mmu().leaf(Level::Pt, marked_frame(index | 0x100), DATA));
    }
    flush(address);
    for index in 0..count {
        reads(report, "after", page(address, index), index | 0x100);
    }
}

fn flush_range(report: &mut Report) {
    remap_many(report, 1, |address| mmu().flush_range(address, 1, this_cpu()));
    remap_many(report, 2, |address| mmu().flush_range(VirtAddr(address.0 + 4095), 2, this_cpu()));
    remap_many(report, 80, |address| mmu().flush_range(address, 80 * 4096, this_cpu()));
    remap_many(report, 3, |address| mmu().flush_range(address, 1 << 32, CpuSet::ALL));
}

fn flush_all(report: &mut Report) {
    remap_many(report, 5, |_| mmu().flush_all(this_cpu()));
    remap_many(report, 5, |_| mmu().flush_all(CpuSet::ALL));
}

/// A table that is unlinked takes its translations with it, once its range is flushed.
fn flush_table(report: &mut Report) {
    let address = window();
    map(base(), address, marked_frame(0x41), DATA);
    reads(report, "through the first table", address, 0x41);
    let above = tables::slot(base(), address, Level::Pd, false);
    mmu().set(above, Entry::ABSENT);
    mmu().flush_page(address, this_cpu());
    report.faults("without a table", faults::read(address), faults::PAGE_FAULT, 0);
    map(base(), address, marked_frame(0x42), DATA);
    reads(report, "through the second table", address, 0x42);
}

fn accessed_dirty(report: &mut Report) {
    let address = window();
    let slot = map(base(), address, marked_frame(0x51), DATA);
    report.equal("untouched", flags(slot) & (ACCESSED | DIRTY), PageFlags::empty());
    reads(report, "a read", address, 0x51);
    report.equal("after a read", flags(slot) & (ACCESSED | DIRTY), ACCESSED);
    report.works("a write", faults::write(address, 1));
    report.equal("after a write", flags(slot) & (ACCESSED | DIRTY), ACCESSED | DIRTY);
    let first_write = map(base(), page(address, 1), world::frame(), DATA);
    report.works("a write first of all", faults::write(page(address, 1), 1));
    report.equal("after it", flags(first_write) & (ACCESSED | DIRTY), ACCESSED | DIRTY);
    let neighbour = map(base(), page(address, 2), world::frame(), DATA);
    reads(report, "the page before a neighbour", address, 1);
    report.equal("the neighbour", flags(neighbour) & (ACCESSED | DIRTY), PageFlags::empty());
    reads(report, "the neighbour", page(address, 2), 0);
    report.equal("once it is read", flags(neighbour) & (ACCESSED | DIRTY), ACCESSED);
    // A neighbour that is there already when a page is first used is not marked by that use.
    let pair = [4, 5].map(|index| map(base(), page(address, index), world::frame(), DATA));
    reads(report, "the first of a pair", page(address, 4), 0);
    reads(report, "the second", page(address, 5), 0);
    report.equal(
        "both, each by its own read",
        pair.map(flags).map(|flags| flags & (ACCESSED | DIRTY)),
        [ACCESSED; 2],
    );
}

fn bits_cleared(report: &mut Report) {
    let address = window();
    let slot = map(base(), address, world::frame(), DATA);
    for round in 0..3 {
        report.works("a write", faults::write(address, round));
        let old = mmu().clear_flags(slot, DIRTY | ACCESSED);
        mmu().flush_page(address, this_cpu());
        report.check(old.to_raw() & DIRTY.bits() != 0, "the old entry was dirty");
        report.equal("cleared", flags(slot) & (ACCESSED | DIRTY), PageFlags::empty());
        reads(report, "a read", address, round);
        report.equal("set again by a read", flags(slot) & (ACCESSED | DIRTY), ACCESSED);
    }
    report.works("a write at last", faults::write(address, 9));
    report.check(flags(slot).contains(DIRTY), "set again by a write");
}

fn exchange(report: &mut Report) {
    let address = window();
    let frame = marked_frame(0x61);
    let slot = map(base(), address, frame, DATA);
    report.works("a write", faults::write(address, 0x62));
    let old = mmu().exchange(slot, Entry::ABSENT);
    mmu().flush_page(address, this_cpu());
    let wanted = mmu().leaf(Level::Pt, frame, DATA | ACCESSED | DIRTY);
    report.equal("the old entry, with its bits", old.to_raw(), wanted.to_raw());
    report.faults("afterwards", faults::read(address), faults::PAGE_FAULT, 0);
    report.equal("the write is in the frame", world::word(frame).load(Ordering::Relaxed), 0x62);
}

/// More rights need no flush: what a stale translation refuses is tried again.
fn widen(report: &mut Report) {
    let address = window();
    let frame = marked_frame(0x71);
    let slot = map(base(), address, frame, DATA - PageFlags::WRITABLE);
    reads(report, "read-only", address, 0x71);
    mmu().set(slot, mmu().leaf(Level::Pt, frame, DATA));
    // Hardware may report the stale refusal once (Intel SDM volume 3, 4.10.4.3); kernels try again.
    let attempt = faults::write(address, 0x72).or_else(|_| faults::write(address, 0x72));
    report.works("a write after widening", attempt);
    reads(report, "what was written", address, 0x72);
}

fn large_page(report: &mut Report) {
    const BYTES: u64 = 2 << 20;
    if !mmu().caps().pages_2m {
        report.skip("no 2 MiB pages here");
        return;
    }
    let Some(phys) = world::frames(BYTES, BYTES) else {
        report.error("no 2 MiB of free memory");
        return;
    };
    for offset in [0, 0x1000, 0xf_f000, BYTES - 8] {
        world::word(PhysAddr(phys.0 + offset)).store(offset ^ 0x81, Ordering::Relaxed);
    }
    let address = window();
    let slot = tables::slot(base(), address, Level::Pd, false);
    mmu().set(slot, mmu().leaf(Level::Pd, phys, DATA));
    for offset in [0, 0x1000, 0xf_f000, BYTES - 8] {
        reads(report, "within the page", VirtAddr(address.0 + offset), offset ^ 0x81);
    }
    report.equal("after reads", flags(slot) & (ACCESSED | DIRTY), ACCESSED);
    report.works("a write", faults::write(VirtAddr(address.0 + 0x5_0000), 0x82));
    report.check(flags(slot).contains(DIRTY), "dirty after a write");
    mmu().set(slot, Entry::ABSENT);
    mmu().flush_range(address, BYTES, this_cpu());
    for offset in [0, 0xf_f000, BYTES - 8] {
        let attempt = faults::read(VirtAddr(address.0 + offset));
        report.faults("after it was removed", attempt, faults::PAGE_FAULT, 0);
    }
}

/// Two addresses of one frame see each other's writes, and have bits of their own.
fn alias(report: &mut Report) {
    let address = window();
    let frame = marked_frame(0x91);
    let first = map(base(), address, frame, DATA);
    let second = map(base(), page(address, 600), frame, DATA);
    report.works("a write", faults::write(address, 0x92));
    reads(report, "the alias", page(address, 600), 0x92);
    report.check(flags(first).contains(DIRTY) && !flags(second).contains(DIRTY), "bits are per entry");
}
