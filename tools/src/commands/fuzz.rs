//! `cargo pv fuzz`: hostile input for everything that reads untrusted bytes, for as long as one likes.
//!
//! The targets and the program that mutates are the package `hypervisor-fuzz`. `--guided` builds the same targets
//! with libFuzzer, whose coverage counters stable Rust can insert; it needs a C++ compiler and no nightly.

use std::path::PathBuf;
use std::process::{Command, ExitCode};

use clap::Args;

use crate::failure::{Failure, Kind};
use crate::process;
use crate::workspace::Workspace;

/// Options of `cargo pv fuzz`.
#[derive(Args)]
pub struct Arguments {
    /// Minutes for each target
    #[arg(long, default_value_t = 1)]
    minutes: u64,
    /// Where the inputs begin
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Only this target; an unknown name lists all
    #[arg(long)]
    target: Option<String>,
    /// By libFuzzer, which follows the code's coverage and keeps what it learned in target/pv/corpus
    #[arg(long, requires = "target")]
    guided: bool,
    /// Run just this file: a finding
    #[arg(long, value_name = "FILE", requires = "target", conflicts_with = "guided")]
    input: Option<PathBuf>,
}

/// What inserts the counters that libFuzzer reads.
const COVERAGE_FLAGS: &str = "-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares -Ccodegen-units=1 --cfg fuzzing";
/// With a target named, the flags above do not reach build scripts.
const HOST: &str = "x86_64-unknown-linux-gnu";

/// Runs the command.
pub fn execute(workspace: &Workspace, arguments: &Arguments) -> Result<ExitCode, Failure> {
    let mut command = workspace.cargo();
    command.args(["run", "--quiet", "--profile", "fuzz", "--package", "hypervisor-fuzz"]);
    if let (true, Some(target)) = (arguments.guided, &arguments.target) {
        guided(workspace, &mut command, target, arguments)?;
    } else {
        command.args(["--bin", "hypervisor-fuzz", "--", "--seed", &arguments.seed.to_string()]);
        command.args(["--seconds", &(arguments.minutes * 60).to_string()]);
        if let Some(target) = &arguments.target {
            command.args(["--target", target]);
        }
        if let Some(input) = &arguments.input {
            command.arg("--input").arg(std::path::absolute(input).unwrap_or_else(|_| input.clone()));
        }
    }
    let status = process::run_visibly(&mut command)?;
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::from(Kind::CheckFailed as u8) })
}

fn guided(
    workspace: &Workspace,
    command: &mut Command,
    target: &str,
    arguments: &Arguments,
) -> Result<(), Failure> {
    let corpus = workspace.target.join("pv/corpus").join(target);
    let findings = workspace.target.join("pv/findings");
    for folder in [&corpus, &findings] {
        std::fs::create_dir_all(folder).map_err(|error| Failure::file("create", folder, &error))?;
    }
    command.args(["--bin", "guided", "--features", "guided", "--target", HOST, "--target-dir"]);
    command.arg(workspace.target.join("guided")).env("RUSTFLAGS", COVERAGE_FLAGS);
    command.env("PV_FUZZ_TARGET", target).env("PV_FUZZ_CORPUS", &corpus).arg("--").arg(&corpus);
    command.arg(format!("-artifact_prefix={}/{target}-", findings.display()));
    command
        .args([format!("-max_total_time={}", arguments.minutes * 60), format!("-seed={}", arguments.seed)]);
    // Of a hang, seconds tell enough.
    command.arg("-timeout=20");
    Ok(())
}
