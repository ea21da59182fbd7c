//! `run=rt`: the real-time role. A thread of the highest priority has work to do every period, and how late it begins
//! and ends is written down, every time.
//!
//! The releases are absolute: number k is due at `start + k * period`, however late those before it were; none is
//! skipped. The work is to look at memory of its own (`demo_logic::guarded_memory`), so that a neighbour who changed a
//! byte of it would be noticed. It uses the interface of operations only and so runs on the bare machine as well.

mod plan;
mod record;
mod show;

use crate::options::Refused;
use crate::threads::{self, Builder};
use core::sync::atomic::Ordering::Relaxed;
use demo_logic::guarded_memory::GuardedMemory;
use plan::Plan;
use pvops_abi::ops::time;
use record::{RECORD, Run};

/// Before the first release: everything is in its place by then.
const HEAD_START_NS: u64 = 2_000_000;
/// Latencies that are kept at most.
const MOST_SAMPLES: u64 = 100_000;
/// How often a run without an end tells how it goes.
const SUMMARY_NS: u64 = 1_000_000_000;

/// Runs as the command line says; returns the status to end with.
pub(crate) fn run(command_line: &str) -> Result<u8, Refused> {
    let plan = Plan::from_options(command_line)?;
    let thread = Builder::new("realtime", threads::REALTIME).build(move || release_all(&plan));
    let thread = thread.expect("memory for the real-time thread");
    threads::launch(&thread);
    if plan.is_endless() {
        watch(&plan);
    }
    threads::join(&thread);
    if plan.keeps_samples {
        show::samples();
    }
    Ok(show::report(&plan))
}

/// Tells how it goes, until something fails that must not.
fn watch(plan: &Plan) {
    let mut next = time::now_ns() + SUMMARY_NS;
    while !RECORD.has_failed(plan) {
        threads::sleep_until(next);
        show::summary(plan);
        next += SUMMARY_NS;
    }
}

/// The body of the real-time thread.
fn release_all(plan: &Plan) {
    let mut memory = GuardedMemory::new(plan.parts, plan.pages);
    // Touched once before it counts, as real-time programs do.
    RECORD.add_changed(memory.visit_all());
    if plan.keeps_samples {
        RECORD.keep_samples(plan.periods.min(MOST_SAMPLES) as usize);
    }
    let start = time::now_ns() + HEAD_START_NS;
    let mut release = start;
    for number in 0.. {
        if number == plan.periods || (plan.is_endless() && RECORD.has_failed(plan)) {
            break;
        }
        threads::sleep_until(release);
        let began = time::now_ns();
        RECORD.add_changed(usize::from(!memory.visit_next()));
        let next = release + plan.period_ns;
        RECORD.add(&Run { release, began, ended: time::now_ns(), next });
        release = next;
    }
    // What was changed where the last round did not come by any more.
    RECORD.add_changed(memory.visit_all());
    RECORD.checksum.store(memory.checksum(), Relaxed);
}
