//! `cargo pv setup`: installs what is missing. Other commands install by themselves what they need.

use std::process::ExitCode;

use crate::failure::Failure;
use crate::toolchain;
use crate::workspace::Workspace;

/// Runs the command.
pub fn execute(workspace: &Workspace) -> Result<ExitCode, Failure> {
    toolchain::rust_toolchains(workspace)?;
    println!("Rust toolchains: installed");
    let qemu = toolchain::qemu()?;
    println!("QEMU: {}", toolchain::version(&qemu).unwrap_or_else(|| qemu.display().to_string()));
    let ovmf = toolchain::ovmf()?;
    println!("UEFI firmware: {}", ovmf.code.display());
    for compiler in [toolchain::gcc()?, toolchain::gxx()?] {
        println!("{}", toolchain::version(&compiler).unwrap_or_else(|| compiler.display().to_string()));
    }
    // Only debugging needs it, so nothing fails without it.
    match toolchain::installed_gdb() {
        Ok(gdb) => println!("gdb: {}", toolchain::version(&gdb).unwrap_or_else(|| gdb.display().to_string())),
        Err(failure) => println!("gdb: none. {failure}"),
    }
    Ok(ExitCode::SUCCESS)
}
