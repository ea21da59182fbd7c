//! Behaviour: the clock never goes back; a deadline fires once, never early, at once when it has passed, and not
//! at all when it was disarmed.
//! Reason: schedulers are built on it.
//! Method: reads clocks in turn, sets deadlines and notes when the timer's port is delivered.

use crate::harness::Needs::{Abi, Ops};
use crate::harness::abi::call;
use crate::harness::events::{await_deliveries, bind_timer, delivered_ns, deliveries, stay_silent};
use crate::harness::{Report, Test, events};
use pvops_abi::call::Time;
use pvops_abi::ops::event::{self, Port};
use pvops_abi::ops::irq;
use pvops_abi::ops::time::{counter_hz, now_ns, set_deadline, wall_clock_ns};

pub(super) const TESTS: &[Test] = &[
    Test { name: "time.monotonic", requirement_ids: &["TIME-001", "OPS-014"], needs: Ops, run: monotonic },
    Test { name: "time.counter", requirement_ids: &["TIME-003"], needs: Ops, run: counter },
    Test { name: "time.wall_clock", requirement_ids: &[], needs: Ops, run: wall_clock },
    Test { name: "time.clock_call", requirement_ids: &["TIME-001", "TIME-002"], needs: Abi, run: clock_call },
    Test { name: "time.deadline", requirement_ids: &["TIME-004", "OPS-015"], needs: Ops, run: deadline },
    Test {
        name: "time.past_deadline",
        requirement_ids: &["TIME-004", "OPS-015"],
        needs: Ops,
        run: past_deadline,
    },
    Test { name: "time.disarmed", requirement_ids: &[], needs: Ops, run: disarmed },
    Test { name: "time.replaced", requirement_ids: &["TIME-004", "OPS-015"], needs: Ops, run: replaced },
    Test {
        name: "time.expired_while_disabled",
        requirement_ids: &["TIME-004"],
        needs: Ops,
        run: expired_while_disabled,
    },
    Test {
        name: "time.expired_while_masked",
        requirement_ids: &["TIME-005", "OPS-015"],
        needs: Ops,
        run: expired_while_masked,
    },
    Test { name: "time.far_deadline", requirement_ids: &["TIME-004"], needs: Ops, run: far_deadline },
];

const MICROSECOND: u64 = 1_000;
const MILLISECOND: u64 = 1_000_000;
const SECOND: u64 = 1_000_000_000;

/// The timer's port, unmasked, interrupts enabled.
fn timer(report: &mut Report) -> Option<Port> {
    let port = bind_timer().ok();
    report.check(port.is_some(), "the timer can be bound");
    irq::enable();
    port
}

fn monotonic(report: &mut Report) {
    let mut last = now_ns();
    for _ in 0..20_000 {
        let now = now_ns();
        if now < last {
            report.equal("the clock went back", now, last);
            return;
        }
        last = now;
    }
    let start = now_ns();
    stay_silent();
    report.check(now_ns() - start >= events::SILENCE_NS, "it goes on");
}

fn counter(report: &mut Report) {
    // SAFETY: every backend allows RDTSC.
    let ticks = || unsafe { core::arch::x86_64::_rdtsc() };
    // The machine may be interrupted between the two readings of a pair (it may be a virtual one): the best of a few
    // attempts counts.
    let is_right = (0..8).any(|_| {
        let (ticks_before, before) = (ticks(), now_ns());
        while now_ns() < before + 20 * MILLISECOND {
            core::hint::spin_loop();
        }
        let (passed, elapsed) = (now_ns() - before, ticks() - ticks_before);
        let wanted = u128::from(counter_hz()) * u128::from(passed) / u128::from(SECOND);
        wanted.abs_diff(elapsed.into()) * 100 < wanted
    });
    report.check(is_right, "the counter's frequency, within one in a hundred");
    report.remark(format_args!("{} MHz", counter_hz() / 1_000_000));
}

fn wall_clock(report: &mut Report) {
    const YEAR: u64 = 365 * 24 * 3600 * SECOND;
    let (wall, clock) = (wall_clock_ns(), now_ns());
    report.check((wall / YEAR) > 50 && (wall / YEAR) < 130, "between 2020 and 2100");
    while now_ns() < clock + 2 * MILLISECOND {
        core::hint::spin_loop();
    }
    let passed = wall_clock_ns() - wall;
    report.check((MILLISECOND..SECOND).contains(&passed), "it goes on with the clock");
}

