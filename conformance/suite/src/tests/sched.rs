//! Behaviour: yielding returns, blocking ends with an event and loses none, and a shutdown for no known reason is
//! refused.
//! Reason: an idle loop that misses its event sleeps for ever.
//! Method: waits for deadlines and for events that were pending before the wait.

use crate::harness::Needs::{Abi, Ops};
use crate::harness::abi::call;
use crate::harness::events::{bind_own, bind_timer, delivered_ns, deliveries};
use crate::harness::{Report, Test};
use pvops_abi::call::Sched;
use pvops_abi::error::Error;
use pvops_abi::ops::event::{send, unmask};
use pvops_abi::ops::time::{now_ns, set_deadline};
use pvops_abi::ops::{irq, sched};

pub(super) const TESTS: &[Test] = &[
    Test { name: "sched.yield", requirement_ids: &[], needs: Ops, run: yield_now },
    Test {
        name: "sched.wait_for_deadline",
        requirement_ids: &["SCHED-001"],
        needs: Ops,
        run: wait_for_deadline,
    },
    Test {
        name: "sched.wait_with_pending",
        requirement_ids: &["SCHED-001", "SCHED-002", "OPS-003"],
        needs: Ops,
        run: wait_with_pending,
    },
    Test { name: "sched.wait_race", requirement_ids: &["SCHED-001", "OPS-003"], needs: Ops, run: wait_race },
    Test {
        name: "sched.block_call",
        requirement_ids: &["SCHED-001", "SCHED-002"],
        needs: Abi,
        run: block_call,
    },
    Test { name: "sched.shutdown_errors", requirement_ids: &["SCHED-003"], needs: Abi, run: shutdown_errors },
];

const MILLISECOND: u64 = 1_000_000;

fn yield_now(report: &mut Report) {
    for enabled in [false, true] {
        if enabled {
            irq::enable()
        } else {
            irq::disable()
        }
        sched::yield_now();
        report.equal("the flag after a yield", irq::are_enabled(), enabled);
    }
}

fn wait_for_deadline(report: &mut Report) {
    let Ok(port) = bind_timer() else { return report.error("no timer") };
    for round in 1..=3 {
        irq::disable();
        let deadline = now_ns() + 2 * MILLISECOND;
        set_deadline(Some(deadline));
        while deliveries(port) < round {
            irq::enable_and_wait();
            report.check(irq::are_enabled(), "the wait returns enabled");
            irq::disable();
        }
        report.check(now_ns() >= deadline && delivered_ns() >= deadline, "the deadline is reached");
    }
    report.equal("deadlines", deliveries(port), 3);
}

/// What became pending before the wait ends it at once.
fn wait_with_pending(report: &mut Report) {
    let Ok(port) = bind_own() else { return report.error("no port") };
    unmask(port);
    irq::disable();
    send(port);
    report.equal("before the wait", deliveries(port), 0);
    irq::enable_and_wait();
    report.equal("when it returns", deliveries(port), 1);
}

/// Deadlines so near that they pass around the moment of the wait.
fn wait_race(report: &mut Report) {
    let Ok(port) = bind_timer() else { return report.error("no timer") };
    for round in 1..=300 {
        irq::disable();
        set_deadline(Some(now_ns() + u64::from(round) * 100));
        while deliveries(port) < round {
            irq::enable_and_wait();
            irq::disable();
        }
    }
    report.equal("deadlines", deliveries(port), 300);
}

fn block_call(report: &mut Report) {
    let Ok(port) = bind_timer() else { return report.error("no timer") };
    irq::disable();
    set_deadline(Some(now_ns() + MILLISECOND));
    // It may return without an event, but not without having delivered one that is pending.
    let end = now_ns() + 1000 * MILLISECOND;
    while deliveries(port) == 0 && now_ns() < end {
        irq::disable();
        report.accepted("SCHED.block", call(Sched::Block.id(), &[]));
    }
    report.equal("deadlines delivered", deliveries(port), 1);
    report.check(irq::are_enabled(), "it enables events");
    report.accepted("SCHED.yield", call(Sched::Yield.id(), &[]));
}

fn shutdown_errors(report: &mut Report) {
    for reason in [3, 4, 0x100, 1 << 32, 1 << 63, u64::MAX] {
        let reply = call(Sched::Shutdown.id(), &[reason, 0]);
        report.refused(format_args!("reason {reason:#x}"), reply, Error::InvalidArgument);
    }
}
