//! `run=lines`: numbered lines, as fast as the console takes them or at a pace. Whoever reads the console can tell
//! whether all arrive, whole and in order.

use crate::console::println;
use crate::options::{self, Refused};
use crate::threads;

const DEFAULT_LINES: u64 = 1000;
const MOST_LINES: u64 = 1_000_000;
const MOST_PAUSE_US: u64 = 1_000_000;

/// Prints `lines=` lines with pauses of `pause_us=` microseconds between them; returns the status to end with.
pub(crate) fn run(command_line: &str) -> Result<u8, Refused> {
    let lines = options::number(command_line, "lines", 1..=MOST_LINES)?.unwrap_or(DEFAULT_LINES);
    let pause_us = options::number(command_line, "pause_us", 0..=MOST_PAUSE_US)?.unwrap_or(0);
    for number in 1..=lines {
        print(number, lines);
        if pause_us != 0 {
            threads::sleep(pause_us * 1000);
        }
    }
    Ok(0)
}

/// Prints lines as fast as the console takes them.
pub(crate) fn flood(lines: u64) {
    (1..=lines).for_each(|number| print(number, lines));
}

fn print(number: u64, lines: u64) {
    println!("line {number} of {lines}: the quick brown fox jumps over the lazy dog");
}
