//! `cargo pv bench`: its figures are the same each time, no operation is over its budget, and a guest that only computes
//! is hardly slower than the bare machine.

use std::time::Duration;

use super::case::{BOOT_LIMIT, Case, Context, ensure};
use crate::commands::bench;
use crate::failure::Failure;

/// Operations that have a budget: no fewer may be compared.
const LEAST_BUDGETS: usize = 27;
/// Most overhead of a program that makes no system calls, in percent.
const MOST_COMPUTING_OVERHEAD: f64 = 3.0;

/// All of them.
pub fn cases() -> Vec<Case> {
    let mut cases = vec![
        Case::boot("bench: two runs give the same bytes", same_bytes),
        Case::boot("bench: no operation is over its budget", budgets),
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
    let report = bench::all_operations(&context.workspace, limit)?;
    let limited = report.operations.iter().filter(|row| row.must.is_some()).count();
    ensure(limited >= LEAST_BUDGETS, format_args!("{limited} operations have a budget"))?;
    let over = report.over_budget();
    ensure(over.is_empty(), format_args!("over budget:\n{}", over.join("\n")))
}

fn computing(context: &Context, limit: Duration) -> Result<(), Failure> {
    let report = bench::report(&context.workspace, "workload.compute", limit)?;
    let [row] = report.workloads.as_slice() else {
        return ensure(false, format_args!("{} workloads", report.workloads.len()));
    };
    let most = row.overhead.iter().copied().fold(f64::MIN, f64::max);
    ensure(most <= MOST_COMPUTING_OVERHEAD, format_args!("an overhead of {most} % over the bare machine"))
}
