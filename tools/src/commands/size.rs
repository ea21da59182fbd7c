//! `cargo pv size`: how much memory the hypervisor keeps, and how much it gives back after boot.

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use crate::building::{self, Kernel};
use crate::elf_file::ElfFile;
use crate::failure::Failure;
use crate::footprint::{Bytes, Footprint};
use crate::workspace::Workspace;

/// Options of `cargo pv size`.
#[derive(Args)]
pub struct Arguments {
    /// Also write the numbers here, as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// Runs the command.
pub fn execute(workspace: &Workspace, arguments: &Arguments) -> Result<ExitCode, Failure> {
    let elf = ElfFile::read(&building::kernel(workspace, Kernel::Hypervisor)?)?;
    let footprint = Footprint::of(&elf)?;
    if let Some(path) = &arguments.json {
        fs::write(path, footprint.to_json() + "\n").map_err(|error| Failure::file("write", path, &error))?;
    }
    println!("bytes        text    rodata      data       bss");
    print_row("resident", &footprint.resident);
    print_row("boot only", &footprint.boot_only);
    let code = footprint.resident.text + footprint.resident.rodata;
    println!("resident text + rodata: {code} bytes, {:.1} KiB", code as f64 / 1024.0);
    Ok(ExitCode::SUCCESS)
}

fn print_row(title: &str, bytes: &Bytes) {
    println!("{title:<9} {:>7}  {:>8}  {:>8}  {:>8}", bytes.text, bytes.rodata, bytes.data, bytes.bss);
}
