//! `conform`: the conformance suite against a hypervisor of your own, without the rest of the project's tools.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use clap::Parser;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use conformance_runner::command::{self, EXIT_CODES, Options, Paths};
use conformance_runner::{Disk, Failure, Host, Kind, Need, Request, Verdict, needs};

/// Runs the pvops conformance suite on a target.
#[derive(Parser)]
#[command(after_help = EXIT_CODES)]
struct CommandLine {
    #[command(flatten)]
    options: Options,
    /// The suite's ELF
    #[arg(long, value_name = "ELF")]
    guest: PathBuf,
    /// The folder of the specification, from which the report takes the requirements
    #[arg(long, value_name = "DIR", default_value_os_t = folder("../../spec"))]
    spec: PathBuf,
}

/// What the program can do about what the runner asks for: nothing but say so.
struct Bare {
    is_interrupted: Arc<AtomicBool>,
}

impl Host for Bare {
    fn make_disk(&self, _: &Disk, request: &Request, _: &str) -> Result<PathBuf, Failure> {
        let message = format!("{} boots a disk image, which is not made here", request.target.name);
        Err(Failure::new(Kind::Missing, message).hint("use `cargo pv conform`"))
    }

    fn provide(&self, need: &Need, name: &str) -> Result<(), Failure> {
        if needs::is_there(need, name) { Ok(()) } else { Err(needs::missing(need, name)) }
    }

    fn is_interrupted(&self) -> bool {
        self.is_interrupted.load(Ordering::Relaxed)
    }
}

fn main() -> ExitCode {
    let command_line = CommandLine::parse();
    let host = Bare { is_interrupted: Arc::default() };
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        // Fails only for signals that cannot be handled, and these can.
        let _ = signal_hook::flag::register(signal, Arc::clone(&host.is_interrupted));
    }
    match execute(&command_line, &host) {
        Ok(verdict) => ExitCode::from(verdict.exit_code()),
        Err(failure) => {
            eprintln!("{failure}");
            ExitCode::from(failure.kind.exit_code())
        }
    }
}

fn execute(command_line: &CommandLine, host: &Bare) -> Result<Verdict, Failure> {
    let paths = Paths {
        guest: command_line.guest.clone(),
        targets: folder("../targets"),
        specification: command_line.spec.clone(),
    };
    let target = command::target(&command_line.options.target, &paths.targets)?;
    command::execute(&command_line.options, target, &paths, host)
}

/// A folder beside this package's.
fn folder(relative: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(relative);
    folder.canonicalize().unwrap_or(folder)
}
