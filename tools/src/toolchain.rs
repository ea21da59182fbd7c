//! What must be installed, how to find it, and how to get it on Debian.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use conformance_runner::needs::find_program;

use crate::failure::{Failure, Kind};
use crate::process;
use crate::progress::Step;
use crate::workspace::Workspace;

/// Overrides the QEMU program.
pub const QEMU_VARIABLE: &str = "PV_QEMU";
/// Overrides the folder with `OVMF_CODE_4M.fd` and `OVMF_VARS_4M.fd`.
pub const OVMF_VARIABLE: &str = "PV_OVMF";

/// The image builder's toolchain; the same words as in its `rust-toolchain.toml`, checked by a test.
pub const NIGHTLY: &str = "nightly-2026-07-20";
const NIGHTLY_COMPONENTS: [&str; 2] = ["rust-src", "llvm-tools"];

const INSTALL_LIMIT: Duration = Duration::from_secs(20 * 60);
const QUERY_LIMIT: Duration = Duration::from_secs(60);

/// The UEFI firmware's two halves.
#[derive(Clone, Debug)]
pub struct Ovmf {
    /// The read-only code.
    pub code: PathBuf,
    /// The template of the variables; each machine needs a copy.
    pub variables: PathBuf,
}

/// The QEMU program, installed first if it is missing.
pub fn qemu() -> Result<PathBuf, Failure> {
    if let Some(program) = std::env::var_os(QEMU_VARIABLE) {
        let program = PathBuf::from(program);
        return find_program(&program).ok_or_else(|| {
            Failure::new(Kind::ToolMissing, format!("QEMU is not at {}", program.display()))
                .hint(format!("unset {QEMU_VARIABLE}, or let it name a qemu-system-x86_64"))
        });
    }
    let name = Path::new("qemu-system-x86_64");
    if let Some(program) = find_program(name) {
        return Ok(program);
    }
    install_debian_package("qemu-system-x86", "QEMU")?;
    find_program(name).ok_or_else(|| missing("QEMU", "qemu-system-x86"))
}

/// The UEFI firmware, installed first if it is missing.
pub fn ovmf() -> Result<Ovmf, Failure> {
    if let Some(folder) = std::env::var_os(OVMF_VARIABLE) {
        let folder = PathBuf::from(folder);
        return ovmf_in(&folder).ok_or_else(|| {
            Failure::new(Kind::ToolMissing, format!("no UEFI firmware in {}", folder.display())).hint(
                format!(
                    "unset {OVMF_VARIABLE}, or let it name a folder with OVMF_CODE_4M.fd and OVMF_VARS_4M.fd"
                ),
            )
        });
    }
    let folder = Path::new("/usr/share/OVMF");
    if let Some(ovmf) = ovmf_in(folder) {
        return Ok(ovmf);
    }
    install_debian_package("ovmf", "the UEFI firmware OVMF")?;
    ovmf_in(folder).ok_or_else(|| missing("the UEFI firmware OVMF", "ovmf"))
}

/// gdb, if it is installed; only debugging needs it.
pub fn gdb() -> Option<PathBuf> {
    find_program(Path::new("gdb"))
}

/// gdb, installed first if it is missing.
pub fn installed_gdb() -> Result<PathBuf, Failure> {
    if let Some(program) = gdb() {
        return Ok(program);
    }
    install_debian_package("gdb", "gdb")?;
    gdb().ok_or_else(|| missing("gdb", "gdb"))
}

/// The system's C compiler, installed first if it is missing.
pub fn gcc() -> Result<PathBuf, Failure> {
    installed("gcc", "gcc", "the C compiler gcc")
}

/// The system's C++ compiler, installed first if it is missing.
pub fn gxx() -> Result<PathBuf, Failure> {
    installed("g++", "g++", "the C++ compiler g++")
}

/// A program of a Debian package.
fn installed(program: &str, package: &str, what: &str) -> Result<PathBuf, Failure> {
    let name = Path::new(program);
    if let Some(found) = find_program(name) {
        return Ok(found);
    }
    install_debian_package(package, what)?;
    find_program(name).ok_or_else(|| missing(what, package))
}

/// The toolchain of the workspace with its kernel target, and that of the image builder.
pub fn rust_toolchains(workspace: &Workspace) -> Result<(), Failure> {
    let components = ["clippy", "rustfmt", "rust-std-x86_64-unknown-none"];
    let mut here = rustup(workspace);
    here.args(["component", "list", "--installed"]);
    let has_all = |installed: &str, wanted: &[&str]| {
        wanted.iter().all(|component| installed.lines().any(|line| line.starts_with(component)))
    };
    if !query(&mut here).is_some_and(|installed| has_all(&installed, &components)) {
        // Without a name, rustup installs what rust-toolchain.toml asks for.
        let mut command = rustup(workspace);
        command.args(["toolchain", "install"]);
        install(&mut command, "installing the pinned Rust toolchain", "rustup toolchain install")?;
    }
    image_builder_toolchain(workspace)
}

