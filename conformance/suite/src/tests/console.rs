//! Behaviour: console calls check their ranges, take what they can, and never wait.
//! Reason: they copy between the machine and guest memory.
//! Method: bad ranges, empty ones, and reading while no input is there.

use crate::harness::Needs::{Abi, Ops};
use crate::harness::abi::{call, refuses_bad_addresses};
use crate::harness::{Report, Test, world};
use core::sync::atomic::Ordering;
use pvops_abi::addr::PhysAddr;
use pvops_abi::call::{CallId, Console};
use pvops_abi::error::Error;
use pvops_abi::ops::{console, ops};

pub(super) const TESTS: &[Test] = &[
    Test { name: "console.empty", requirement_ids: &[], needs: Ops, run: empty },
    Test { name: "console.write_ranges", requirement_ids: &["GEN-003"], needs: Abi, run: write_ranges },
    Test { name: "console.read_ranges", requirement_ids: &["GEN-003"], needs: Abi, run: read_ranges },
    Test { name: "console.read_nothing", requirement_ids: &["LAY-002"], needs: Abi, run: read_nothing },
];

fn empty(report: &mut Report) {
    report.equal("no bytes out", ops().console.write(&[]), 0);
    report.equal("no room for bytes in", console::read(&mut []), 0);
}

fn refuses(report: &mut Report, name: &str, id: CallId) {
    refuses_bad_addresses(report, name, (16, 1), |address| call(id, &[address, 16]));
    let page = world::frame().0;
    for bytes in [u64::MAX, u64::MAX - page, 1 << 63, world::memory_end() - page + 1] {
        let reply = call(id, &[page, bytes]);
        report.refused(format_args!("{name}, {bytes:#x} bytes"), reply, Error::BadAddress);
    }
    let none = report.accepted("no bytes", call(id, &[page, 0]));
    report.equal("no bytes", none, 0);
}

fn write_ranges(report: &mut Report) {
    refuses(report, "CONS.write", Console::Write.id());
}

fn read_ranges(report: &mut Report) {
    refuses(report, "CONS.read", Console::Read.id());
}

/// The input of a run without a terminal is empty; where there is some, it is read.
fn read_nothing(report: &mut Report) {
    const MARK: u64 = 0x7777_7777_7777_7777;
    let page = world::frame();
    for word in 0..512 {
        world::word(PhysAddr(page.0 + word * 8)).store(MARK, Ordering::Relaxed);
    }
    let stored = report.accepted("CONS.read", call(Console::Read.id(), &[page.0, 4096]));
    report.check(stored <= 4096, "no more than there is room for");
    let first_untouched = stored.div_ceil(8);
    let untouched = (first_untouched..512)
        .all(|word| world::word(PhysAddr(page.0 + word * 8)).load(Ordering::Relaxed) == MARK);
    report.check(untouched, "nothing is stored behind the bytes");
    report.remark(format_args!("{stored} bytes"));
}
