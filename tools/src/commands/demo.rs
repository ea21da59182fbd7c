//! `cargo pv demo`: the same kernel ELF in every world, the results side by side.

pub mod realtime;

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
use crate::results::{self, Run};
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
    let jobs = jobs(&demo, &hypervisor)?;
    let mut consoles = run_all(workspace, &jobs, &demo, Duration::from_secs(arguments.timeout))?;
    let realtime = realtime::Findings::read(consoles.split_off(WORLDS.len()));
    let mut runs: Vec<Run> = jobs.iter().zip(consoles).map(|(job, console)| job.read(console)).collect();
    println!("\nguest-demo-kernel {}\n\n{}\n{}", demo.sha256(), results::table(&runs), realtime.table());
    runs.extend(realtime.partners);
    let mut problems = results::disagreements(&runs);
    problems.extend(realtime.problems);
    if problems.is_empty() {
        println!("one kernel ELF, {} runs, the same answers", jobs.len());
        return Ok(ExitCode::SUCCESS);
    }
    Err(Failure::new(Kind::CheckFailed, format!("the demo failed:\n  {}", problems.join("\n  "))))
}

/// A machine to run to its end.
struct Job {
    title: String,
    /// Nothing runs beside it, for the sake of its times.
    alone: bool,
    machine: Machine,
    contents: Contents,
}

impl Job {
    fn read(&self, console: Result<String, Failure>) -> Run {
        let values = console.map(|console| results::parse(&console)).map_err(|failure| failure.to_string());
        Run { title: self.title.clone(), values }
    }
}

/// First the worlds, then the real-time guest's settings.
fn jobs(demo: &ElfFile, hypervisor: &ElfFile) -> Result<Vec<Job>, Failure> {
    let worlds = WORLDS.into_iter().map(|(world, firmware, cpus)| {
        Ok(Job {
            title: title(world, firmware, cpus),
            alone: false,
            machine: Machine { firmware, cpus, ..Machine::default() },
            contents: world.contents(demo, hypervisor, CMDLINE)?,
        })
    });
    let settings = realtime::SETTINGS.iter().map(|setting| {
        Ok(Job {
            title: format!("real-time, {}", setting.title),
            alone: setting.cpus > 1,
            machine: setting.machine(),
            contents: setting.contents(demo, hypervisor)?,
        })
    });
    worlds.chain(settings).collect()
}

/// Heading of a world's column.
pub fn title(world: World, firmware: Firmware, cpus: u32) -> String {
    match world {
        World::Native => format!("native {firmware}"),
        World::Hypervisor => format!("hypervisor {firmware} {cpus}-CPU"),
    }
}

/// Runs them all, [`PARALLEL_RUNS`] at a time, then those that must be alone; returns their consoles.
fn run_all(
    workspace: &Workspace,
    jobs: &[Job],
    demo: &ElfFile,
    limit: Duration,
) -> Result<Vec<Result<String, Failure>>, Failure> {
    let bar = ProgressBar::new(jobs.len() as u64);
    bar.set_style(
        ProgressStyle::with_template("{spinner} booting {pos}/{len} {bar:20} ({elapsed}) {msg}")
            .unwrap_or_else(|_| ProgressStyle::default_bar()),
    );
    bar.enable_steady_tick(Duration::from_millis(100));
    let (alone, together): (VecDeque<usize>, VecDeque<usize>) =
        (0..jobs.len()).partition(|job| jobs[*job].alone);
    let finished: Mutex<Vec<Option<Result<String, Failure>>>> =
        Mutex::new(jobs.iter().map(|_| None).collect());
    let run = |index: usize| {
        let job: &Job = &jobs[index];
        bar.set_message(job.title.clone());
        let console = run_one(workspace, job, limit);
        report(&bar, &job.title, demo, console.is_ok());
        finished.lock().unwrap_or_else(PoisonError::into_inner)[index] = Some(console);
    };

    for (waiting, workers) in [(together, PARALLEL_RUNS), (alone, 1)] {
        let waiting = Mutex::new(waiting);
        let next = || waiting.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
        thread::scope(|scope| {
            for _ in 0..workers {
                scope.spawn(|| std::iter::from_fn(next).for_each(run));
            }
        });
    }
    bar.finish_and_clear();
    interrupt::check()?;
    Ok(finished.into_inner().unwrap_or_else(PoisonError::into_inner).into_iter().flatten().collect())
}

fn report(bar: &ProgressBar, title: &str, demo: &ElfFile, succeeded: bool) {
    let word = if succeeded { "done" } else { "FAILED" };
    bar.suspend(|| println!("{title}: guest {} {word}", demo.sha256()));
    bar.inc(1);
}

/// Boots one machine to its end and returns what it printed.
fn run_one(workspace: &Workspace, job: &Job, limit: Duration) -> Result<String, Failure> {
    let image = job.contents.cached_image(workspace, job.machine.firmware)?;
    let ended = Session::start(&job.machine, &image, limit, Echo::Quiet)?.finish()?;
    if ended.outcome != Outcome::Status(0) {
        let message = format!("ended with {}{}", ended.outcome, last_lines(&ended.console));
        return Err(Failure::new(Kind::CheckFailed, message));
    }
    Ok(ended.console)
}
