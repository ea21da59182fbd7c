//! The workload of `run=demo`: does a kernel's work, checks each step and prints what came out.

mod events;
mod exposure;
mod machine;
mod memory;
mod programs;
mod roots;
mod threads;
mod time;

pub(crate) use exposure::kernel_address;

use crate::cpu;
use crate::report::Report;

/// Does everything; returns the status to end with.
pub(crate) fn run() -> u8 {
    let busy = || cpu::current().busy_ticks();
    let mut report = Report::new();
    let start = busy();
    PARTS.into_iter().for_each(|part| part(&mut report));
    report.measured("busy", busy() - start, "ticks");
    report.conclude()
}

/// What there is to do, in this order. Each part can be done any number of times, with the same answers.
pub(crate) const PARTS: [fn(&mut Report); 8] = [
    machine::run,
    memory::run,
    events::run,
    time::run,
    threads::run,
    programs::run,
    exposure::run,
    roots::run,
];
