//! The machines that are booted for a measurement, and what each of them said.

use std::collections::BTreeMap;
use std::fs;
use std::sync::Mutex;
use std::thread;
use std::time::Duration;

use super::budgets::Operation;
use super::record::{self, Sequence};
use crate::building::{self, Kernel};
use crate::disk_image::{Contents, End};
use crate::elf_file::ElfFile;
use crate::failure::{Failure, Kind};
use crate::machine::{DEBUG_EXIT_PORT, Machine, Recorder};
use crate::manifest::{Manifest, ManifestDomain};
use crate::outcome::Outcome;
use crate::results;
use crate::session::{Echo, Session, last_lines, without_escapes};
use crate::workspace::Workspace;

/// Instruction by instruction, on a busy computer.
const LIMIT: Duration = Duration::from_secs(300);
/// Enough for every table and shadow table that the operations leave behind: nothing is reclaimed while they run.
const MEMORY_BYTES: u64 = 256 << 20;
const PARTNERS_MEMORY_BYTES: u64 = 64 << 20;

/// The domain whose lines count.
const MEASURING: &str = "bench";

/// Where a run takes place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Setting {
    /// The bare machine.
    Native,
    /// Alone on the hypervisor.
    Guest,
    /// On the hypervisor, beside a domain on the same CPU.
    Pair,
}

/// All of them.
const SETTINGS: [Setting; 3] = [Setting::Native, Setting::Guest, Setting::Pair];

/// A figure that the guest printed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Figure {
    /// The operation's name.
    pub name: String,
    /// The number of its marks; 0: it is not recorded.
    pub mark: u16,
    /// The part of the recorded sequence that it is about.
    pub span: record::Span,
    /// How often a sample does the operation.
    pub per: u32,
    /// How many samples there are.
    pub samples: u32,
    /// Instructions of the least, the middle and the most expensive sample.
    pub least: u32,
    pub median: u32,
    pub most: u32,
}

/// What a run gave.
pub struct Run {
    /// Where it took place.
    pub setting: Setting,
    /// What the guest printed.
    pub figures: Vec<Figure>,
    /// What was executed, by mark.
    pub sequences: BTreeMap<u16, Sequence>,
    /// The ELFs that were executed: what was booted, and the guest in it.
    pub booted: ElfFile,
    /// The guest, if there is a hypervisor under it.
    pub guest: Option<ElfFile>,
}

/// Whether `name` is measured in the setting.
fn belongs(setting: Setting, name: &str) -> bool {
    match setting {
        Setting::Native | Setting::Guest => !name.starts_with("switch."),
        Setting::Pair => name.starts_with("switch."),
    }
}

/// Runs what the operations need, two machines at a time.
pub fn all(workspace: &Workspace, operations: &[Operation]) -> Result<Vec<Run>, Failure> {
    let recorder = building::recorder(workspace)?;
    let measuring = ElfFile::read(&building::kernel(workspace, Kernel::Hypermark)?)?;
    let hypervisor = ElfFile::read(&building::kernel(workspace, Kernel::Hypervisor)?)?;
    building::image_builder(workspace)?;
    let needed = |setting: &Setting| operations.iter().any(|operation| belongs(*setting, &operation.name));
    let settings: Vec<Setting> = SETTINGS.into_iter().filter(needed).collect();
    let one = |setting: Setting| -> Result<Run, Failure> {
        let only = common_prefix(operations.iter().map(|operation| operation.name.as_str()));
        let contents = contents(setting, &measuring, &hypervisor, only)?;
        let scratch = tempfile::Builder::new()
            .prefix("pv-bench-")
            .tempdir()
            .map_err(|error| Failure::file("create a folder in", &std::env::temp_dir(), &error))?;
        let output = scratch.path().join("executed");
        let recorder = Some(Recorder { library: recorder.clone(), output: output.clone() });
        let machine = Machine { icount: true, recorder, ..Machine::default() };
        let image = contents.cached_image(workspace, machine.firmware)?;
        let ended = Session::start(&machine, &image, LIMIT, Echo::Quiet)?.finish()?;
        if ended.outcome != Outcome::Status(0) {
            let message = format!("{setting:?}: {}{}", ended.outcome, last_lines(&ended.console));
            return Err(Failure::new(Kind::CheckFailed, message));
        }
        let text = fs::read_to_string(&output).map_err(|error| Failure::file("read", &output, &error))?;
        let console = match setting {
            Setting::Pair => results::lines_of(&ended.console, MEASURING),
            Setting::Native | Setting::Guest => without_escapes(&ended.console),
        };
        let broken = |reason| Failure::new(Kind::CheckFailed, format!("{setting:?}: {reason}"));
        Ok(Run {
            setting,
            figures: figures(&console).map_err(broken)?,
            sequences: record::parse(&text).map_err(broken)?,
            booted: if setting == Setting::Native { &measuring } else { &hypervisor }.clone(),
            guest: (setting != Setting::Native).then(|| measuring.clone()),
        })
    };
    two_at_a_time(settings, &one)
}

