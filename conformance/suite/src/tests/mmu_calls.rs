//! Behaviour: calls of MMU check roots, flags, vCPU sets and addresses.
//! Reason: a root is what the hypervisor walks; reserved bits must be refused, so that they can mean something one
//! day.
//! Method: every reserved bit and every bad address, one by one; then that the good ones still work.

use crate::harness::Needs::{Abi, Ops};
use crate::harness::abi::{call, refuses_bad_addresses};
use crate::harness::tables::{self, DATA, flags, map, page, window};
use crate::harness::{Report, Test, faults, world};
use core::sync::atomic::{AtomicU64, Ordering};
use pvops_abi::call::Mmu;
use pvops_abi::error::Error;
use pvops_abi::hyper::Reply;
use pvops_abi::ops::mmu::{PageFlags, mmu};

pub(super) const TESTS: &[Test] = &[
    Test {
        name: "mmu.load_root_flags",
        requirement_ids: &["GEN-001", "ERR-001"],
        needs: Abi,
        run: load_root_flags,
    },
    Test {
        name: "mmu.load_root_addresses",
        requirement_ids: &["GEN-003"],
        needs: Abi,
        run: load_root_addresses,
    },
    Test { name: "mmu.release_errors", requirement_ids: &["GEN-003"], needs: Abi, run: release_errors },
    Test { name: "mmu.flush_sets", requirement_ids: &[], needs: Abi, run: flush_sets },
    Test { name: "mmu.flush_flags", requirement_ids: &["GEN-001"], needs: Abi, run: flush_flags },
    Test { name: "mmu.flush_addresses", requirement_ids: &[], needs: Abi, run: flush_addresses },
    Test { name: "mmu.populate", requirement_ids: &["MMU-008"], needs: Abi, run: populate },
    Test { name: "mmu.populate_hint", requirement_ids: &["MMU-008"], needs: Ops, run: populate_hint },
    Test {
        name: "mmu.common_slots_addresses",
        requirement_ids: &["GEN-003"],
        needs: Abi,
        run: common_slots_addresses,
    },
    Test {
        name: "mmu.common_slots_limit",
        requirement_ids: &["ERR-001", "MMU-018"],
        needs: Abi,
        run: common_slots_limit,
    },
];

/// Every vCPU.
const EVERYBODY: [u64; 2] = [0, u64::MAX];

/// A flush on a vCPU set: mask, and number of its lowest vCPU.
type Flush<'a> = &'a dyn Fn(u64, u64) -> Reply;

fn load_root(root: u64, flags: u64, user_root: u64) -> Reply {
    call(Mmu::LoadRoot.id(), &[root, flags, user_root])
}

fn load_root_flags(report: &mut Report) {
    let root = tables::base_root().0;
    for bit in 1..64 {
        let reply = load_root(root, 1 << bit, 0);
        report.refused(format_args!("reserved bit {bit}"), reply, Error::InvalidArgument);
    }
    for user_root in [root, 1, u64::MAX] {
        let reply = load_root(root, 1, user_root);
        report.refused(format_args!("user root {user_root:#x}"), reply, Error::InvalidArgument);
    }
    report.accepted("no flags", load_root(root, 0, 0));
    report.accepted("keep", load_root(root, 1, 0));
}

fn load_root_addresses(report: &mut Report) {
    refuses_bad_addresses(report, "MMU.load_root", (4096, 4096), |root| load_root(root, 1, 0));
    let root = tables::base_root().0;
    for bit in [0, 3, 4, 11, 63] {
        let reply = load_root(root | 1 << bit, 1, 0);
        report.refused(format_args!("bit {bit} of the root"), reply, Error::BadAddress);
    }
}

fn release_errors(report: &mut Report) {
    let release = |root| call(Mmu::ReleaseRoot.id(), &[root]);
    refuses_bad_addresses(report, "MMU.release_root", (4096, 4096), release);
    let root = tables::base_root().0;
    report.refused(format_args!("the loaded root"), release(root), Error::WrongState);
    report.accepted("it is still loaded", load_root(root, 1, 0));
}

