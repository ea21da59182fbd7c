//! `cargo pv build`: builds all kernels.

use std::process::ExitCode;

use crate::building::{self, Kernel};
use crate::c_guest;
use crate::elf_file::ElfFile;
use crate::failure::Failure;
use crate::toolchain;
use crate::workspace::Workspace;

/// Runs the command.
pub fn execute(workspace: &Workspace) -> Result<ExitCode, Failure> {
    toolchain::rust_toolchains(workspace)?;
    for kernel in Kernel::ALL {
        let elf = ElfFile::read(&building::kernel(workspace, kernel)?)?;
        println!("{}  {}", elf.sha256(), elf.path.display());
    }
    let elf = c_guest::build(workspace)?;
    println!("{}  {}", elf.sha256(), elf.path.display());
    Ok(ExitCode::SUCCESS)
}