/// The nightly of the image builder.
pub fn image_builder_toolchain(workspace: &Workspace) -> Result<(), Failure> {
    let mut installed = rustup(workspace);
    installed.args(["component", "list", "--installed", "--toolchain", NIGHTLY]);
    let complete = query(&mut installed).is_some_and(|installed| {
        NIGHTLY_COMPONENTS.iter().all(|component| installed.lines().any(|line| line.starts_with(component)))
    });
    if complete {
        return Ok(());
    }
    let mut command = rustup(workspace);
    command.args(["toolchain", "install", NIGHTLY, "--profile", "minimal", "--no-self-update"]);
    for component in NIGHTLY_COMPONENTS {
        command.args(["--component", component]);
    }
    let label = format!("installing Rust {NIGHTLY} for the image builder");
    install(&mut command, &label, &format!("rustup toolchain install {NIGHTLY} -c rust-src -c llvm-tools"))
}

/// Miri, with the sources of the standard library, for the nightly of the image builder.
pub fn miri(workspace: &Workspace) -> Result<(), Failure> {
    image_builder_toolchain(workspace)?;
    let mut installed = rustup(workspace);
    installed.args(["component", "list", "--installed", "--toolchain", NIGHTLY]);
    if query(&mut installed).is_some_and(|installed| installed.lines().any(|line| line.starts_with("miri"))) {
        return Ok(());
    }
    let mut command = rustup(workspace);
    command.args(["component", "add", "miri", "--toolchain", NIGHTLY]);
    install(&mut command, "installing Miri", &format!("rustup component add miri --toolchain {NIGHTLY}"))
}

/// The version line of a program, for `setup` to show.
pub fn version(program: &Path) -> Option<String> {
    let first = query(Command::new(program).arg("--version"))?;
    first.lines().next().map(str::to_owned)
}

fn ovmf_in(folder: &Path) -> Option<Ovmf> {
    let ovmf = Ovmf { code: folder.join("OVMF_CODE_4M.fd"), variables: folder.join("OVMF_VARS_4M.fd") };
    (ovmf.code.is_file() && ovmf.variables.is_file()).then_some(ovmf)
}

fn rustup(workspace: &Workspace) -> Command {
    let mut command = Command::new("rustup");
    command.current_dir(&workspace.root).env_remove("RUSTUP_TOOLCHAIN");
    command
}

/// Standard output of a command that only looks, `None` if it fails.
fn query(command: &mut Command) -> Option<String> {
    let finished = process::run(command, QUERY_LIMIT, |_| ()).ok()?;
    finished.status.success().then_some(finished.stdout)
}

fn missing(what: &str, package: &str) -> Failure {
    Failure::new(Kind::ToolMissing, format!("{what} is not installed"))
        .hint(format!("install it: sudo apt-get install {package}"))
}

fn install_debian_package(package: &str, what: &str) -> Result<(), Failure> {
    install_debian_packages(&[package], what)
}

/// Installs packages that together are `what`.
pub fn install_debian_packages(packages: &[&str], what: &str) -> Result<(), Failure> {
    let names = packages.join(" ");
    if find_program(Path::new("apt-get")).is_none() {
        return Err(missing(what, &names).hint(format!("install {what} by your system's package manager")));
    }
    // Never asks for a password: a prompt under a progress bar would only look like a hang.
    let root = rustix::process::geteuid().is_root();
    let apt = |arguments: &[&str]| {
        let mut command = if root { Command::new("apt-get") } else { Command::new("sudo") };
        if !root {
            command.args(["-n", "apt-get"]);
        }
        command.env("DEBIAN_FRONTEND", "noninteractive").args(arguments);
        command
    };
    let manual = format!("sudo apt-get install {names}");
    // A stale package list is the usual reason for a failed install, so a failed update is not fatal by itself.
    let _ = install(&mut apt(&["update"]), "updating the list of packages", &manual);
    let label = format!("installing {what}");
    let command = [&["install", "-y", "--no-install-recommends"], packages].concat();
    install(&mut apt(&command), &label, &manual)
}

fn install(command: &mut Command, label: &str, manual: &str) -> Result<(), Failure> {
    let step = Step::start(label);
    let finished = process::run(command, INSTALL_LIMIT, |line| step.note(line))
        .map_err(|failure| failure.hint(format!("install it by hand: {manual}")))?;
    if finished.status.success() {
        step.done("done");
        return Ok(());
    }
    drop(step);
    let reason = finished.stderr.trim().lines().last().unwrap_or("no reason given").to_owned();
    Err(Failure::new(Kind::ToolMissing, format!("{label} failed: {reason}"))
        .hint(format!("install it by hand: {manual}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nightly_is_the_one_that_the_image_builder_pins() {
        let pinned = Workspace::find().image_builder_package().join("rust-toolchain.toml");
        let pinned = std::fs::read_to_string(pinned).unwrap();
        assert!(pinned.contains(&format!("\"{NIGHTLY}\"")));
        for component in NIGHTLY_COMPONENTS {
            assert!(pinned.contains(&format!("\"{component}\"")));
        }
    }
}
