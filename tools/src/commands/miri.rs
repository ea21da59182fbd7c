//! `cargo pv miri`: the tests of all logic that needs no machine, under Miri, which sees undefined behaviour.
//!
//! Takes long: Miri is some hundred times slower than the machine. Tests with many rounds do fewer under it.

use std::process::{Command, ExitCode};

use clap::Args;

use crate::failure::{Failure, Kind};
use crate::process;
use crate::toolchain::{self, NIGHTLY};
use crate::workspace::Workspace;

/// Options of `cargo pv miri`.
#[derive(Args)]
pub struct Arguments {
    /// Only this package
    #[arg(long, value_parser = PACKAGES)]
    package: Option<String>,
    /// Only tests whose names contain this
    #[arg(long, value_name = "SUBSTRING", default_value = "")]
    filter: String,
}

/// Packages whose tests Miri can run. The tools start processes.
const PACKAGES: [&str; 4] = ["pvops-abi", "pvops-firmware", "hypervisor", "system-image"];

/// Runs the command.
pub fn execute(workspace: &Workspace, arguments: &Arguments) -> Result<ExitCode, Failure> {
    toolchain::miri(workspace)?;
    let only = arguments.package.as_deref();
    for package in PACKAGES.into_iter().filter(|package| only.is_none_or(|only| only == *package)) {
        println!("{package}:");
        let status = process::run_visibly(&mut command(workspace, package, &arguments.filter))?;
        if !status.success() {
            return Ok(ExitCode::from(Kind::CheckFailed as u8));
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Miri on the tests of one package.
fn command(workspace: &Workspace, package: &str, filter: &str) -> Command {
    let mut command = Command::new("cargo");
    command.current_dir(&workspace.root);
    command.arg(format!("+{NIGHTLY}")).args(["miri", "test", "--quiet", "--lib", "--package", package]);
    command.args(["--target-dir"]).arg(workspace.target.join("miri"));
    command.args(["--", filter]).env_remove("RUSTUP_TOOLCHAIN").env_remove("CARGO_TARGET_DIR");
    // Physical addresses are numbers that become pointers: that is what the code is about. A pool keeps its page
    // information for ever, so tests leak it.
    command.env("MIRIFLAGS", "-Zmiri-permissive-provenance -Zmiri-ignore-leaks");
    command
}
