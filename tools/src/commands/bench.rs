//! `cargo pv bench`: Hypermark. What operations and workloads cost on the bare machine and as a guest, from one ELF.
//!
//! Instructions are counted, not seconds, so each figure is the same on every computer. `selection` says what has to be
//! booted, `machines` boots it, `runs` and `record` read what operations left behind, `workloads`, `latency` and `system`
//! the rest; `report` has it all, and `text`, `html` and `compare` show it.

pub mod budgets;
mod compare;
mod costs;
mod html;
mod latency;
mod listing;
mod machines;
mod operations;
mod plots;
mod record;
mod report;
mod runs;
mod selection;
mod sites;
mod system;
mod text;
mod workloads;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;

use crate::elf_file::ElfFile;
use crate::failure::{Failure, Kind};
use crate::progress::Step;
use crate::toolchain;
use crate::workspace::Workspace;
use budgets::Budgets;
use machines::{Clock, Programs};
pub use report::Report;
use runs::{Run, Setting};
use selection::{Results, Selection};
pub use text::align;

/// For each machine: instruction by instruction, on a busy computer.
const LIMIT: Duration = Duration::from_secs(600);

/// Options of `cargo pv bench`.
#[derive(Args)]
pub struct Arguments {
    /// Measure only what has this in its name
    #[arg(long, value_name = "SUBSTRING", default_value = "")]
    filter: String,
    /// Also write the figures here, as JSON; `-`: to standard output, instead of tables
    #[arg(long, value_name = "FILE|-")]
    json: Option<PathBuf>,
    /// Also write the figures here, one to a line
    #[arg(long, value_name = "FILE")]
    csv: Option<PathBuf>,
    /// Also write a report with plots here
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Compare with the JSON of an earlier run
    #[arg(long, value_name = "FILE")]
    baseline: Option<PathBuf>,
    /// Succeed even when an operation is over its budget
    #[arg(long)]
    no_budgets: bool,
    /// List the instructions of this operation, as it was executed as a guest
    #[arg(long, value_name = "OPERATION", conflicts_with_all = ["json", "csv", "html", "baseline", "no_budgets", "wall"])]
    trace: Option<String>,
    /// Also run the workloads by this computer's clock: times that differ from run to run
    #[arg(long)]
    wall: bool,
}

/// Runs the command.
pub fn execute(workspace: &Workspace, arguments: &Arguments) -> Result<ExitCode, Failure> {
    toolchain::qemu()?;
    // Before the minutes that follow: mistakes in these files must not wait for them.
    let budgets = Budgets::read(&workspace.budgets())?;
    let baseline = arguments.baseline.as_deref().map(Report::read).transpose()?;
    let filter = arguments.trace.as_ref().unwrap_or(&arguments.filter);
    let selection = Selection::new(budgets, filter, LIMIT)?;
    let programs = Programs::build(workspace, &selection)?;
    if let Some(name) = &arguments.trace {
        return listing::print(&selection.operation_runs(workspace, &programs)?, name);
    }
    let results = measure(workspace, &selection, &programs)?;
    let report = Report::new(workspace, &selection, &programs, results)?;
    show(&report, baseline.as_ref(), arguments)?;
    if arguments.wall {
        let ended = selection.boot_workloads(workspace, &programs, Clock::Wall)?;
        print!("\n{}", text::wall(&workloads::rows(&ended, &selection.workloads)?));
    }
    match report.over_budget() {
        over if over.is_empty() || arguments.no_budgets => Ok(ExitCode::SUCCESS),
        over => Err(Failure::new(Kind::CheckFailed, format!("over budget:\n  {}", over.join("\n  ")))),
    }
}

/// Measures what `filter` selects, on machines that end within `limit`; for other commands.
pub fn report(workspace: &Workspace, filter: &str, limit: Duration) -> Result<Report, Failure> {
    report_on(workspace, &Selection::new(Budgets::read(&workspace.budgets())?, filter, limit)?)
}

/// The same for all operations, and nothing else.
pub fn all_operations(workspace: &Workspace, limit: Duration) -> Result<Report, Failure> {
    report_on(workspace, &Selection::operations(Budgets::read(&workspace.budgets())?, limit))
}

fn report_on(workspace: &Workspace, selection: &Selection) -> Result<Report, Failure> {
    let programs = Programs::build(workspace, selection)?;
    let results = selection.boot(workspace, &programs)?;
    Report::new(workspace, selection, &programs, results)
}

/// What each operation of a guest alone on `hypervisor` takes: the least, the median and the most instructions.
pub fn guest_instructions(
    workspace: &Workspace,
    hypervisor: ElfFile,
    limit: Duration,
) -> Result<BTreeMap<String, [u32; 3]>, Failure> {
    let selection = Selection::operations(Budgets::read(&workspace.budgets())?, limit);
    let programs = Programs { hypervisor, ..Programs::build(workspace, &selection)? };
    let contents = Setting::Guest.contents(&programs, "")?;
    let ended = machines::boot(workspace, &contents, (Clock::Instructions, limit), None)?;
    let run = Run::read(Setting::Guest, &programs, ended)?;
    Ok(run.figures.into_iter().map(|one| (one.name, [one.least, one.median, one.most])).collect())
}

fn measure(workspace: &Workspace, selection: &Selection, programs: &Programs) -> Result<Results, Failure> {
    if selection.machines() == 0 {
        return selection.boot(workspace, programs);
    }
    let step = Step::start(format!("measuring on {} machines", selection.machines()));
    let results = selection.boot(workspace, programs)?;
    step.done("done");
    Ok(results)
}

fn show(report: &Report, baseline: Option<&Report>, arguments: &Arguments) -> Result<(), Failure> {
    match &arguments.json {
        Some(path) if path.as_os_str() == "-" => println!("{}", report.to_json()),
        json => {
            if let Some(path) = json {
                write(path, &(report.to_json() + "\n"))?;
            }
            print!("{}", text::report(report));
        }
    }
    if let Some(path) = &arguments.csv {
        write(path, &report.to_csv())?;
    }
    if let Some(path) = &arguments.html {
        write(path, &html::page(report)?)?;
    }
    if let Some(baseline) = baseline {
        eprint!("\n{}", compare::text(baseline, report));
    }
    Ok(())
}

fn write(path: &Path, text: &str) -> Result<(), Failure> {
    fs::write(path, text).map_err(|error| Failure::file("write", path, &error))
}
