//! Behaviour: roots are address spaces of their own; translations may be kept over switches but never mixed up,
//! and going back to a root that is known takes no fault that the kernel does not see.
//! Reason: address spaces are the isolation between programs, switching them the cost of a process switch.
//! Method: the same address in several roots, changed while loaded and while not, more roots than caches hold.

use crate::harness::Needs::{Abi, Ops};
use crate::harness::tables::{self, DATA, fill_root, load, map, marked_frame, new_root, page, window};
use crate::harness::{Report, Test, faults, world};
use core::sync::atomic::Ordering;
use pvops_abi::addr::{PhysAddr, VirtAddr};
use pvops_abi::ops::mmu::{Entry, Level, PageFlags, Retain, mmu};

pub(super) const TESTS: &[Test] = &[
    Test { name: "roots.separate", requirement_ids: &["MMU-001"], needs: Ops, run: separate },
    Test { name: "roots.current", requirement_ids: &[], needs: Ops, run: current },
    Test { name: "roots.drop", requirement_ids: &["MMU-001"], needs: Ops, run: drop_on_load },
    Test { name: "roots.flush_is_local", requirement_ids: &[], needs: Ops, run: flush_elsewhere },
    Test { name: "roots.released", requirement_ids: &["MMU-015"], needs: Ops, run: released },
    Test { name: "roots.global", requirement_ids: &["MMU-012"], needs: Ops, run: global },
    Test {
        name: "roots.global_everywhere",
        requirement_ids: &["MMU-011", "MMU-012"],
        needs: Ops,
        run: global_everywhere,
    },
    Test {
        name: "roots.common_slots",
        requirement_ids: &["MMU-018", "MMU-019"],
        needs: Ops,
        run: common_slots,
    },
    Test { name: "roots.many", requirement_ids: &[], needs: Ops, run: many },
    Test { name: "roots.known", requirement_ids: &[], needs: Abi, run: known },
];

fn reads(report: &mut Report, what: &str, address: VirtAddr, mark: u64) {
    if let Some(value) = report.works(what, faults::read(address)) {
        report.equal(what, value, mark);
    }
}

/// A root with a page at `address` that holds `mark`.
fn root_with(address: VirtAddr, mark: u64) -> PhysAddr {
    let root = new_root();
    map(root, address, marked_frame(mark), DATA);
    root
}

fn separate(report: &mut Report) {
    let address = window();
    let roots = [1, 2, 3].map(|mark| root_with(address, mark));
    for retain in [Retain::Drop, Retain::Keep, Retain::Keep, Retain::Drop] {
        for (root, mark) in roots.into_iter().zip(1..) {
            load(root, retain);
            reads(report, "the root's own page", address, mark);
        }
        tables::load_base_root();
        report.faults("in a root without it", faults::read(address), faults::PAGE_FAULT, 0);
    }
}

fn current(report: &mut Report) {
    let root = new_root();
    load(root, Retain::Drop);
    report.equal("the root that was loaded", mmu().current_root(), root);
    load(root, Retain::Keep);
    report.equal("loaded over itself", mmu().current_root(), root);
    tables::load_base_root();
    report.equal("the root from before", mmu().current_root(), tables::base_root());
}

/// Loading with [`Retain::Drop`] forgets what was cached: changes made meanwhile need no flush.
fn drop_on_load(report: &mut Report) {
    let address = window();
    let root = root_with(address, 0x11);
    load(root, Retain::Drop);
    reads(report, "at first", address, 0x11);
    tables::load_base_root();
    let slot = tables::slot(root, address, Level::Pt, false);
    mmu().set(slot, mmu().leaf(Level::Pt, marked_frame(0x12), DATA));
    load(root, Retain::Drop);
    reads(report, "changed while it was not loaded", address, 0x12);
}

/// A flush in one root leaves the meaning of others alone.
fn flush_elsewhere(report: &mut Report) {
    let address = window();
    let roots = [1, 2].map(|mark| root_with(address, mark));
    for (root, mark) in roots.into_iter().zip(1..) {
        load(root, Retain::Keep);
        reads(report, "before", address, mark);
    }
    mmu().flush_page(address, tables::this_cpu());
    mmu().flush_all(tables::this_cpu());
    for (root, mark) in roots.into_iter().zip(1..) {
        load(root, Retain::Keep);
        reads(report, "after", address, mark);
    }
}

/// After its release the frame may become another root: nothing of the old one is left.
fn released(report: &mut Report) {
    let address = window();
    let root = root_with(address, 0x21);
    load(root, Retain::Keep);
    reads(report, "in the old root", address, 0x21);
    tables::load_base_root();
    mmu().table_released(root, Level::Pml4);
    fill_root(root);
    load(root, Retain::Keep);
    report.faults("in the new root", faults::read(address), faults::PAGE_FAULT, 0);
    map(root, address, marked_frame(0x22), DATA);
    reads(report, "in the new root, mapped", address, 0x22);
}

