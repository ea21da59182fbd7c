//! `run=workloads`: whole workloads for `cargo pv bench`, each done by user programs in address spaces of their own.
//!
//! Each workload begins at a time of its own on the clock, so that several domains that run this role contend for the CPU
//! in the same workload at the same time: number k is due at `start_ms + k * slot_ms`. How long it took is what the
//! domain prints, `workload: NAME DUE BEGAN ENDED`, in nanoseconds; sleeping until the next slot costs nothing.

pub(crate) mod pipe;

use crate::console::println;
use crate::options::{self, Refused};
use crate::process;
use crate::threads;
use alloc::vec::Vec;
use demo_programs::{FAILED, Program};
use pvops_abi::boot::option_of;
use pvops_abi::ops::time;

/// When the first workload is due: every domain has booted by then.
const START_MS: u64 = 1000;
/// How far workloads are apart: four contending domains are done by then.
const SLOT_MS: u64 = 1000;

/// A workload: its name, and the programs that are started together, with their arguments and how many of each.
struct Workload {
    name: &'static str,
    programs: &'static [(Program, u64, usize)],
}

/// Amounts of work are such that each takes some ten million instructions on the bare machine.
const WORKLOADS: [Workload; 9] = [
    Workload { name: "compute", programs: &[(Program::Compute, 240, 1)] },
    Workload { name: "system_calls", programs: &[(Program::CallMany, 35_000, 1)] },
    Workload { name: "context_switches", programs: &[(Program::YieldMany, 1200, 8)] },
    Workload { name: "page_faults", programs: &[(Program::TouchMany, 4000, 1)] },
    Workload { name: "fork", programs: &[(Program::ForkMany, 12, 1)] },
    Workload { name: "address_spaces", programs: &[(Program::YieldMany, 25, 64)] },
    Workload { name: "messages", programs: &[(Program::SendMany, 2000, 1), (Program::ReceiveMany, 2000, 1)] },
    Workload { name: "timer", programs: &[(Program::ComputeAndYield, 300, 1), (Program::SleepMany, 50, 1)] },
    Workload { name: "console", programs: &[(Program::PrintMany, 1000, 1)] },
];

/// Does the workloads, or those whose names contain `only=`; returns the status to end with.
pub(crate) fn run(command_line: &str) -> Result<u8, Refused> {
    let number = |option| options::number(command_line, option, 1..=1_000_000);
    let start_ms = number("start_ms")?.unwrap_or(START_MS);
    let slot_ms = number("slot_ms")?.unwrap_or(SLOT_MS);
    let only = option_of(command_line, "only").unwrap_or("");
    let mut status = 0;
    for (index, workload) in (0..).zip(&WORKLOADS) {
        if workload.name.contains(only) {
            let due = (start_ms + index * slot_ms) * 1_000_000;
            status |= u8::from(!work(workload, due));
        }
    }
    println!("workloads: done");
    Ok(status)
}

/// Does one workload at its time. False: a program failed, or it was not the time any more.
fn work(workload: &Workload, due: u64) -> bool {
    let in_time = time::now_ns() <= due;
    threads::sleep_until(due);
    let began = time::now_ns();
    let all = workload
        .programs
        .iter()
        .flat_map(|(program, argument, count)| core::iter::repeat_n((*program, *argument), *count));
    let processes: Vec<_> =
        all.map(|(program, argument)| process::spawn(program, argument, None).expect("memory")).collect();
    let statuses: Vec<_> = processes.iter().map(|process| process::wait(process)).collect();
    let ended = time::now_ns();
    println!("workload: {} {due} {began} {ended}", workload.name);
    let worked = statuses.iter().all(|status| *status != FAILED);
    if !in_time || !worked {
        println!("workload: {} failed, statuses {statuses:x?}, in time: {in_time}", workload.name);
    }
    in_time && worked
}