fn two_at_a_time<T: Send + Sync + Copy, R: Send>(
    items: Vec<T>,
    work: &(impl Fn(T) -> Result<R, Failure> + Sync),
) -> Result<Vec<R>, Failure> {
    const WORKERS: usize = 2;
    let results: Mutex<Vec<(usize, Result<R, Failure>)>> = Mutex::default();
    let next = Mutex::new(items.iter().copied().enumerate());
    thread::scope(|scope| {
        for _ in 0..WORKERS {
            scope.spawn(|| {
                loop {
                    let item = next.lock().ok().and_then(|mut items| items.next());
                    let Some((index, item)) = item else { return };
                    let result = work(item);
                    if let Ok(mut results) = results.lock() {
                        results.push((index, result));
                    }
                }
            });
        }
    });
    let mut results = results.into_inner().unwrap_or_default();
    results.sort_by_key(|(index, _)| *index);
    results.into_iter().map(|(_, result)| result).collect()
}

fn common_prefix<'a>(names: impl Iterator<Item = &'a str>) -> &'a str {
    let shorter = |a: &'a str, b: &'a str| {
        let length = a.bytes().zip(b.bytes()).take_while(|(a, b)| a == b).count();
        &a[..length]
    };
    names.reduce(shorter).unwrap_or_default()
}

fn contents(
    setting: Setting,
    measuring: &ElfFile,
    hypervisor: &ElfFile,
    only: &str,
) -> Result<Contents, Failure> {
    let domain = |name: &str, cmdline: &str, memory_bytes| ManifestDomain {
        name: name.into(),
        memory_bytes,
        ..Manifest::for_guest(measuring.clone(), cmdline).domains.remove(0)
    };
    let operations = format!("run=micro only={only}");
    let domains = match setting {
        Setting::Native => return Ok(Contents::native(measuring.clone(), &operations, End::DebugExit)),
        Setting::Guest => vec![domain(MEASURING, &operations, MEMORY_BYTES)],
        Setting::Pair => vec![
            domain(MEASURING, "run=switch", PARTNERS_MEMORY_BYTES),
            domain("partner", "run=partner", PARTNERS_MEMORY_BYTES),
        ],
    };
    let manifest = Manifest { domains, ..Manifest::for_guest(measuring.clone(), "") };
    Ok(Contents::hypervisor(hypervisor.clone(), manifest.compile(Some(DEBUG_EXIT_PORT))?))
}

/// The lines `operation: NAME MARK SPAN PER SAMPLES LEAST MEDIAN MOST`.
fn figures(console: &str) -> Result<Vec<Figure>, String> {
    let lines = console.lines().filter_map(|line| line.trim().strip_prefix("operation: "));
    lines.map(|line| figure(line).ok_or_else(|| format!("a line that makes no sense: {line}"))).collect()
}

fn figure(line: &str) -> Option<Figure> {
    let mut words = line.split_whitespace();
    let name = words.next()?.to_owned();
    let mark = words.next()?.parse().ok()?;
    let span = record::Span::named(words.next()?)?;
    let mut number = || words.next()?.parse().ok();
    let [per, samples, least, median, most] = [number()?, number()?, number()?, number()?, number()?];
    (words.next().is_none() && per > 0).then_some(Figure {
        name,
        mark,
        span,
        per,
        samples,
        least,
        median,
        most,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_whole_or_refused() {
        let read = figures("noise\r\noperation: a.b 3 round-trip 32 1001 1 2 3\r\n").unwrap();
        assert_eq!((read[0].name.as_str(), read[0].mark, read[0].per, read[0].median), ("a.b", 3, 32, 2));
        assert_eq!(read[0].span, record::Span::RoundTrip);
        for wrong in
            ["a 3 whole 1 1001 1 2", "a 3 whole 1 1001 1 2 3 4", "a 3 half 1 1 1 1 1", "a 3 whole 0 1 1 1 1"]
        {
            assert!(figures(&format!("operation: {wrong}\n")).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_guest_measures_no_more_than_is_asked_for() {
        assert_eq!(common_prefix(["call.null", "call.unknown"].into_iter()), "call.");
        assert_eq!(common_prefix(["call.null", "map.page"].into_iter()), "");
        assert_eq!(common_prefix(["map.page"].into_iter()), "map.page");
    }

    #[test]
    fn results_keep_the_order_of_their_items() {
        let squares = two_at_a_time(vec![3, 1, 2], &|number: i32| Ok(number * number)).unwrap();
        assert_eq!(squares, [9, 1, 4]);
    }
}
