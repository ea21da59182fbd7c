//! `cargo pv run`: boots a guest, with this terminal as its console.

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;

use crate::boot::{Bootable, System, World};
use crate::debugger;
use crate::failure::{Failure, Kind};
use crate::machine::Machine;
use crate::outcome::Outcome;
use crate::session::{Echo, Session};
use crate::terminal;
use crate::toolchain;
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
    /// Wait for gdb before the first instruction, and print the line that starts it [default port: 1234]
    #[arg(long, value_name = "PORT", num_args = 0..=1, require_equals = true, default_missing_value = "1234")]
    gdb: Option<u16>,
}

/// Runs the command.
pub fn execute(workspace: &Workspace, arguments: &Arguments) -> Result<ExitCode, Failure> {
    let machine = &Machine { gdb_port: arguments.gdb, ..arguments.system.machine.clone() };
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
    if let Some(port) = arguments.gdb {
        print_gdb_line(workspace, port, arguments.system.world, &bootable)?;
    }
    if terminal::is_interactive() {
        eprintln!("[{}]", terminal::LEAVE_HELP);
    }
    exit_code(terminal::attach(&mut session)?)
}

/// Tells how to debug what was started. That gdb is missing here need not matter: it may run elsewhere.
fn print_gdb_line(
    workspace: &Workspace,
    port: u16,
    world: World,
    bootable: &Bootable,
) -> Result<(), Failure> {
    let (booted, guests) = bootable.symbols()?;
    let script = debugger::write_script(workspace, port, &booted, &guests)?;
    eprintln!("the machine waits for gdb; in another terminal:\n  {}", debugger::command_line(&script));
    eprintln!("  {}", debugger::advice(world));
    if toolchain::gdb().is_none() {
        eprintln!("warning: gdb is not installed here: sudo apt-get install gdb");
    }
    Ok(())
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
