//! The record, for people and for programs.

use super::plan::Plan;
use super::record::RECORD;
use crate::console::println;
use crate::report::Report;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::sync::atomic::Ordering::Relaxed;
use demo_logic::histogram::{Histogram, STEP_ENDS_NS, STEPS};

/// Characters of the longest bar.
const BAR: u64 = 40;

/// One line on how it goes.
pub(super) fn summary(plan: &Plan) {
    let latency = &RECORD.latency;
    let changed = RECORD.changed.load(Relaxed);
    println!(
        "rt {} s: {} missed; latency us min {} p50 {} p99 {} max {}, now {}; gap {}; memory {}",
        latency.count() * plan.period_ns / 1_000_000_000,
        RECORD.missed.load(Relaxed),
        microseconds(latency.min()),
        microseconds(latency.percentile(50)),
        microseconds(latency.percentile(99)),
        microseconds(latency.max()),
        microseconds(RECORD.take_worst_lately()),
        microseconds(RECORD.longest_gap.load(Relaxed)),
        if changed == 0 { "ok" } else { "CHANGED" },
    );
}

/// Everything; returns the status to end with.
pub(super) fn report(plan: &Plan) -> u8 {
    println!("rt | release latency, {} periods of {} us", RECORD.latency.count(), plan.period_ns / 1000);
    chart(&RECORD.latency);
    let mut report = Report::new();
    report.count("rt_periods", RECORD.latency.count());
    report.count("rt_memory_checksum", RECORD.checksum.load(Relaxed));
    report.expect("rt_memory_changes", RECORD.changed.load(Relaxed), 0);
    report.expect("rt_early_releases", RECORD.early.load(Relaxed), 0);
    let missed = RECORD.missed.load(Relaxed);
    report.measured("rt_missed", missed, "deadlines");
    let latency = &RECORD.latency;
    for (name, value) in [
        ("rt_latency_min", latency.min()),
        ("rt_latency_mean", latency.mean()),
        ("rt_latency_p50", latency.percentile(50)),
        ("rt_latency_p99", latency.percentile(99)),
        ("rt_latency_max", latency.max()),
        ("rt_work_mean", RECORD.work.mean()),
        ("rt_work_max", RECORD.work.max()),
        ("rt_longest_gap", RECORD.longest_gap.load(Relaxed)),
    ] {
        report.measured(name, value, "ns");
    }
    report.check("every deadline is met", missed == 0 || !plan.strict);
    report.conclude()
}

/// All latencies in order, sixteen to a line.
pub(super) fn samples() {
    let samples: Vec<u32> = RECORD.samples().collect();
    for line in samples.chunks(16) {
        let line: Vec<String> = line.iter().map(|sample| format!("{sample}")).collect();
        println!("rt samples {}", line.join(" "));
    }
}

/// A bar for each step; none is shorter than a mark if anything is in it.
fn chart(histogram: &Histogram) {
    let steps = histogram.steps();
    let most = u64::from(steps.into_iter().max().unwrap_or(0)).max(1);
    for (number, count) in steps.into_iter().enumerate() {
        let length = (u64::from(count) * BAR).div_ceil(most) as usize;
        println!("rt | {:>19} {count:>8} {}", label(number), "#".repeat(length));
    }
}

/// The step's bounds, as `2 us ..   5 us`.
fn label(step: usize) -> String {
    let bound =
        |ns: u64| if ns < 1_000_000 { format!("{} us", ns / 1000) } else { format!("{} ms", ns / 1_000_000) };
    match step {
        0 => format!("below {:>6}", bound(STEP_ENDS_NS[0])),
        step if step == STEPS - 1 => format!("{:>6} and more", bound(STEP_ENDS_NS[step - 1])),
        step => format!("{:>6} .. {:>6}", bound(STEP_ENDS_NS[step - 1]), bound(STEP_ENDS_NS[step])),
    }
}

/// Nanoseconds as microseconds with a decimal.
fn microseconds(ns: u64) -> String {
    format!("{}.{}", ns / 1000, ns / 100 % 10)
}
