//! Booting what is measured: one machine to its end, several two at a time.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::sync::Mutex;
use std::thread;
use std::time::Duration;

use super::record::{self, Sequence};
use super::selection::Selection;
use crate::building::{self, Kernel};
use crate::disk_image::Contents;
use crate::elf_file::ElfFile;
use crate::failure::{Failure, Kind};
use crate::machine::{DEBUG_EXIT_PORT, Machine, Recorder};
use crate::manifest::{Manifest, ManifestDomain};
use crate::outcome::Outcome;
use crate::session::{Echo, Session, last_lines, without_escapes};
use crate::workspace::Workspace;

/// Machines at a time.
const WORKERS: usize = 2;

/// What is booted.
pub struct Programs {
    /// The guest that measures operations.
    pub hypermark: ElfFile,
    /// The demo kernel, for workloads and latencies.
    pub demo: ElfFile,
    /// The same with hard-coded instructions in place of call sites, where that is measured.
    pub hard_coded: Option<ElfFile>,
    /// The hostile guest.
    pub hostile: ElfFile,
    /// The hypervisor.
    pub hypervisor: ElfFile,
    /// The plugin that records.
    pub recorder: PathBuf,
}

impl Programs {
    /// Builds what `selection` boots.
    pub fn build(workspace: &Workspace, selection: &Selection) -> Result<Self, Failure> {
        let build = |kernel| building::kernel(workspace, kernel).and_then(|path| ElfFile::read(&path));
        let hard_coded = selection.has_sites.then(|| building::hard_coded_demo(workspace)).transpose()?;
        let programs = Self {
            hypermark: build(Kernel::Hypermark)?,
            demo: build(Kernel::Demo)?,
            hard_coded: hard_coded.map(|path| ElfFile::read(&path)).transpose()?,
            hostile: build(Kernel::HostileGuest)?,
            hypervisor: build(Kernel::Hypervisor)?,
            recorder: building::recorder(workspace)?,
        };
        building::image_builder(workspace)?;
        Ok(programs)
    }

    /// The hypervisor with these domains.
    pub fn with_domains(&self, domains: Vec<ManifestDomain>) -> Result<Contents, Failure> {
        let manifest = Manifest { domains, ..Manifest::for_guest(self.demo.clone(), "") };
        Ok(Contents::hypervisor(self.hypervisor.clone(), manifest.compile(Some(DEBUG_EXIT_PORT))?))
    }
}

/// A domain on CPU 0.
pub fn domain(name: &str, elf: &ElfFile, cmdline: &str, memory_mib: u64, priority: u8) -> ManifestDomain {
    let mut domain = Manifest::for_guest(elf.clone(), cmdline).domains.remove(0);
    domain.name = name.into();
    domain.memory_bytes = memory_mib << 20;
    domain.vcpus[0].priority = priority;
    domain
}

/// How a machine runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clock {
    /// By the number of instructions.
    Instructions,
    /// By this computer's clock; nothing is recorded.
    Wall,
}

/// What a machine left behind.
pub struct Ended {
    /// Its console, without terminal sequences.
    pub console: String,
    /// What was recorded, by mark.
    pub sequences: BTreeMap<u16, Sequence>,
}

/// Boots `contents` and waits for its success, at most for `limit`.
pub fn boot(
    workspace: &Workspace,
    contents: &Contents,
    (clock, limit): (Clock, Duration),
    recorder: Option<&PathBuf>,
) -> Result<Ended, Failure> {
    let scratch = tempfile::Builder::new()
        .prefix("pv-bench-")
        .tempdir()
        .map_err(|error| Failure::file("create a folder in", &std::env::temp_dir(), &error))?;
    let output = scratch.path().join("executed");
    let recorder = recorder.filter(|_| clock == Clock::Instructions);
    let recorder = recorder.map(|library| Recorder { library: library.clone(), output: output.clone() });
    let is_recorded = recorder.is_some();
    let machine = Machine { icount: clock == Clock::Instructions, recorder, ..Machine::default() };
    let image = contents.cached_image(workspace, machine.firmware)?;
    let ended = Session::start(&machine, &image, limit, Echo::Quiet)?.finish()?;
    if ended.outcome != Outcome::Status(0) {
        let reason = ended.console.lines().find(|line| line.contains(" failed")).unwrap_or_default().trim();
        return Err(broken(format!("{} {reason}{}", ended.outcome, last_lines(&ended.console))));
    }
    let mut sequences = BTreeMap::new();
    if is_recorded {
        let text = fs::read_to_string(&output).map_err(|error| Failure::file("read", &output, &error))?;
        sequences = record::parse(&text).map_err(broken)?;
    }
    Ok(Ended { console: without_escapes(&ended.console), sequences })
}

/// Boots `contents`, waits until a line with `text` is complete, and switches the machine off: for neighbours that never end.
pub fn boot_until(
    workspace: &Workspace,
    contents: &Contents,
    text: &str,
    limit: Duration,
) -> Result<Ended, Failure> {
    let machine = Machine { icount: true, ..Machine::default() };
    let image = contents.cached_image(workspace, machine.firmware)?;
    let mut session = Session::start(&machine, &image, limit, Echo::Quiet)?;
    session.wait_for(text, limit)?;
    session.wait_for("\n", limit)?;
    Ok(Ended { console: without_escapes(&session.console()), sequences: BTreeMap::new() })
}

/// A failure of what was measured.
pub fn broken(reason: impl Into<String>) -> Failure {
    Failure::new(Kind::CheckFailed, reason)
}

/// Does `work` for each item, [`WORKERS`] at a time; results keep the items' order, the first failure ends all.
pub fn all<T: Sync, R: Send>(
    items: &[T],
    work: impl Fn(&T) -> Result<R, Failure> + Sync,
) -> Result<Vec<R>, Failure> {
    let results: Mutex<Vec<(usize, Result<R, Failure>)>> = Mutex::default();
    let next = Mutex::new(items.iter().enumerate());
    thread::scope(|scope| {
        for _ in 0..WORKERS {
            scope.spawn(|| {
                loop {
                    let item = next.lock().ok().and_then(|mut items| items.next());
                    let Some((index, item)) = item else { return };
                    let result = work(item);
                    let Ok(mut results) = results.lock() else { return };
                    let failed = result.is_err();
                    results.push((index, result));
                    if failed && let Ok(mut next) = next.lock() {
                        next.by_ref().for_each(drop);
                    }
                }
            });
        }
    });
    let mut results = results.into_inner().unwrap_or_default();
    results.sort_by_key(|(index, _)| *index);
    results.into_iter().map(|(_, result)| result).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_keep_the_order_of_their_items() {
        assert_eq!(all(&[3, 1, 2], |number| Ok(number * number)).unwrap(), [9, 1, 4]);
        let failed = all(&[1, 2, 3], |number| if *number == 2 { Err(broken("two")) } else { Ok(()) });
        assert!(failed.is_err_and(|failure| failure.to_string().contains("two")));
    }
}
