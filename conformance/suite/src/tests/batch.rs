//! Behaviour: BASE.batch makes each call of a list and notes what it returned.
//! Reason: a list is memory that the guest wrote, read and written by the hypervisor: the classic place for
//! unchecked bounds.
//! Method: a mixed list, lists with calls that may not stand in one, counts and addresses out of bounds.

use crate::harness::Needs::Abi;
use crate::harness::abi::{call, refuses_bad_addresses};
use crate::harness::{Report, Test, world};
use core::sync::atomic::Ordering;
use pvops_abi::addr::PhysAddr;
use pvops_abi::call::{Base, CallId, Cpu, Sched, Time};
use pvops_abi::error::Error;
use pvops_abi::layout::{BatchEntry, MAX_BATCH};

pub(super) const TESTS: &[Test] = &[
    Test { name: "batch.results", requirement_ids: &[], needs: Abi, run: results },
    Test { name: "batch.refused_calls", requirement_ids: &[], needs: Abi, run: refused_calls },
    Test { name: "batch.counts", requirement_ids: &[], needs: Abi, run: counts },
    Test { name: "batch.addresses", requirement_ids: &[], needs: Abi, run: addresses },
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
    let done = report.accepted("a list of five", call(Base::Batch.id(), &[list, 5]));
    report.equal("entries done", done, 5);
    report.equal("BASE.version", outcome(list, 0), (0, call(Base::Version.id(), &[]).value));
    report.equal("an unknown call", outcome(list, 1).0, Error::NotSupported.to_status());
    report.equal("a bad argument", outcome(list, 2).0, Error::InvalidArgument.to_status());
    report.equal("a call after errors", outcome(list, 3), (0, call(Base::Probe.id(), &[1]).value));
    let now = call(Time::Clock.id(), &[]).value;
    report.check(outcome(list, 4).0 == 0 && outcome(list, 4).1 <= now, "TIME.clock in a list");
    report.equal("arguments are left alone", at(list, 3, 1).load(Ordering::Relaxed), 1);
}

fn refused_calls(report: &mut Report) {
    let calls = [Base::Batch.id(), Cpu::Iret.id(), Sched::Shutdown.id()];
    let list = list(&calls.map(|id| (id, 0)));
    let done = report.accepted("the list", call(Base::Batch.id(), &[list, 3]));
    report.equal("entries done", done, 3);
    for (index, id) in calls.iter().enumerate() {
        let status = outcome(list, index).0;
        report.check(Error::check(status).is_err(), "a call that may not stand in a list is refused");
        report.check(status == Error::InvalidArgument.to_status(), "and as an invalid argument");
        report.remark(format_args!("last: {:#x}", id.0));
    }
}

fn counts(report: &mut Report) {
    let list = list(&[(Base::Version.id(), 0); MAX_BATCH as usize]);
    report.equal("no entries", report_count(list, 0), (0, 0));
    report.equal("nothing was touched", outcome(list, 0), (UNTOUCHED as i64, UNTOUCHED));
    report.equal("one entry", report_count(list, 1), (0, 1));
    report.equal("the next was not touched", outcome(list, 1), (UNTOUCHED as i64, UNTOUCHED));
    report.equal("as many as allowed", report_count(list, MAX_BATCH), (0, MAX_BATCH));
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
    // The whole list is checked before its first call is made.
    let last = (world::memory_end() - size_of::<BatchEntry>() as u64) & !7;
    let reply = call(Base::Batch.id(), &[last, 2]);
    report.refused(format_args!("a second entry behind memory"), reply, Error::BadAddress);
}
