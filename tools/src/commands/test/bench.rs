//! `cargo pv bench`: its figures are the same each time, budgets that are kept stay kept, and a guest that only computes
//! is hardly slower than the bare machine.

use std::time::Duration;

use super::case::{BOOT_LIMIT, Case, Context, ensure};
use crate::commands::bench;
use crate::failure::Failure;

/// Operations whose budgets hold: beginnings of their names.
const KEPT: [&str; 12] = [
    "calibration.",
    "call.",
    "switch.",
    "system_call.",
    "kernel_fault.",
    "user_fault.",
    "event_to_self.",
    "map.",
    "unmap.",
    "root.",
    "sched.",
    "time.",
];
/// Most overhead of a program that makes no system calls, in percent.
const MOST_COMPUTING_OVERHEAD: f64 = 3.0;

/// All of them.
pub fn cases() -> Vec<Case> {
    let mut cases = vec![
        Case::boot("bench: two runs give the same bytes", same_bytes),
        Case::boot("bench: budgets that were kept are kept", budgets),
        Case::boot("bench: computing costs a guest next to nothing", computing),
    ];
    // Several machines each, instruction by instruction.
    cases.iter_mut().for_each(|case| case.limit = 3 * BOOT_LIMIT);
    cases
}

/// Operations with every kind of crossing, in both worlds.
fn same_bytes(context: &Context, limit: Duration) -> Result<(), Failure> {
    let run = || bench::report(&context.workspace, "user_fault", limit).map(|report| report.to_json());
    let (first, second) = (run()?, run()?);
    ensure(first.contains("user_fault.round_trip"), "a figure is missing")?;
    ensure(first == second, format_args!("the figures differ:\n{first}\n{second}"))
}

fn budgets(context: &Context, limit: Duration) -> Result<(), Failure> {
    for kept in KEPT {
        let report = bench::report(&context.workspace, kept, limit)?;
        ensure(!report.operations.is_empty(), format_args!("no operation begins with {kept}"))?;
        let over = report.over_budget();
        ensure(over.is_empty(), format_args!("over budget:\n{}", over.join("\n")))?;
    }
    Ok(())
}

fn computing(context: &Context, limit: Duration) -> Result<(), Failure> {
    let report = bench::report(&context.workspace, "workload.compute", limit)?;
    let [row] = report.workloads.as_slice() else {
        return ensure(false, format_args!("{} workloads", report.workloads.len()));
    };
    let most = row.overhead.iter().copied().fold(f64::MIN, f64::max);
    ensure(most <= MOST_COMPUTING_OVERHEAD, format_args!("an overhead of {most} % over the bare machine"))
}
