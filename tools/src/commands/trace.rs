//! `cargo pv trace`: what each CPU and each vCPU did when, as a file for ui.perfetto.dev, a picture, and in numbers.
//!
//! The hypervisor is built with the feature `trace` and notes what happens in its memory; `recording` runs it and reads that out,
//! `timeline` makes spans of it, `chrome` and `picture` show them.

mod chrome;
mod names;
mod picture;
mod recording;
mod summary;
mod timeline;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use serde_json::{Map, Value, json};

use crate::building::{self, Kernel};
use crate::disk_image::Contents;
use crate::elf_file::ElfFile;
use crate::failure::{Failure, Kind};
use crate::machine::{Accelerator, Machine};
use crate::manifest::Manifest;
use crate::workspace::Workspace;
pub use recording::Until;
use recording::{CpuRecords, Recording};
use timeline::Timeline;

/// A system that does not end is stopped after so long by this computer's clock.
const LIMIT: Duration = Duration::from_secs(300);

/// Options of `cargo pv trace`.
#[derive(Args)]
pub struct Arguments {
    /// System to run; configs/trace.toml, a real-time guest beside a busy one, if not given
    #[arg(value_name = "SYSTEM.TOML")]
    config: Option<PathBuf>,
    /// File to write, in the format that ui.perfetto.dev opens
    #[arg(short, long, value_name = "FILE", default_value = "trace.json")]
    out: PathBuf,
    /// Also draw the tracks here, as SVG
    #[arg(long, value_name = "FILE.SVG")]
    picture: Option<PathBuf>,
    /// Stop when the hypervisor's clock shows so many seconds; if not given, when the system ends
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    seconds: Option<u64>,
    /// Leave out what happened before so many milliseconds of that clock
    #[arg(long, value_name = "MS", default_value_t = 0.0)]
    from: f64,
    /// Leave out what happened after so many milliseconds of that clock
    #[arg(long, value_name = "MS", default_value_t = f64::INFINITY, hide_default_value = true)]
    to: f64,
    /// Run by this computer's clock instead of counting instructions; each run differs then
    #[arg(long, conflicts_with = "icount")]
    wall: bool,
    /// The machine
    #[command(flatten)]
    machine: Machine,
}

/// Runs the command.
pub fn execute(workspace: &Workspace, arguments: &Arguments) -> Result<ExitCode, Failure> {
    let machine = machine(arguments)?;
    let manifest = match &arguments.config {
        Some(config) => Manifest::read(config, &machine)?,
        None => {
            building::kernel(workspace, Kernel::Demo)?;
            Manifest::read(&workspace.root.join("configs/trace.toml"), &machine)?
        }
    };
    let until = Until { clock: arguments.seconds.map(Duration::from_secs), limit: LIMIT };
    let trace = Trace::record(workspace, &manifest, &machine, until)?;
    let trace = trace.between(nanoseconds(arguments.from), nanoseconds(arguments.to))?;
    write(&arguments.out, &trace.to_json()?)?;
    if let Some(picture) = &arguments.picture {
        write(picture, &trace.picture()?)?;
    }
    print!("{}", trace.text());
    println!("{}: open it at https://ui.perfetto.dev", arguments.out.display());
    Ok(ExitCode::SUCCESS)
}

/// The machine that was asked for, counting instructions if it can and may.
fn machine(arguments: &Arguments) -> Result<Machine, Failure> {
    if arguments.from.is_nan() || arguments.to.is_nan() || arguments.from >= arguments.to {
        return Err(Failure::new(Kind::Usage, "--from must be before --to"));
    }
    let can_count = arguments.machine.accelerator == Accelerator::Tcg;
    let icount = arguments.machine.icount || (can_count && !arguments.wall);
    let machine = Machine { icount, ..arguments.machine.clone() };
    machine.check()?;
    Ok(machine)
}

fn nanoseconds(milliseconds: f64) -> u64 {
    // Saturates, which is what "never" needs.
    (milliseconds * 1e6) as u64
}

fn write(path: &Path, text: &str) -> Result<(), Failure> {
    fs::write(path, text).map_err(|error| Failure::file("write", path, &error))
}

