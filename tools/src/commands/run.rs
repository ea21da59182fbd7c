//! `cargo pv run`: boots a guest, with this terminal as its console.

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;

use crate::boot::System;
use crate::failure::{Failure, Kind};
use crate::outcome::Outcome;
use crate::session::{Echo, Session};
use crate::terminal;
use crate::workspace::Workspace;

/// Without a terminal nobody would notice that a machine hangs.
const UNATTENDED_LIMIT: Duration = Duration::from_secs(300);
/// With one, even a forgotten machine ends some day.
const INTERACTIVE_LIMIT: Duration = Duration::from_secs(12 * 60 * 60);

/// Options of `cargo pv run`.
#[derive(Args)]
pub struct Arguments {
    /// What to boot.
    #[command(flatten)]
    system: System,
    /// Kill the machine after so many seconds [default: 300, on a terminal 12 hours]
    #[arg(long, value_name = "S", value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    timeout: Option<u64>,
}

/// Runs the command.
pub fn execute(workspace: &Workspace, arguments: &Arguments) -> Result<ExitCode, Failure> {
    let machine = &arguments.system.machine;
    // First of all: nobody should wait for a build to learn that there is nothing to run it on.
    machine.check_tools()?;
    let bootable = arguments.system.prepare(workspace)?;
    bootable.print_guests();
    let image = bootable.contents.cached_image(workspace, machine.firmware)?;
    let limit = match (arguments.timeout, terminal::is_interactive()) {
        (Some(seconds), _) => Duration::from_secs(seconds),
        (None, true) => INTERACTIVE_LIMIT,
        (None, false) => UNATTENDED_LIMIT,
    };
    let mut session = Session::start(machine, &image, limit, Echo::Stdout)?;
    eprintln!("{}", session.command_line());
    if terminal::is_interactive() {
        eprintln!("[{}]", terminal::LEAVE_HELP);
    }
    exit_code(terminal::attach(&mut session)?)
}

fn exit_code(outcome: Outcome) -> Result<ExitCode, Failure> {
    match outcome {
        Outcome::Status(0) | Outcome::PoweredOff => Ok(ExitCode::SUCCESS),
        Outcome::Status(status @ ..=67) => {
            eprintln!("cargo pv: {outcome}");
            Ok(ExitCode::from(status))
        }
        Outcome::Status(_) | Outcome::TripleFault | Outcome::QemuFailed(_) => {
            Err(Failure::new(Kind::NoStatus, outcome.to_string()))
        }
    }
}
