//! The clock and deadlines.

use crate::cpu;
use crate::report::Report;
use crate::threads;
use pvops_abi::ops::time;

pub(super) fn run(report: &mut Report) {
    clock(report);
    deadlines(report);
}

/// Exercises `time::now_ns`, `wall_clock_ns` and `counter_hz`.
fn clock(report: &mut Report) {
    const JANUARY_2020: u64 = 1_577_836_800_000_000_000;
    let mut last = time::now_ns();
    let mut steps_back = 0;
    for _ in 0..10_000 {
        let now = time::now_ns();
        steps_back += u64::from(now < last);
        last = now;
    }
    report.expect("clock_steps_back", steps_back, 0);
    report.check("the wall clock is set", time::wall_clock_ns() > JANUARY_2020);
    report.measured("counter", time::counter_hz() / 1000, "kHz");
}

/// Sleeps of different lengths: each expiry comes at its deadline or later. Nothing else sets the timer now.
fn deadlines(report: &mut Report) {
    const SLEEPS: u64 = 16;
    let statistics = || cpu::current().scheduler.lock().statistics();
    let before = statistics();
    let mut overslept = 0;
    for sleep in 0..SLEEPS {
        let deadline = time::now_ns() + 300_000 * (1 + sleep % 5);
        threads::sleep_until(deadline);
        overslept += u64::from(time::now_ns() >= deadline);
    }
    let after = statistics();
    let expiries = after.expiries - before.expiries;
    report.expect("sleeps_completed", overslept, SLEEPS);
    report.expect("deadlines_early", after.early - before.early, 0);
    report.measured("deadline_latency", (after.late_ns - before.late_ns) / expiries.max(1), "ns");
}
