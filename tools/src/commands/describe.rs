//! `cargo pv describe`: checks a `system.toml` and tells what it means, without building or booting anything.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use crate::failure::Failure;
use crate::machine::Machine;
use crate::manifest::{Description, Manifest};

/// Options of `cargo pv describe`.
#[derive(Args)]
pub struct Arguments {
    /// The file to check and describe
    #[arg(value_name = "SYSTEM.TOML")]
    config: PathBuf,
    /// The machine that it must fit.
    #[command(flatten)]
    machine: Machine,
}

/// Runs the command.
pub fn execute(arguments: &Arguments) -> Result<ExitCode, Failure> {
    let manifest = Manifest::read(&arguments.config, &arguments.machine)?;
    println!("{}", Description(&manifest));
    Ok(ExitCode::SUCCESS)
}
