//! `cargo pv demo`: the same kernel ELF in every world, the results side by side.

use std::collections::VecDeque;
use std::process::ExitCode;
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};

use crate::boot::World;
use crate::building::{self, Kernel};
use crate::disk_image::Contents;
use crate::elf_file::ElfFile;
use crate::failure::{Failure, Kind};
use crate::interrupt;
use crate::machine::{Firmware, Machine};
use crate::outcome::Outcome;
use crate::results::{self, Run, Value};
use crate::session::{Echo, Session, last_lines};
use crate::toolchain;
use crate::workspace::Workspace;

/// Machines at a time; each emulated CPU takes a host CPU.
const PARALLEL_RUNS: usize = 2;

/// The command line that makes the demo kernel do the demo's work and shut down.
pub const CMDLINE: &str = "run=demo";

/// Options of `cargo pv demo`.
#[derive(Args)]
pub struct Arguments {
    /// Time limit of each run in seconds
    #[arg(long, value_name = "S", default_value_t = 120, value_parser = clap::value_parser!(u64).range(1..=100_000))]
    timeout: u64,
}

/// The worlds of the demo: firmware and CPUs of each.
pub const WORLDS: [(World, Firmware, u32); 6] = [
    (World::Native, Firmware::Bios, 1),
    (World::Native, Firmware::Uefi, 1),
    (World::Hypervisor, Firmware::Bios, 1),
    (World::Hypervisor, Firmware::Bios, 2),
    (World::Hypervisor, Firmware::Uefi, 1),
    (World::Hypervisor, Firmware::Uefi, 2),
];

/// Runs the command.
pub fn execute(workspace: &Workspace, arguments: &Arguments) -> Result<ExitCode, Failure> {
    toolchain::rust_toolchains(workspace)?;
    toolchain::qemu()?;
    toolchain::ovmf()?;
    let demo = ElfFile::read(&building::kernel(workspace, Kernel::Demo)?)?;
    let hypervisor = ElfFile::read(&building::kernel(workspace, Kernel::Hypervisor)?)?;

    // Before the machines start, so that its minutes are not taken for theirs.
    building::image_builder(workspace)?;
    let runs = run_all(workspace, &demo, &hypervisor, Duration::from_secs(arguments.timeout))?;
    println!("\nguest-demo-kernel {}\n\n{}", demo.sha256(), results::table(&runs));
    let problems = results::disagreements(&runs);
    if problems.is_empty() {
        println!("one kernel ELF, {} worlds, the same answers", runs.len());
        return Ok(ExitCode::SUCCESS);
    }
    Err(Failure::new(Kind::CheckFailed, format!("the demo failed:\n  {}", problems.join("\n  "))))
}

/// Heading of a world's column.
pub fn title(world: World, firmware: Firmware, cpus: u32) -> String {
    match world {
        World::Native => format!("native {firmware}"),
        World::Hypervisor => format!("hypervisor {firmware} {cpus}-CPU"),
    }
}

fn run_all(
    workspace: &Workspace,
    demo: &ElfFile,
    hypervisor: &ElfFile,
    limit: Duration,
) -> Result<Vec<Run>, Failure> {
    let bar = ProgressBar::new(WORLDS.len() as u64);
    bar.set_style(
        ProgressStyle::with_template("{spinner} booting {pos}/{len} {bar:20} ({elapsed}) {msg}")
            .unwrap_or_else(|_| ProgressStyle::default_bar()),
    );
    bar.enable_steady_tick(Duration::from_millis(100));
    let waiting: Mutex<VecDeque<usize>> = Mutex::new((0..WORLDS.len()).collect());
    let finished: Mutex<Vec<Option<Run>>> = Mutex::new(WORLDS.map(|_| None).into());
    let lock_failed = PoisonError::into_inner;

    thread::scope(|scope| {
        for _ in 0..PARALLEL_RUNS {
            scope.spawn(|| {
                while let Some(index) = waiting.lock().unwrap_or_else(lock_failed).pop_front() {
                    let (world, firmware, cpus) = WORLDS[index];
                    let title = title(world, firmware, cpus);
                    bar.set_message(title.clone());
                    let machine = Machine { firmware, cpus, ..Machine::default() };
                    let values = world
                        .contents(demo, hypervisor, CMDLINE)
                        .and_then(|contents| run_one(workspace, &contents, &machine, limit));
                    report(&bar, &title, demo, &values);
                    let values = values.map_err(|failure| failure.to_string());
                    finished.lock().unwrap_or_else(PoisonError::into_inner)[index] =
                        Some(Run { title, values });
                }
            });
        }
    });
    bar.finish_and_clear();
    interrupt::check()?;
    Ok(finished.into_inner().unwrap_or_else(PoisonError::into_inner).into_iter().flatten().collect())
}

fn report(bar: &ProgressBar, title: &str, demo: &ElfFile, values: &Result<Vec<Value>, Failure>) {
    let word = if values.is_ok() { "done" } else { "FAILED" };
    bar.suspend(|| println!("{title}: guest {} {word}", demo.sha256()));
    bar.inc(1);
}

/// Boots one world to its end and returns what it reported.
pub fn run_one(
    workspace: &Workspace,
    contents: &Contents,
    machine: &Machine,
    limit: Duration,
) -> Result<Vec<Value>, Failure> {
    let image = contents.cached_image(workspace, machine.firmware)?;
    let ended = Session::start(machine, &image, limit, Echo::Quiet)?.finish()?;
    if ended.outcome != Outcome::Status(0) {
        let message = format!("ended with {}{}", ended.outcome, last_lines(&ended.console));
        return Err(Failure::new(Kind::CheckFailed, message));
    }
    Ok(results::parse(&ended.console))
}
