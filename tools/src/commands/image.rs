//! `cargo pv image`: makes a bootable disk image, for other emulators or a real disk.

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use crate::boot::System;
use crate::failure::Failure;
use crate::workspace::Workspace;

/// Options of `cargo pv image`.
#[derive(Args)]
pub struct Arguments {
    /// What to boot.
    #[command(flatten)]
    system: System,
    /// Write a copy of the image here
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// Runs the command.
pub fn execute(workspace: &Workspace, arguments: &Arguments) -> Result<ExitCode, Failure> {
    let bootable = arguments.system.prepare(workspace)?;
    bootable.print_guests();
    let image = bootable.contents.cached_image(workspace, arguments.system.machine.firmware)?;
    let path = match &arguments.out {
        Some(out) => {
            fs::copy(&image, out).map_err(|error| Failure::file("write", out, &error))?;
            out
        }
        None => &image,
    };
    println!("image {}", path.display());
    Ok(ExitCode::SUCCESS)
}
