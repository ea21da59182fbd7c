//! What a workload found out: results, checks, the verdict.
//!
//! One line per result, `result: <name> <value> [<unit>]`. A value without a unit is the same in every world; one
//! with a unit was measured, or may differ. The last line is the verdict.

use crate::console::println;
use alloc::vec::Vec;

/// Gathers results; the first failure decides the verdict.
#[derive(Default)]
pub(crate) struct Report {
    failure: Option<&'static str>,
    /// Answers, instead of printing them.
    kept: Option<Vec<(&'static str, u64)>>,
}

impl Report {
    /// Prints results as they come.
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Prints failures only, and keeps the answers for [`Self::answers`].
    pub(crate) fn quiet() -> Self {
        Self { failure: None, kept: Some(Vec::new()) }
    }

    /// A value that is the same in every world.
    pub(crate) fn count(&mut self, name: &'static str, value: u64) {
        match &mut self.kept {
            Some(kept) => kept.push((name, value)),
            None => println!("result: {name} {value}"),
        }
    }

    /// A value that was measured or may differ from world to world.
    pub(crate) fn measured(&self, name: &str, value: u64, unit: &str) {
        if self.kept.is_none() {
            println!("result: {name} {value} {unit}");
        }
    }

    /// A value that must be `expected`.
    pub(crate) fn expect(&mut self, name: &'static str, value: u64, expected: u64) {
        self.count(name, value);
        self.check(name, value == expected);
    }

    /// Something that must be true.
    pub(crate) fn check(&mut self, what: &'static str, is_true: bool) {
        if !is_true {
            println!("check failed: {what}");
            self.failure.get_or_insert(what);
        }
    }

    /// The answers of a quiet report.
    pub(crate) fn answers(&self) -> &[(&'static str, u64)] {
        self.kept.as_deref().unwrap_or_default()
    }

    /// Whether something was not true.
    pub(crate) fn has_failed(&self) -> bool {
        self.failure.is_some()
    }

    /// Prints the verdict; returns the status to end with.
    pub(crate) fn conclude(self) -> u8 {
        match self.failure {
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
}
