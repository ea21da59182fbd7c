//! The C guest: compiled by the system's gcc against nothing but `spec/pvops.h`.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::elf_file::ElfFile;
use crate::failure::{Failure, Kind};
use crate::process;
use crate::toolchain;
use crate::workspace::Workspace;

/// How it is compiled and linked. No red zone, and no register whose state a handler does not save.
pub const OPTIONS: [&str; 17] = [
    "-std=c11",
    "-O2",
    "-Wall",
    "-Wextra",
    "-Wpedantic",
    "-Werror",
    "-ffreestanding",
    "-fno-pie",
    "-fcf-protection=none",
    "-fno-stack-protector",
    "-fno-asynchronous-unwind-tables",
    "-fdata-sections",
    "-mno-red-zone",
    "-mgeneral-regs-only",
    "-nostdlib",
    "-static",
    "-Wl,-T,link.ld,--build-id=none,-z,noexecstack,-z,max-page-size=4096",
];

const COMPILE_LIMIT: Duration = Duration::from_secs(120);

/// Compiles it and returns its ELF.
pub fn build(workspace: &Workspace) -> Result<ElfFile, Failure> {
    let output = workspace.c_guest();
    let folder = output.parent().unwrap_or(Path::new("/"));
    fs::create_dir_all(folder).map_err(|error| Failure::file("create", folder, &error))?;
    let mut command = Command::new(toolchain::gcc()?);
    command.args(OPTIONS).arg("-I").arg(workspace.specification()).arg("-o").arg(&output).arg("guest.c");
    compile(command.current_dir(workspace.c_guest_sources()))?;
    ElfFile::read(&output)
}

/// Runs a compiler; what it says is the reason of a failure.
pub fn compile(command: &mut Command) -> Result<(), Failure> {
    let finished = process::run(command, COMPILE_LIMIT, |_| ())?;
    if finished.status.success() {
        return Ok(());
    }
    Err(Failure::new(Kind::Build, format!("{command:?} failed:\n{}", finished.stderr.trim())))
}