fn flush_sets(report: &mut Report) {
    let count = u64::from(world::hypervisor().vcpu_count);
    let address = window().0;
    let flushes: [(&str, Flush<'_>); 3] = [
        ("MMU.flush_page", &|mask, base| call(Mmu::FlushPage.id(), &[address, mask, base])),
        ("MMU.flush_range", &|mask, base| call(Mmu::FlushRange.id(), &[address, 8192, mask, base])),
        ("MMU.flush_all", &|mask, base| call(Mmu::FlushAll.id(), &[mask, base, 0])),
    ];
    for (name, flush) in flushes {
        report.accepted("everybody", flush(EVERYBODY[0], EVERYBODY[1]));
        report.accepted("vCPU 0", flush(1, 0));
        report.accepted("nobody", flush(0, 0));
        report.accepted("nobody, from anywhere", flush(0, 1 << 32));
        for (mask, base) in [(1 << count, 0), (1 << 63, 0), (1, count), (1, 1 << 32), (1, u64::MAX - 1)] {
            let reply = flush(mask, base);
            report.refused(
                format_args!("{name} of set {mask:#x} from {base:#x}"),
                reply,
                Error::InvalidArgument,
            );
        }
    }
}

fn flush_flags(report: &mut Report) {
    for bit in 1..64 {
        let reply = call(Mmu::FlushAll.id(), &[EVERYBODY[0], EVERYBODY[1], 1 << bit]);
        report.refused(format_args!("reserved bit {bit}"), reply, Error::InvalidArgument);
    }
    report.accepted("every root", call(Mmu::FlushAll.id(), &[EVERYBODY[0], EVERYBODY[1], 1]));
}

/// Any address may be flushed; where nothing is or can be mapped, nothing is done.
fn flush_addresses(report: &mut Report) {
    let reserved = world::hypervisor().reserved_ranges[0].start;
    let [mask, base] = EVERYBODY;
    for address in [0, 0xfff, reserved, 0x8000_0000_0000, u64::MAX] {
        for bytes in [0, 1, 4096, 1 << 40, u64::MAX] {
            let flush = || call(Mmu::FlushRange.id(), &[address, bytes, mask, base]);
            let mut reply = flush();
            while reply.status == Error::Again.to_status() {
                reply = flush();
            }
            report.accepted("MMU.flush_range", reply);
        }
        report.accepted("MMU.flush_page", call(Mmu::FlushPage.id(), &[address, mask, base]));
    }
}

/// Populate sets accessed bits, never dirty ones, and goes over no more than is mapped and asked for.
fn populate(report: &mut Report) {
    let address = window();
    let slots = [0, 1, 2].map(|index| map(tables::base_root(), page(address, index), world::frame(), DATA));
    let done = report.accepted("two of three pages", call(Mmu::Populate.id(), &[address.0, 2]));
    report.check(done <= 2, "no more than asked for");
    let marks = PageFlags::ACCESSED | PageFlags::DIRTY;
    for (index, slot) in (0..).zip(slots) {
        let wanted = if index < done { PageFlags::ACCESSED } else { PageFlags::empty() };
        report.equal("marks of a page", flags(slot) & marks, wanted);
    }
    let done = report.accepted("more than is mapped", call(Mmu::Populate.id(), &[address.0, 1 << 20]));
    report.check(done <= 3, "no more than is mapped");
    report.accepted("no page", call(Mmu::Populate.id(), &[address.0, 0]));
    for nowhere in [page(address, 3).0, u64::MAX - 4095, 0x8000_0000_0000] {
        let reply = call(Mmu::Populate.id(), &[nowhere, u64::MAX]);
        report.check(reply.status != 0 || reply.value == 0, "nothing is there");
    }
}

fn populate_hint(report: &mut Report) {
    let address = window();
    let slot = map(tables::base_root(), address, world::frame(), DATA);
    mmu().populate(address, 1);
    report.check(!flags(slot).contains(PageFlags::DIRTY), "a hint dirties nothing");
    report.works("a write", faults::write(address, 1));
    report.check(flags(slot).contains(PageFlags::DIRTY), "a write does");
}

fn common_slots_addresses(report: &mut Report) {
    let set = |address| call(Mmu::SetCommonSlots.id(), &[address]);
    refuses_bad_addresses(report, "MMU.set_common_slots", (64, 8), set);
}

/// Every slot: a hypervisor that does not support so many says so, and the slots stay ordinary.
fn common_slots_limit(report: &mut Report) {
    let (all, place) = world::place([const { AtomicU64::new(u64::MAX) }; 8]);
    let reply = call(Mmu::SetCommonSlots.id(), &[place]);
    if reply.status == 0 {
        report.remark(format_args!("no limit"));
    } else {
        report.refused(format_args!("every slot"), reply, Error::NoResources);
        // Ordinary slots are dropped by a flush of everything in this root alone.
        let address = window();
        let slot = map(tables::base_root(), address, world::frame(), DATA);
        report.works("a read", faults::read(address));
        tables::unmap(slot);
        report.faults("after a flush", faults::read(address), faults::PAGE_FAULT, 0);
    }
    all.iter().for_each(|word| word.store(0, Ordering::Relaxed));
    report.accepted("no common slots", call(Mmu::SetCommonSlots.id(), &[place]));
}