/// TIME.clock and the area's parameters are one clock; a nanosecond or two are lost by rounding.
fn clock_call(report: &mut Report) {
    const ROUNDING_NS: u64 = 2;
    for _ in 0..1000 {
        let before = now_ns();
        let by_call = report.accepted("TIME.clock", call(Time::Clock.id(), &[]));
        let after = now_ns();
        if before > by_call + ROUNDING_NS || by_call > after + ROUNDING_NS {
            report.equal("before, by call, after", (before, by_call, after), (0, 0, 0));
            return;
        }
    }
    let wall = report.accepted("TIME.wall_clock", call(Time::WallClock.id(), &[]));
    report.check(wall_clock_ns() >= wall, "the wall clock goes on");
}

fn deadline(report: &mut Report) {
    let Some(port) = timer(report) else { return };
    let mut latest = 0;
    for (round, delay) in (1..).zip([50 * MICROSECOND, 300 * MICROSECOND, MILLISECOND, 7 * MILLISECOND]) {
        let deadline = now_ns() + delay;
        set_deadline(Some(deadline));
        if !await_deliveries(port, round) {
            report.equal("deadlines that fired", deliveries(port), round);
            return;
        }
        report.check(delivered_ns() >= deadline, "a deadline fires never early");
        latest = latest.max(delivered_ns().saturating_sub(deadline));
    }
    stay_silent();
    report.equal("each fires once", deliveries(port), 4);
    report.remark(format_args!("at most {} us late", latest / MICROSECOND));
}

fn past_deadline(report: &mut Report) {
    let Some(port) = timer(report) else { return };
    for (round, deadline) in (1..).zip([now_ns(), now_ns() - 1, 1, 0]) {
        set_deadline(Some(deadline));
        report.check(await_deliveries(port, round), "a deadline that has passed fires");
        stay_silent();
        report.equal("and once", deliveries(port), round);
    }
}

fn disarmed(report: &mut Report) {
    let Some(port) = timer(report) else { return };
    set_deadline(Some(now_ns() + 2 * MILLISECOND));
    set_deadline(None);
    stay_silent();
    report.equal("a deadline that was disarmed", deliveries(port), 0);
    set_deadline(None);
    report.equal("disarmed again", deliveries(port), 0);
}

fn replaced(report: &mut Report) {
    let Some(port) = timer(report) else { return };
    // Far enough away that the machine is not interrupted for so long between the two calls.
    let earlier = now_ns() + 200 * MILLISECOND;
    let later = earlier + 20 * MILLISECOND;
    set_deadline(Some(earlier));
    set_deadline(Some(later));
    report.check(await_deliveries(port, 1), "the later deadline");
    report.check(delivered_ns() >= later, "replaces the earlier one");
    set_deadline(Some(now_ns() + 60 * SECOND));
    let sooner = now_ns() + MILLISECOND;
    set_deadline(Some(sooner));
    report.check(await_deliveries(port, 2), "the sooner deadline replaces the later one");
    report.check(delivered_ns() < sooner + 30 * SECOND, "and is in time");
}

fn expired_while_disabled(report: &mut Report) {
    let Some(port) = timer(report) else { return };
    irq::disable();
    set_deadline(Some(now_ns() + MILLISECOND));
    stay_silent();
    report.equal("while disabled", deliveries(port), 0);
    irq::enable();
    core::hint::spin_loop();
    report.check(await_deliveries(port, 1), "after enabling");
    stay_silent();
    report.equal("once", deliveries(port), 1);
}

/// A virtual machine may see its timer late, after the deadline was taken back: then it has not expired, and the next
/// attempt waits longer.
fn expired_while_masked(report: &mut Report) {
    let Some(port) = timer(report) else { return };
    let is_kept = [1, 8, 64].into_iter().any(|periods| {
        event::mask(port);
        let before = deliveries(port);
        set_deadline(Some(now_ns() + MILLISECOND));
        (0..periods).for_each(|_| stay_silent());
        report.equal("while masked", deliveries(port), before);
        // What expired already stays pending.
        set_deadline(None);
        event::unmask(port);
        stay_silent();
        deliveries(port) > before
    });
    report.check(is_kept, "after unmasking");
}

fn far_deadline(report: &mut Report) {
    let Some(port) = timer(report) else { return };
    for deadline in [u64::MAX - 1, u64::MAX / 2, now_ns() + 3600 * SECOND] {
        set_deadline(Some(deadline));
        stay_silent();
        report.equal("deadlines far away", deliveries(port), 0);
    }
    set_deadline(Some(now_ns() + MILLISECOND));
    report.check(await_deliveries(port, 1), "a near one after them");
}
