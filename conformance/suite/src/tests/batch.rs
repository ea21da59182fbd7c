//! Behaviour: BASE.batch makes each call of a list and notes what it returned.
//! Reason: a list is memory that the guest wrote, read and written by the hypervisor: the classic place for
//! unchecked bounds.
//! Method: a mixed list, lists with calls that may not stand in one, counts and addresses out of bounds.

use crate::harness::Needs::Abi;
use crate::harness::abi::{call, refuses_bad_addresses};
use crate::harness::{Report, Test, events, world};
use core::sync::atomic::Ordering;
use pvops_abi::addr::PhysAddr;
use pvops_abi::call::{Base, CallId, Cpu, Sched, Time};
use pvops_abi::error::Error;
use pvops_abi::layout::{BatchEntry, MAX_BATCH};
use pvops_abi::ops::{irq, time};

pub(super) const TESTS: &[Test] = &[
    Test { name: "batch.results", requirement_ids: &["BASE-004", "BASE-006"], needs: Abi, run: results },
    Test { name: "batch.refused_calls", requirement_ids: &["BASE-005"], needs: Abi, run: refused_calls },
    Test { name: "batch.refused_block", requirement_ids: &["BASE-005"], needs: Abi, run: refused_block },
    Test { name: "batch.counts", requirement_ids: &["BASE-006", "BASE-007"], needs: Abi, run: counts },
    Test { name: "batch.addresses", requirement_ids: &["GEN-003", "ERR-001"], needs: Abi, run: addresses },
];

const WORDS: u64 = size_of::<BatchEntry>() as u64 / 8;
/// In status and value before the call.
const UNTOUCHED: u64 = 0x5555_5555_5555_5555;

/// A list of calls in memory; arguments but the first are zero.
fn list(calls: &[(CallId, u64)]) -> u64 {
    let start = world::frames(8192, 4096).expect("memory for a list").0;
    for (index, (id, argument)) in calls.iter().enumerate() {
        let words = [id.0, *argument, 0, 0, 0, 0, 0, UNTOUCHED, UNTOUCHED];
        for (word, value) in words.into_iter().enumerate() {
            at(start, index, word).store(value, Ordering::Relaxed);
        }
    }
    start
}

fn at(list: u64, index: usize, word: usize) -> &'static core::sync::atomic::AtomicU64 {
    world::word(PhysAddr(list + (index as u64 * WORDS + word as u64) * 8))
}

/// Status and value of an entry.
fn outcome(list: u64, index: usize) -> (i64, u64) {
    (at(list, index, 7).load(Ordering::Relaxed) as i64, at(list, index, 8).load(Ordering::Relaxed))
}

fn results(report: &mut Report) {
    let unknown = CallId(0x1_00ff);
    let bad_base = 1 << 47;
    let list = list(&[
        (Base::Version.id(), 0),
        (unknown, 0),
        (Cpu::SetSegmentBase.id(), bad_base),
        (Base::Probe.id(), 1),
        (Time::Clock.id(), 0),
    ]);
    at(list, 2, 2).store(bad_base, Ordering::Relaxed);
    do_all(report, list, 5);
    report.equal("BASE.version", outcome(list, 0), (0, call(Base::Version.id(), &[]).value));
    report.equal("an unknown call", outcome(list, 1).0, Error::NotSupported.to_status());
    report.equal("a bad argument", outcome(list, 2).0, Error::InvalidArgument.to_status());
    report.equal("a call after errors", outcome(list, 3), (0, call(Base::Probe.id(), &[1]).value));
    let now = call(Time::Clock.id(), &[]).value;
    report.check(outcome(list, 4).0 == 0 && outcome(list, 4).1 <= now, "TIME.clock in a list");
    report.equal("arguments are left alone", at(list, 3, 1).load(Ordering::Relaxed), 1);
}

/// Has `count` entries done: a hypervisor may stop before the end, but not before the first.
fn do_all(report: &mut Report, list: u64, count: u64) {
    let mut done = 0;
    while done < count {
        let rest = list + done * size_of::<BatchEntry>() as u64;
        let more = report.accepted("a list", call(Base::Batch.id(), &[rest, count - done]));
        if more == 0 || more > count - done {
            report.equal("entries done", more, count - done);
            return;
        }
        done += more;
    }
}

fn refused_calls(report: &mut Report) {
    let list =
        list(&[(Base::Batch.id(), 0), (Cpu::Iret.id(), 0), (Sched::Shutdown.id(), 0), (Base::Probe.id(), 1)]);
    do_all(report, list, 4);
    for index in 0..3 {
        report.equal(
            "a call that may not stand in a list",
            outcome(list, index).0,
            Error::InvalidArgument.to_status(),
        );
    }
    report.equal("the call behind them", outcome(list, 3).0, 0);
}

/// SCHED.BLOCK may not stand in a list either; a deadline ends the sleep of a hypervisor that lets it.
fn refused_block(report: &mut Report) {
    let Ok(port) = events::bind_timer() else { return report.error("no timer") };
    let list = list(&[(Sched::Block.id(), 0)]);
    time::set_deadline(Some(time::now_ns() + 1_000_000));
    do_all(report, list, 1);
    report.equal("SCHED.BLOCK in a list", outcome(list, 0).0, Error::InvalidArgument.to_status());
    report.check(!irq::are_enabled() && events::deliveries(port) == 0, "events stay masked");
}

fn counts(report: &mut Report) {
    let list = list(&[(Base::Version.id(), 0); MAX_BATCH as usize]);
    report.equal("no entries", report_count(list, 0), (0, 0));
    report.equal("nothing was touched", outcome(list, 0), (UNTOUCHED as i64, UNTOUCHED));
    report.equal("one entry", report_count(list, 1), (0, 1));
    report.equal("the next was not touched", outcome(list, 1), (UNTOUCHED as i64, UNTOUCHED));
    do_all(report, list, MAX_BATCH);
    report.equal("the last of as many as allowed", outcome(list, MAX_BATCH as usize - 1).0, 0);
    for count in
        [MAX_BATCH + 1, 1 << 32, 1 << 63 | 1, u64::MAX / size_of::<BatchEntry>() as u64 + 2, u64::MAX]
    {
        let reply = call(Base::Batch.id(), &[list, count]);
        report.refused(format_args!("{count:#x} entries"), reply, Error::InvalidArgument);
    }
}

fn report_count(list: u64, count: u64) -> (i64, u64) {
    let reply = call(Base::Batch.id(), &[list, count]);
    (reply.status, reply.value)
}

fn addresses(report: &mut Report) {
    let bytes = 3 * size_of::<BatchEntry>() as u64;
    refuses_bad_addresses(report, "a list of three", (bytes, 8), |list| call(Base::Batch.id(), &[list, 3]));
    // An empty list is checked like any other, and the whole of one before its first call is made.
    let behind = world::memory_end() + 4096;
    let reply = call(Base::Batch.id(), &[behind, 0]);
    report.refused(format_args!("an empty list behind memory"), reply, Error::BadAddress);
    let last = (world::memory_end() - size_of::<BatchEntry>() as u64) & !7;
    let reply = call(Base::Batch.id(), &[last, 2]);
    report.refused(format_args!("a second entry behind memory"), reply, Error::BadAddress);
    report.equal("the first entry was not begun", outcome(last, 0), (0, 0));
}
