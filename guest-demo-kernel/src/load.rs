//! `run=load`: the workload of `run=demo` over and over, as a neighbour who never rests: threads, processes, page
//! faults, address spaces, console lines. Each round must work, and find the answers of the first one.

use crate::demo;
use crate::options::{self, Refused};
use crate::report::Report;
use alloc::vec::Vec;
use pvops_abi::ops::time;

const DEFAULT_SECONDS: u64 = 10;
const MOST_SECONDS: u64 = 1_000_000;

/// Works for `seconds=` seconds, 0 for ever; returns the status to end with.
pub(crate) fn run(command_line: &str) -> Result<u8, Refused> {
    let seconds = options::number(command_line, "seconds", 0..=MOST_SECONDS)?.unwrap_or(DEFAULT_SECONDS);
    let end_ns = if seconds == 0 { u64::MAX } else { time::now_ns() + seconds * 1_000_000_000 };
    let mut report = Report::new();
    let mut first: Option<Vec<_>> = None;
    let mut rounds = 0;
    while !report.has_failed() && (rounds == 0 || time::now_ns() < end_ns) {
        let mut round = Report::quiet();
        demo::PARTS.into_iter().for_each(|part| part(&mut round));
        let expected = first.get_or_insert_with(|| round.answers().into());
        report.check("a round works", !round.has_failed());
        report.check("a round has the answers of the first", round.answers() == *expected);
        rounds += 1;
    }
    report.measured("load_rounds", rounds, "rounds");
    Ok(report.conclude())
}
