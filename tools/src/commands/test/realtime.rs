//! The real-time role: no deadline is missed beside any neighbour that has a lower priority, and every deadline is
//! looked at: with the priorities exchanged, the same test fails.
//!
//! With one CPU, instructions are counted: each figure is the same on every computer, so it can be a bound.

use std::time::Duration;

use super::case::{BOOT_LIMIT, Case, Context, ensure, expect_status, expect_text};
use crate::boot::World;
use crate::commands::demo::realtime::{self, MOST_LATENCY_NS, Placed};
use crate::failure::Failure;
use crate::machine::Machine;
use crate::results::{self, Value};
use crate::session::Ended;

/// The real-time role, a miss being a failure.
const STRICT: &str = "run=rt strict=1";
/// The neighbour is busy for longer than that: 2000 milliseconds.
const LOAD: &str = "run=load seconds=3";

/// All of them.
pub fn cases() -> Vec<Case> {
    let mut cases = vec![
        Case::boot("real-time: alone, native", |context, limit| alone(context, World::Native, limit)),
        Case::boot("real-time: alone, guest", |context, limit| alone(context, World::Hypervisor, limit)),
        Case::boot("real-time: beside a busy neighbour on the same CPU", same_cpu),
        Case::boot("real-time: with less priority than its neighbour, deadlines are missed", inverted),
        Case::boot("real-time: beside a busy neighbour on another CPU", other_cpu),
        Case::boot("real-time: options that make no sense are refused", refused_options),
    ];
    // Seconds of machine time, instruction by instruction.
    cases.iter_mut().for_each(|case| case.limit = 2 * BOOT_LIMIT);
    cases
}

/// One CPU whose clock is its instructions.
fn one_cpu() -> Machine {
    Machine { icount: true, ..Machine::default() }
}

fn alone(context: &Context, world: World, limit: Duration) -> Result<(), Failure> {
    let kernels = context.kernels()?;
    let contents = world.contents(&kernels.demo, &kernels.hypervisor, STRICT)?;
    let ended = context.start(&contents, &one_cpu(), limit)?.finish()?;
    expect_status(&ended, 0)?;
    expect_text(&ended, "result: verdict ok")?;
    in_time(&results::parse(&ended.console), DEFAULT_PERIODS)
}

/// What the role does unless told otherwise.
pub(super) const DEFAULT_PERIODS: u64 = 2000;

/// No miss in `periods`, no change, and never later than the bound.
pub(super) fn in_time(values: &[Value], periods: u64) -> Result<(), Failure> {
    let number = |name| results::number(values, name);
    for (name, expected) in
        [("rt_periods", periods), ("rt_missed", 0), ("rt_memory_changes", 0), ("rt_early_releases", 0)]
    {
        let found = number(name);
        ensure(found == Some(expected), format_args!("{name} is {found:?}, not {expected}"))?;
    }
    let latency = number("rt_latency_max").unwrap_or(u64::MAX);
    ensure(latency <= MOST_LATENCY_NS, format_args!("a release was {latency} ns late"))
}

fn run(
    context: &Context,
    domains: &[Placed<'_>],
    machine: &Machine,
    limit: Duration,
) -> Result<Ended, Failure> {
    let kernels = context.kernels()?;
    let contents = realtime::side_by_side(domains, &kernels.demo, &kernels.hypervisor)?;
    context.start(&contents, machine, limit)?.finish()
}

fn same_cpu(context: &Context, limit: Duration) -> Result<(), Failure> {
    let domains = [
        Placed { name: "gp", cmdline: LOAD, cpu: 0, priority: 16 },
        Placed { name: "rt", cmdline: STRICT, cpu: 0, priority: 24 },
    ];
    let ended = run(context, &domains, &one_cpu(), limit)?;
    expect_status(&ended, 0)?;
    expect_text(&ended, "[rt] result: verdict ok")?;
    expect_text(&ended, "[gp] result: verdict ok")?;
    in_time(&results::parse(&results::lines_of(&ended.console, "rt")), DEFAULT_PERIODS)?;
    let end_of = |domain: &str| ended.console.find(&format!("[{domain}] result: verdict"));
    ensure(end_of("rt") < end_of("gp"), "the neighbour was done before the last deadline")
}

/// What the other cases assert does not hold by itself.
fn inverted(context: &Context, limit: Duration) -> Result<(), Failure> {
    let domains = [
        Placed { name: "gp", cmdline: LOAD, cpu: 0, priority: 24 },
        Placed { name: "rt", cmdline: STRICT, cpu: 0, priority: 16 },
    ];
    let ended = run(context, &domains, &one_cpu(), limit)?;
    expect_status(&ended, 1)?;
    expect_text(&ended, "[gp] result: verdict ok")?;
    expect_text(&ended, "[rt] result: verdict FAILED")?;
    let values = results::parse(&results::lines_of(&ended.console, "rt"));
    let missed = results::number(&values, "rt_missed");
    ensure(missed > Some(0), format_args!("deadlines missed: {missed:?}"))?;
    // Late is not wrong: the memory is as it must be all the same.
    ensure(results::number(&values, "rt_memory_changes") == Some(0), "memory was changed")
}

/// Two CPUs run by this computer's clock, so only what is no time is asserted.
fn other_cpu(context: &Context, limit: Duration) -> Result<(), Failure> {
    let domains = [
        Placed { name: "gp", cmdline: LOAD, cpu: 0, priority: 16 },
        Placed { name: "rt", cmdline: "run=rt", cpu: 1, priority: 24 },
    ];
    let ended = run(context, &domains, &Machine { cpus: 2, ..Machine::default() }, limit)?;
    expect_status(&ended, 0)?;
    expect_text(&ended, "[rt] result: verdict ok")?;
    expect_text(&ended, "[gp] result: verdict ok")?;
    expect_text(&ended, "[rt] result: rt_memory_changes 0")?;
    expect_text(&ended, "[rt] result: rt_periods 2000")
}

fn refused_options(context: &Context, limit: Duration) -> Result<(), Failure> {
    let refused = |cmdline: &str, line: &str| {
        let ended = context.run_guest(World::Native, &context.kernels()?.demo, cmdline, limit)?;
        expect_status(&ended, 2)?;
        expect_text(&ended, line)
    };
    refused("run=rt work_kib=12", "work_kib=12: it must be a power of two")?;
    refused("run=rt period_us=now", "period_us=now: it must be a number from ")?;
    refused("run=everything", "run=everything: it must be shell, demo, load, lines, rt, doorbell, ")
}
