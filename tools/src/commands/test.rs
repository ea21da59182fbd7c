//! `cargo pv test`: everything that can be checked, as numbered cases with a line each.
//!
//! Cases that keep all CPUs busy by themselves (cargo) run first, one after the other; those that boot machines
//! follow, two at a time. Every case is bounded: what it starts is killed at its time limit.

mod bad_guests;
mod bad_systems;
mod bench;
mod boots;
mod call_sites;
mod cargo_checks;
mod case;
mod configs;
mod conformance;
mod console;
mod debugger;
mod devices;
mod domains;
mod doorbells;
mod elf_edit;
mod footprint;
mod fuzz;
mod host;
pub mod hostile;
mod lifecycle;
mod mutants;
mod readme;
mod realtime;
mod shell;
mod soak;
mod specification;
mod trace;
mod wire;

use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Instant;

use clap::Args;

use crate::failure::{Failure, Kind};
use crate::interrupt;
use crate::workspace::Workspace;
use case::{Case, Context, Needs};

/// Machines at a time; most have one CPU.
const WORKERS: usize = 2;

/// Options of `cargo pv test`.
#[derive(Args)]
pub struct Arguments {
    /// Run only the cases whose names contain this
    #[arg(long, value_name = "SUBSTRING", default_value = "")]
    filter: String,
    /// List the cases instead of running them
    #[arg(long)]
    list: bool,
}

/// Runs the command.
pub fn execute(workspace: &Workspace, arguments: &Arguments) -> Result<ExitCode, Failure> {
    let cases = all_cases();
    let selected: Vec<(usize, &Case)> =
        (1..).zip(&cases).filter(|(_, case)| case.name.contains(&arguments.filter)).collect();
    if arguments.list {
        for (number, case) in &selected {
            println!("{number:>3} {}", case.name);
        }
        return Ok(ExitCode::SUCCESS);
    }
    let report = Report {
        total: cases.len(),
        passed: AtomicUsize::new(0),
        skipped: AtomicUsize::new(0),
        failures: Mutex::default(),
    };
    let context = Context::new(workspace.clone());
    let needing = |needs| selected.iter().filter(move |(_, case)| case.needs == needs);
    run_cases(&context, needing(Needs::AllCpus).collect(), 1, &report);
    run_cases(&context, needing(Needs::OneCpu).collect(), WORKERS, &report);
    interrupt::check()?;
    Ok(report.conclude())
}

fn all_cases() -> Vec<Case> {
    let mut cases = cargo_checks::cases();
    cases.extend(fuzz::cases());
    cases.extend(readme::cases());
    cases.extend(specification::cases());
    cases.extend(boots::cases());
    cases.extend(conformance::cases());
    cases.extend(call_sites::cases());
    cases.extend(mutants::cases());
    cases.extend(shell::cases());
    cases.extend(domains::cases());
    cases.extend(doorbells::cases());
    cases.extend(lifecycle::cases());
    cases.extend(devices::cases());
    cases.extend(console::cases());
    cases.extend(realtime::cases());
    cases.extend(bad_guests::cases());
    cases.extend(bad_systems::cases());
    cases.extend(configs::cases());
    cases.extend(hostile::cases());
    cases.extend(soak::cases());
    cases.extend(debugger::cases());
    cases.extend(bench::cases());
    cases.extend(footprint::cases());
    cases.extend(trace::cases());
    cases.extend(host::cases());
    cases
}

/// Runs the cases in order, `workers` at a time, until all are done or the user interrupts.
fn run_cases(context: &Context, cases: Vec<&(usize, &Case)>, workers: usize, report: &Report) {
    let next = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                while let Some((number, case)) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if interrupt::check().is_err() {
                        return;
                    }
                    let started = Instant::now();
                    match &case.run {
                        Ok(run) => report.add(*number, case, run(context, case.limit), started),
                        Err(reason) => report.skip(*number, case, reason),
                    }
                }
            });
        }
    });
}

/// What came of the cases so far.
struct Report {
    total: usize,
    passed: AtomicUsize,
    skipped: AtomicUsize,
    failures: Mutex<Vec<String>>,
}

impl Report {
    fn add(&self, number: usize, case: &Case, result: Result<(), Failure>, started: Instant) {
        let title = format!("{number:>3}/{} {}", self.total, case.name);
        let seconds = started.elapsed().as_secs_f64();
        match result {
            Ok(()) => {
                self.passed.fetch_add(1, Ordering::Relaxed);
                println!("{title}: ok ({seconds:.1} s)");
            }
            Err(failure) if failure.kind == Kind::Interrupted => {}
            Err(failure) => {
                println!("{title}: FAILED ({seconds:.1} s)\n{}", indent(&failure.to_string()));
                self.failures.lock().unwrap_or_else(PoisonError::into_inner).push(title);
            }
        }
    }

    fn skip(&self, number: usize, case: &Case, reason: &str) {
        self.skipped.fetch_add(1, Ordering::Relaxed);
        println!("{number:>3}/{} {}: skipped, {reason}", self.total, case.name);
    }

    /// Prints the failed cases again and, alone on the last line, the counts.
    fn conclude(self) -> ExitCode {
        let mut failures = self.failures.into_inner().unwrap_or_else(PoisonError::into_inner);
        failures.sort();
        if !failures.is_empty() {
            println!("\nfailed:");
        }
        for failure in &failures {
            println!("{failure}");
        }
        let skipped = match self.skipped.into_inner() {
            0 => String::new(),
            count => format!(", {count} skipped"),
        };
        println!("{} passed, {} failed{skipped}", self.passed.into_inner(), failures.len());
        if failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(Kind::CheckFailed as u8) }
    }
}

fn indent(text: &str) -> String {
    text.lines().map(|line| format!("      {line}")).collect::<Vec<_>>().join("\n")
}
