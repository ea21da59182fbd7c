//! User programs: system calls, vector registers, copy-on-write, demand paging, and what must not be done.

use crate::process::{self, Process};
use crate::report::Report;
use alloc::sync::Arc;
use demo_programs::{FAILED, KILLED, Misdeed, Program};

pub(super) fn run(report: &mut Report) {
    report.expect("programs_started", run_one(Program::Hello, 2), 3);
    report.measured("system_call", run_one(Program::SystemCalls, 0), "ticks");
    vectors(report);
    fork(report);
    report.expect("demand_faults", run_one(Program::Demand, 64), 64);
    let overslept = run_one(Program::Sleeper, 2_000_000);
    report.check("a program never wakes early", overslept != FAILED);
    report.measured("program_overslept", overslept, "us");
    misdeeds(report);
}

/// Two processes compute in vector registers at the same time and preempt each other.
fn vectors(report: &mut Report) {
    let both = [1, 2].map(|seed| start(Program::Vectors, seed));
    let [first, second] = both.map(|process| process::wait(&process));
    report.check("vector registers are kept apart", first != FAILED && second != FAILED && first != second);
    report.count("vectors_checksum_1", first);
    report.count("vectors_checksum_2", second);
}

fn fork(report: &mut Report) {
    let sums = run_one(Program::Fork, 0);
    report.count("fork_parent_checksum", sums >> 32);
    report.count("fork_child_checksum", sums & 0xffff_ffff);
    report.check("parent and child differ", sums != FAILED && sums >> 32 != sums & 0xffff_ffff);
}

/// Each is stopped with the vector that the manual names for it; the kernel and other programs go on.
fn misdeeds(report: &mut Report) {
    let expected = |misdeed| match misdeed {
        Misdeed::Divide => KILLED,
        Misdeed::Undefined => KILLED | 6,
        Misdeed::Privileged | Misdeed::RaisePageFault | Misdeed::ReadPort => KILLED | 13,
        Misdeed::PassKernelPointer => 0,
        _ => KILLED | 14,
    };
    let stopped = |misdeed: &&Misdeed| run_one(Program::Misbehave, **misdeed as u64) == expected(**misdeed);
    let count = Misdeed::ALL.iter().filter(stopped).count();
    report.expect("misdeeds_stopped", count as u64, Misdeed::ALL.len() as u64);
}

fn run_one(program: Program, argument: u64) -> u64 {
    process::wait(&start(program, argument))
}

/// Starts a program that nothing but memory could prevent.
pub(super) fn start(program: Program, argument: u64) -> Arc<Process> {
    process::spawn(program, argument, None).expect("memory for a program")
}