/// A recorded run.
pub struct Trace {
    domains: Vec<String>,
    recording: Recording,
    timeline: Timeline,
    is_counted: bool,
}

impl Trace {
    /// Builds the traced hypervisor, runs the system on it and reads the records.
    pub fn record(
        workspace: &Workspace,
        manifest: &Manifest,
        machine: &Machine,
        until: Until,
    ) -> Result<Self, Failure> {
        let hypervisor = ElfFile::read(&building::traced_hypervisor(workspace)?)?;
        let contents = Contents::hypervisor(hypervisor, manifest.compile(None)?);
        let recording = recording::record(workspace, &contents, machine, until)?;
        let domains = manifest.domains.iter().map(|domain| domain.name.clone()).collect();
        Ok(Self::new(domains, recording, machine.icount))
    }

    fn new(domains: Vec<String>, recording: Recording, is_counted: bool) -> Self {
        let records = recording.cpus.iter().map(|records| (records.cpu, records.entries.clone()));
        let timeline = Timeline::of(&records.collect::<Vec<_>>());
        Self { domains, recording, timeline, is_counted }
    }

    /// What happened from `from_ns` on and before `to_ns`.
    pub fn between(mut self, from_ns: u64, to_ns: u64) -> Result<Self, Failure> {
        let (first, last) = self.bounds_ns();
        for CpuRecords { entries, .. } in &mut self.recording.cpus {
            entries.retain(|entry| (from_ns..to_ns).contains(&entry.time_ns));
        }
        if self.recording.cpus.iter().all(|records| records.entries.is_empty()) {
            let message = format!("nothing was recorded then, but from {} ms to {} ms", ms(first), ms(last));
            return Err(Failure::new(Kind::Usage, message));
        }
        Ok(Self::new(self.domains, self.recording, self.is_counted))
    }

    /// When the first record was made and when the last.
    pub fn bounds_ns(&self) -> (u64, u64) {
        let times =
            || self.recording.cpus.iter().flat_map(|records| &records.entries).map(|entry| entry.time_ns);
        (times().min().unwrap_or(0), times().max().unwrap_or(0))
    }

    /// What the console showed meanwhile.
    pub fn console(&self) -> &str {
        &self.recording.console
    }

    /// Records that were overwritten.
    pub fn lost(&self) -> u64 {
        self.recording.cpus.iter().map(|records| records.lost).sum()
    }

    /// Records that are there.
    fn records(&self) -> usize {
        self.recording.cpus.iter().map(|records| records.entries.len()).sum()
    }

    /// Ways into the hypervisor of which no record says how they ended.
    pub fn unclosed(&self) -> usize {
        self.timeline.unclosed
    }

    /// The file for Perfetto.
    pub fn to_json(&self) -> Result<String, Failure> {
        let lost: Map<String, Value> = self
            .recording
            .cpus
            .iter()
            .map(|records| (format!("CPU {}", records.cpu), json!(records.lost)))
            .collect();
        let unit =
            if self.is_counted { "one instruction is one nanosecond" } else { "the time-stamp counter's" };
        let about = [("clock".to_owned(), json!(unit)), ("records overwritten".to_owned(), lost.into())];
        let file = chrome::File::new(&self.timeline, &self.domains, about.into_iter().collect());
        serde_json::to_string(&file)
            .map_err(|error| Failure::new(Kind::CheckFailed, format!("the trace cannot be written: {error}")))
    }

    /// The tracks, as SVG.
    fn picture(&self) -> Result<String, Failure> {
        picture::draw(&self.timeline, &self.domains, self.bounds_ns())
    }

    /// The tables, and what is missing.
    fn text(&self) -> String {
        let (first, last) = self.bounds_ns();
        let mut text = summary::text(&self.timeline, &self.domains, last - first);
        let lost = self.lost();
        text += &format!("\n{} records from {} ms to {} ms", self.records(), ms(first), ms(last));
        if lost != 0 {
            text += &format!("; {lost} older ones are overwritten");
        }
        if !self.recording.has_ended {
            text += "; the system was stopped";
        }
        text + "\n"
    }
}

/// Milliseconds with three decimals.
fn ms(ns: u64) -> String {
    format!("{:.3}", ns as f64 / 1e6)
}
