//! `cargo pv header`: writes `spec/pvops.h` from the crate `pvops-abi`, or checks that it is up to date.

use std::fs;
use std::process::ExitCode;

use clap::Args;

use crate::abi::{Abi, header};
use crate::failure::{Failure, Kind};
use crate::workspace::Workspace;

/// Options of `cargo pv header`.
#[derive(Args)]
pub struct Arguments {
    /// Write nothing; fail if the header is out of date
    #[arg(long)]
    check: bool,
}

/// Runs the command.
pub fn execute(workspace: &Workspace, arguments: &Arguments) -> Result<ExitCode, Failure> {
    if arguments.check {
        check(workspace)?;
        println!("spec/pvops.h is up to date");
        return Ok(ExitCode::SUCCESS);
    }
    let path = workspace.c_header();
    let text = header::generate(&Abi::read(workspace)?)?;
    fs::write(&path, text).map_err(|error| Failure::file("write", &path, &error))?;
    println!("{}", path.display());
    Ok(ExitCode::SUCCESS)
}

/// Fails if the header is not what would be generated now.
pub fn check(workspace: &Workspace) -> Result<(), Failure> {
    let path = workspace.c_header();
    let found = fs::read_to_string(&path).map_err(|error| Failure::file("read", &path, &error))?;
    let wanted = header::generate(&Abi::read(workspace)?)?;
    if found == wanted {
        return Ok(());
    }
    let line = found.lines().zip(wanted.lines()).take_while(|(found, wanted)| found == wanted).count() + 1;
    let message = format!("spec/pvops.h differs from the crate pvops-abi, first in line {line}");
    Err(Failure::new(Kind::CheckFailed, message).hint("cargo pv header"))
}
