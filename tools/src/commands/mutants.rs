//! `cargo pv mutants`: does the conformance suite notice a hypervisor that is broken?
//!
//! The hypervisor is built once with all mutation points (`hypervisor/src/mutants.rs`); the system's name selects one.
//! Each mutant is run on the tests that its entry names. It is killed when one of them fails that cites the requirement
//! which the mutant violates; that something else goes wrong is not enough. First of all the intact hypervisor of the
//! same build has to pass: a test that fails anyway kills nothing.

mod list;

use std::collections::BTreeSet;
use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Instant;

use clap::Args;
use conformance_runner::spec::Specification;
use conformance_runner::{Judged, Request, command, judge};

use super::conform::Tools;
use crate::building::{self, Kernel};
use crate::elf_file::ElfFile;
use crate::failure::{Failure, Kind};
use crate::interrupt;
use crate::workspace::Workspace;
use list::{List, Mutant};

/// Machines at a time.
const WORKERS: usize = 2;
/// The name of a system whose hypervisor is intact.
const INTACT: u8 = 0;

/// Options of `cargo pv mutants`.
#[derive(Args)]
pub struct Arguments {
    /// Only these, by their names; all if none is given
    #[arg(value_name = "NAME")]
    names: Vec<String>,
    /// List them instead
    #[arg(long)]
    list: bool,
}

/// Runs the command.
pub fn execute(workspace: &Workspace, arguments: &Arguments) -> Result<ExitCode, Failure> {
    let specification = Specification::read(&workspace.specification())?;
    let list = List::read(workspace, &specification)?;
    let selected = list.select(&arguments.names)?;
    if arguments.list {
        for mutant in &selected {
            println!("{:>3} {:<22} {:<10} {}", mutant.number, mutant.name, mutant.requirement, mutant.breaks);
        }
        return Ok(ExitCode::SUCCESS);
    }
    let subject = Subject {
        workspace,
        hypervisor: ElfFile::read(&building::breakable_hypervisor(workspace)?)?,
        guest: building::kernel(workspace, Kernel::ConformanceSuite)?,
    };
    building::image_builder(workspace)?;
    subject.passes_when_intact(&selected)?;
    let report = Report { killed: AtomicUsize::new(0), survivors: Mutex::default() };
    run_all(&subject, &selected, &report)?;
    interrupt::check()?;
    Ok(report.conclude(selected.len()))
}

/// Where a mutant is run.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Place<'a> {
    target: &'a str,
    cpus: u32,
}

impl<'a> Place<'a> {
    fn of(mutant: &'a Mutant) -> Self {
        Self { target: &mutant.target, cpus: mutant.cpus }
    }
}

/// What is run.
struct Subject<'a> {
    workspace: &'a Workspace,
    hypervisor: ElfFile,
    guest: std::path::PathBuf,
}

impl Subject<'_> {
    /// The results of `tests` with one mutant, or none; and what went wrong beside them.
    fn run(&self, number: u8, tests: &str, on: Place<'_>) -> Result<(Vec<Judged>, Vec<String>), Failure> {
        let mut target = command::target(on.target, &self.workspace.targets())?;
        target.limits = target.limits.for_broken_subjects();
        let request = Request {
            target,
            guest: self.guest.clone(),
            cpus: on.cpus,
            filter: tests.into(),
            lists_only: false,
        };
        let name = format!("mutant={number}");
        Ok(judge(&request, &Tools::with_hypervisor(self.workspace, self.hypervisor.clone(), name))?)
    }

    fn passes_when_intact(&self, selected: &[&Mutant]) -> Result<(), Failure> {
        let places: BTreeSet<Place<'_>> = selected.iter().map(|mutant| Place::of(mutant)).collect();
        for place in places {
            let (tests, problems) = self.run(INTACT, "", place)?;
            let bad: Vec<String> = tests
                .iter()
                .filter(|test| test.verdict.is_bad())
                .map(|test| format!("{} {}: {}", test.verdict, test.name, test.detail))
                .chain(problems)
                .collect();
            if !bad.is_empty() {
                let message =
                    format!("the suite does not pass on the intact hypervisor:\n{}", bad.join("\n"));
                return Err(Failure::new(Kind::CheckFailed, message));
            }
            println!("intact   {} tests on {}, CPUs: {}", tests.len(), place.target, place.cpus);
        }
        Ok(())
    }
}

/// Runs them, some at a time, until all are done or the user interrupts.
fn run_all(subject: &Subject<'_>, selected: &[&Mutant], report: &Report) -> Result<(), Failure> {
    let next = AtomicUsize::new(0);
    let work = || -> Result<(), Failure> {
        while let Some(mutant) = selected.get(next.fetch_add(1, Ordering::Relaxed)) {
            if interrupt::check().is_err() {
                return Ok(());
            }
            let started = Instant::now();
            let (tests, problems) = subject.run(mutant.number, &mutant.tests, Place::of(mutant))?;
            report.add(mutant, &tests, &problems, started);
        }
        Ok(())
    };
    thread::scope(|scope| {
        let workers: Vec<_> = (0..WORKERS).map(|_| scope.spawn(work)).collect();
        workers.into_iter().try_for_each(|worker| {
            worker.join().unwrap_or_else(|_| Err(Failure::new(Kind::CheckFailed, "a worker panicked")))
        })
    })
}

/// What came of the mutants so far.
struct Report {
    killed: AtomicUsize,
    survivors: Mutex<Vec<String>>,
}

impl Report {
    fn add(&self, mutant: &Mutant, tests: &[Judged], problems: &[String], started: Instant) {
        let Mutant { name, requirement, breaks, .. } = mutant;
        let seconds = started.elapsed().as_secs_f64();
        match mutant.killer(tests) {
            Some(test) => {
                self.killed.fetch_add(1, Ordering::Relaxed);
                println!(
                    "killed   {name} ({requirement}: {breaks}) by {}, {} ({seconds:.1} s)",
                    test.name, test.verdict
                );
            }
            None => {
                let bad = tests.iter().filter(|test| test.verdict.is_bad());
                let other: Vec<String> = bad
                    .map(|test| format!("{} {}: {}", test.verdict, test.name, test.detail))
                    .chain(problems.iter().cloned())
                    .collect();
                let said =
                    if other.is_empty() { String::new() } else { format!("; but {}", other.join("; ")) };
                println!("survived {name} ({requirement}: {breaks}){said} ({seconds:.1} s)");
                self.survivors.lock().unwrap_or_else(PoisonError::into_inner).push(name.clone());
            }
        }
    }

    fn conclude(self, selected: usize) -> ExitCode {
        let mut survivors = self.survivors.into_inner().unwrap_or_else(PoisonError::into_inner);
        survivors.sort();
        if !survivors.is_empty() {
            println!("\nsurvived: {}", survivors.join(" "));
        }
        println!("{} of {selected} mutants killed", self.killed.into_inner());
        if survivors.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(Kind::CheckFailed as u8) }
    }
}