/// A global page that is flushed in one root is flushed in all.
fn global(report: &mut Report) {
    let address = window();
    let old = marked_frame(0x31);
    let roots = [(), ()].map(|()| new_root());
    let slots = roots.map(|root| map(root, address, old, DATA | PageFlags::GLOBAL));
    for root in roots {
        load(root, Retain::Keep);
        reads(report, "the old page", address, 0x31);
    }
    let new = mmu().leaf(Level::Pt, marked_frame(0x32), DATA | PageFlags::GLOBAL);
    slots.into_iter().for_each(|slot| mmu().set(slot, new));
    mmu().flush_page(address, tables::this_cpu());
    for root in roots.into_iter().chain(roots) {
        load(root, Retain::Keep);
        reads(report, "the new page", address, 0x32);
    }
    // Global translations would outlive their roots.
    mmu().flush_all(tables::this_cpu());
}

/// A flush of every root takes global pages along.
fn global_everywhere(report: &mut Report) {
    // Not at a round address: small TLBs keep those in the place of others that everybody uses.
    let address = page(window(), 0x2a5);
    let root = new_root();
    let slot = map(root, address, marked_frame(0x35), DATA | PageFlags::GLOBAL);
    load(root, Retain::Drop);
    reads(report, "the old page", address, 0x35);
    mmu().set(slot, mmu().leaf(Level::Pt, marked_frame(0x36), DATA | PageFlags::GLOBAL));
    mmu().flush_all(tables::this_cpu());
    reads(report, "the new page", address, 0x36);
    mmu().set(slot, Entry::ABSENT);
    mmu().flush_all(tables::this_cpu());
    report.faults("once it was removed", faults::read(address), faults::PAGE_FAULT, 0);
}

/// In a common slot a change and a flush in one root concern all.
fn common_slots(report: &mut Report) {
    let address = tables::common_window();
    let first = new_root();
    let slot = map(first, address, marked_frame(0x41), DATA);
    // The other root has the same entry in that slot.
    let second = new_root();
    let top = |root| tables::slot(root, address, Level::Pml4, false);
    mmu().set(top(second), mmu().read(top(first)));
    load(first, Retain::Drop);
    let index = address.table_index(4);
    let mut declared = [0; 8];
    declared[index / 64] |= 1 << (index % 64);
    // No slot but this one is empty of user pages for sure; fifteen more that hold nothing make the promised number.
    (1..16).for_each(|more| declared[(index + more) / 64] |= 1 << ((index + more) % 64));
    report.check(mmu().set_common_slots(&declared).is_ok(), "sixteen common slots are supported");
    for root in [first, second] {
        load(root, Retain::Keep);
        reads(report, "before", address, 0x41);
    }
    mmu().set(slot, mmu().leaf(Level::Pt, marked_frame(0x42), DATA));
    mmu().flush_page(address, tables::this_cpu());
    for root in [second, first, second] {
        load(root, Retain::Keep);
        reads(report, "after a flush in one root", address, 0x42);
    }
    report.check(mmu().set_common_slots(&[0; 8]).is_ok(), "none are supported too");
    reads(report, "when the slots are ordinary again", address, 0x42);
    tables::load_base_root();
    report.faults("in a root without it", faults::read(address), faults::PAGE_FAULT, 0);
}

/// More roots than any cache holds.
fn many(report: &mut Report) {
    const ROOTS: u64 = 100;
    let address = window();
    let (roots, list) = world::place([const { core::sync::atomic::AtomicU64::new(0) }; ROOTS as usize]);
    report.check(list != 0, "memory for the list");
    for (mark, place) in (0..).zip(roots) {
        place.store(root_with(address, mark).0, Ordering::Relaxed);
    }
    for _ in 0..2 {
        for (mark, place) in (0..).zip(roots) {
            load(PhysAddr(place.load(Ordering::Relaxed)), Retain::Keep);
            reads(report, "one of many", address, mark);
        }
    }
    tables::load_base_root();
    for place in roots {
        mmu().table_released(PhysAddr(place.load(Ordering::Relaxed)), Level::Pml4);
    }
}

fn known(report: &mut Report) {
    const PAGES: u64 = 8;
    const TIMES: u64 = 64;
    const WARM_UP: u64 = 4;
    let address = window();
    let roots = [1, 2].map(|mark| root_with(address, mark));
    for root in roots {
        (1..PAGES).for_each(|index| _ = map(root, page(address, index), marked_frame(index), DATA));
    }
    let touch = || {
        for root in roots {
            load(root, Retain::Keep);
            for index in 0..PAGES {
                let place = page(address, index).0 as *mut u64;
                // SAFETY: mapped in both roots, and this test's own.
                unsafe { place.write_volatile(place.read_volatile()) };
            }
        }
    };
    let warm_up = hidden_faults(&touch, WARM_UP);
    report.equal("hidden faults", hidden_faults(&touch, TIMES), 0);
    report.remark(format_args!("{} root loads, {warm_up} hidden faults before", 2 * TIMES));
}

/// Hidden faults while `action` is repeated. A function of its own: its code is one piece, which the first call loads
/// into all roots that the action goes through.
#[inline(never)]
fn hidden_faults(action: &dyn Fn(), times: u64) -> u64 {
    let counter = || world::BLOCK.area.hidden_faults.load(Ordering::Relaxed);
    let before = counter();
    (0..times).for_each(|_| action());
    counter() - before
}
