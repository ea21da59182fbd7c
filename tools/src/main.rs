//! `cargo pv`: builds, boots, tests and measures pvops.
//!
//! One file per command in `commands`; what they share lies beside it. From the bottom up: `process` runs
//! children that cannot outlive us, `toolchain` finds and installs what is needed, `building` calls cargo,
//! `manifest` reads `system.toml`, `disk_image` makes bootable disks, `machine` and `session` run QEMU, `outcome`
//! and `results` say what came of it.

#![expect(unreachable_pub, reason = "in a program, `pub` means shared between modules")]

mod abi;
mod boot;
mod building;
mod c_guest;
mod commands;
mod debugger;
mod disk_image;
mod elf_file;
mod failure;
mod footprint;
mod interrupt;
mod machine;
mod manifest;
mod monitor;
mod outcome;
mod process;
mod progress;
mod results;
mod session;
mod specification;
mod terminal;
mod toolchain;
mod workspace;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use commands::{
    bench, book, build, conform, coverage, demo, describe, fuzz, header, image, miri, mutants, run, setup,
    size, soak, test, trace,
};
use failure::Failure;
use workspace::Workspace;

/// Builds, boots, tests and measures pvops.
#[derive(Parser)]
#[command(name = "cargo pv", bin_name = "cargo pv", after_help = failure::EXIT_CODES, disable_help_subcommand = true)]
struct CommandLine {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Installs what is missing: Rust toolchains, QEMU, UEFI firmware
    Setup,
    /// Builds the kernels
    Build,
    /// Makes a bootable disk image
    Image(image::Arguments),
    /// Boots a guest on the bare machine or on the hypervisor
    Run(run::Arguments),
    /// Checks a system.toml and tells what each domain gets, with the numbers of devices and channels
    Describe(describe::Arguments),
    /// Boots the same demo kernel in every world and compares the results
    Demo(demo::Arguments),
    /// Runs the conformance suite on a target
    Conform(conform::Arguments),
    /// Compares the specification's requirements with the tests that cover them
    Coverage(coverage::Arguments),
    /// Breaks the hypervisor in many ways and looks whether the conformance suite notices each
    Mutants(mutants::Arguments),
    /// Runs all tests
    Test(test::Arguments),
    /// Runs hostile guests beside real-time guests for long
    Soak(soak::Arguments),
    /// Measures operations and workloads, natively and as a guest
    Bench(bench::Arguments),
    /// Records what CPUs and vCPUs do, for ui.perfetto.dev
    Trace(trace::Arguments),
    /// Feeds hostile input to everything that reads untrusted bytes
    Fuzz(fuzz::Arguments),
    /// Runs the tests of the logic under Miri
    Miri(miri::Arguments),
    /// Reports the hypervisor's memory footprint
    Size(size::Arguments),
    /// Writes the ABI's C header, spec/pvops.h, from the crate pvops-abi
    Header(header::Arguments),
    /// Makes a book of the specification
    Book,
}

fn main() -> ExitCode {
    let command_line = CommandLine::parse();
    interrupt::install();
    match execute(&command_line.command, &Workspace::find()) {
        Ok(exit_code) => exit_code,
        Err(failure) => {
            eprintln!("{failure}");
            failure.exit_code()
        }
    }
}

fn execute(command: &Command, workspace: &Workspace) -> Result<ExitCode, Failure> {
    match command {
        Command::Setup => setup::execute(workspace),
        Command::Build => build::execute(workspace),
        Command::Image(arguments) => image::execute(workspace, arguments),
        Command::Run(arguments) => run::execute(workspace, arguments),
        Command::Describe(arguments) => describe::execute(arguments),
        Command::Demo(arguments) => demo::execute(workspace, arguments),
        Command::Conform(arguments) => conform::execute(workspace, arguments),
        Command::Coverage(arguments) => coverage::execute(workspace, arguments),
        Command::Mutants(arguments) => mutants::execute(workspace, arguments),
        Command::Test(arguments) => test::execute(workspace, arguments),
        Command::Soak(arguments) => soak::execute(workspace, arguments),
        Command::Bench(arguments) => bench::execute(workspace, arguments),
        Command::Trace(arguments) => trace::execute(workspace, arguments),
        Command::Fuzz(arguments) => fuzz::execute(workspace, arguments),
        Command::Miri(arguments) => miri::execute(workspace, arguments),
        Command::Size(arguments) => size::execute(workspace, arguments),
        Command::Book => book::execute(workspace),
        Command::Header(arguments) => header::execute(workspace, arguments),
    }
}

/// Whether `words` (without `cargo pv`) are a valid command line; for the test that reads the README.
fn parses(words: &[String]) -> Result<(), String> {
    let words = std::iter::once("cargo pv").chain(words.iter().map(String::as_str));
    match CommandLine::try_parse_from(words) {
        Ok(_) => Ok(()),
        Err(error) if !error.use_stderr() => Ok(()),
        Err(error) => Err(error.to_string()),
    }
}
