//! The workload of `run=demo`: does a kernel's work, checks each step and prints what came out.
//!
//! One line per result, `result: <name> <value> [<unit>]`. A value without a unit is the same in every world; one
//! with a unit was measured, or may differ. The last line is the verdict.

mod events;
mod exposure;
mod machine;
mod memory;
mod programs;
mod roots;
mod threads;
mod time;

pub(crate) use exposure::kernel_address;

use crate::console::println;

/// Gathers results; the first failure decides the verdict.
struct Report {
    failure: Option<&'static str>,
}

impl Report {
    /// A value that is the same in every world.
    fn count(&self, name: &str, value: u64) {
        println!("result: {name} {value}");
    }

    /// A value that was measured or may differ from world to world.
    fn measured(&self, name: &str, value: u64, unit: &str) {
        println!("result: {name} {value} {unit}");
    }

    /// A value that must be `expected`.
    fn expect(&mut self, name: &'static str, value: u64, expected: u64) {
        self.count(name, value);
        self.check(name, value == expected);
    }

    /// Something that must be true.
    fn check(&mut self, what: &'static str, is_true: bool) {
        if !is_true {
            println!("check failed: {what}");
            self.failure.get_or_insert(what);
        }
    }
}

/// Does everything; returns the status to end with.
pub(crate) fn run() -> u8 {
    let mut report = Report { failure: None };
    let parts: [fn(&mut Report); 8] = [
        machine::run,
        memory::run,
        events::run,
        time::run,
        threads::run,
        programs::run,
        exposure::run,
        roots::run,
    ];
    parts.into_iter().for_each(|part| part(&mut report));
    match report.failure {
        None => {
            println!("result: verdict ok");
            0
        }
        Some(what) => {
            // One word, as the format of results asks.
            println!("result: verdict FAILED {}", what.replace(' ', "-"));
            1
        }
    }
}
