//! `cargo pv bench`: Hypermark. What operations cost on the bare machine and as a guest, from one ELF.
//!
//! Instructions are counted, not seconds, so each figure is the same on every computer. `runs` boots the machines,
//! `record` says what was executed, `budgets` what it may cost, `operations` puts the three together.

mod budgets;
mod costs;
mod listing;
mod operations;
mod record;
mod runs;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use crate::failure::{Failure, Kind};
use crate::toolchain;
use crate::workspace::Workspace;
use budgets::Budgets;
use operations::Report;

/// Options of `cargo pv bench`.
#[derive(Args)]
pub struct Arguments {
    /// Measure only operations whose names contain this
    #[arg(long, value_name = "SUBSTRING", default_value = "")]
    filter: String,
    /// Also write the figures here, as JSON; `-`: to standard output, instead of the table
    #[arg(long, value_name = "FILE|-")]
    json: Option<PathBuf>,
    /// Fail when an operation is over its budget
    #[arg(long)]
    strict: bool,
    /// List the instructions of this operation, as it was executed as a guest
    #[arg(long, value_name = "OPERATION", conflicts_with_all = ["json", "strict"])]
    trace: Option<String>,
}

/// Runs the command.
pub fn execute(workspace: &Workspace, arguments: &Arguments) -> Result<ExitCode, Failure> {
    toolchain::qemu()?;
    let budgets = Budgets::read(&workspace.budgets())?;
    let filter = arguments.trace.as_ref().unwrap_or(&arguments.filter);
    let selected = budgets.select(filter)?;
    let runs = runs::all(workspace, &selected)?;
    if let Some(name) = &arguments.trace {
        return listing::print(&runs, name);
    }
    let report = Report::new(&selected, &runs)?;
    match &arguments.json {
        Some(path) if path.as_os_str() == "-" => println!("{}", report.to_json()),
        json => {
            if let Some(path) = json {
                std::fs::write(path, report.to_json() + "\n")
                    .map_err(|error| Failure::file("write", path, &error))?;
            }
            print!("{}", report.table());
        }
    }
    match report.over_budget() {
        over if over.is_empty() || !arguments.strict => Ok(ExitCode::SUCCESS),
        over => Err(Failure::new(Kind::CheckFailed, format!("over budget:\n  {}", over.join("\n  ")))),
    }
}
