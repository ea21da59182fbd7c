//! The machines on which operations are measured, and the figures that the guest printed.

use std::collections::BTreeMap;

use super::machines::{Ended, Programs, broken, domain};
use super::record::{Sequence, Span};
use crate::disk_image::{Contents, End};
use crate::elf_file::ElfFile;
use crate::failure::Failure;
use crate::results;

/// Enough for every table and shadow table that the operations leave behind: nothing is reclaimed while they run.
const MEMORY_MIB: u64 = 256;
const PARTNERS_MEMORY_MIB: u64 = 64;
const PRIORITY: u8 = 16;

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
pub const SETTINGS: [Setting; 3] = [Setting::Native, Setting::Guest, Setting::Pair];

/// A figure that the guest printed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Figure {
    /// The operation's name.
    pub name: String,
    /// The number of its marks; 0: it is not recorded.
    pub mark: u16,
    /// The part of the recorded sequence that it is about.
    pub span: Span,
    /// How often a sample does the operation.
    pub per: u32,
    /// How many samples there are.
    pub samples: u32,
    /// Instructions of the least expensive sample.
    pub least: u32,
    /// Of the one in the middle.
    pub median: u32,
    /// Of the most expensive one.
    pub most: u32,
}

/// A time in which the guest did nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Idle {
    /// Its name.
    pub name: String,
    /// The number of its marks.
    pub mark: u16,
    /// How long it was.
    pub nanoseconds: u64,
}

/// What a run gave.
pub struct Run {
    /// Where it took place.
    pub setting: Setting,
    /// What the guest printed.
    pub figures: Vec<Figure>,
    /// Times without work.
    pub idle: Vec<Idle>,
    /// What was executed, by mark.
    pub sequences: BTreeMap<u16, Sequence>,
    /// What was booted.
    pub booted: ElfFile,
    /// The guest, if there is a hypervisor under it.
    pub guest: Option<ElfFile>,
}

impl Setting {
    /// Whether `name` is measured here.
    pub fn measures(self, name: &str) -> bool {
        match self {
            Self::Native | Self::Guest => !name.starts_with("switch."),
            Self::Pair => name.starts_with("switch."),
        }
    }

    /// What to boot for operations that begin with `only`.
    pub fn contents(self, programs: &Programs, only: &str) -> Result<Contents, Failure> {
        let operations = format!("run=micro only={only}");
        let measuring =
            |cmdline, memory_mib| domain(MEASURING, &programs.hypermark, cmdline, memory_mib, PRIORITY);
        match self {
            Self::Native => Ok(Contents::native(programs.hypermark.clone(), &operations, End::DebugExit)),
            Self::Guest => programs.with_domains(vec![measuring(&operations, MEMORY_MIB)]),
            Self::Pair => programs.with_domains(vec![
                measuring("run=switch", PARTNERS_MEMORY_MIB),
                domain("partner", &programs.hypermark, "run=partner", PARTNERS_MEMORY_MIB, PRIORITY),
            ]),
        }
    }
}

impl Run {
    /// Reads what a machine left behind.
    pub fn read(setting: Setting, programs: &Programs, ended: Ended) -> Result<Self, Failure> {
        let console = match setting {
            Setting::Pair => results::lines_of(&ended.console, MEASURING),
            Setting::Native | Setting::Guest => ended.console,
        };
        let figures = lines(&console, "operation: ", figure);
        let idle = lines(&console, "idle: ", idle);
        let booted = if setting == Setting::Native { &programs.hypermark } else { &programs.hypervisor };
        Ok(Self {
            setting,
            figures: figures.map_err(|line| broken(format!("{setting:?}: {line} makes no sense")))?,
            idle: idle.map_err(|line| broken(format!("{setting:?}: {line} makes no sense")))?,
            sequences: ended.sequences,
            booted: booted.clone(),
            guest: (setting != Setting::Native).then(|| programs.hypermark.clone()),
        })
    }
}

/// The beginning that all names share: the guest need not measure more.
pub fn common_prefix<'a>(names: impl Iterator<Item = &'a str>) -> &'a str {
    let shorter = |a: &'a str, b: &'a str| {
        let length = a.bytes().zip(b.bytes()).take_while(|(a, b)| a == b).count();
        &a[..length]
    };
    names.reduce(shorter).unwrap_or_default()
}

/// All lines that begin with `start`, read by `read`; or the first that makes no sense.
pub fn lines<R>(console: &str, start: &str, read: impl Fn(&str) -> Option<R>) -> Result<Vec<R>, String> {
    let lines = console.lines().map(str::trim).filter_map(|line| line.strip_prefix(start));
    lines.map(|line| read(line).ok_or_else(|| format!("{start}{line}"))).collect()
}

/// `NAME MARK SPAN PER SAMPLES LEAST MEDIAN MOST`.
fn figure(line: &str) -> Option<Figure> {
    let mut words = line.split_whitespace();
    let name = words.next()?.to_owned();
    let mark = words.next()?.parse().ok()?;
    let span = Span::named(words.next()?)?;
    let mut number = || words.next()?.parse().ok();
    let [per, samples, least, median, most] = [number()?, number()?, number()?, number()?, number()?];
    let is_whole = words.next().is_none() && per > 0;
    is_whole.then_some(Figure { name, mark, span, per, samples, least, median, most })
}

/// `NAME MARK NANOSECONDS`.
fn idle(line: &str) -> Option<Idle> {
    let mut words = line.split_whitespace();
    let (name, mark) = (words.next()?.to_owned(), words.next()?.parse().ok()?);
    let nanoseconds = words.next()?.parse().ok()?;
    words.next().is_none().then_some(Idle { name, mark, nanoseconds })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_whole_or_refused() {
        let figures = |console: &str| lines(console, "operation: ", figure);
        let read = figures("noise\r\noperation: a.b 3 round-trip 32 1001 1 2 3\r\n").unwrap();
        assert_eq!((read[0].name.as_str(), read[0].mark, read[0].per, read[0].median), ("a.b", 3, 32, 2));
        assert_eq!(read[0].span, Span::RoundTrip);
        for wrong in
            ["a 3 whole 1 1001 1 2", "a 3 whole 1 1001 1 2 3 4", "a 3 half 1 1 1 1 1", "a 3 whole 0 1 1 1 1"]
        {
            assert!(figures(&format!("operation: {wrong}\n")).is_err(), "{wrong}");
        }
        let idle_line = Idle { name: "i".into(), mark: 4, nanoseconds: 9 };
        assert_eq!(lines("idle: i 4 9", "idle: ", idle), Ok(vec![idle_line]));
    }

    #[test]
    fn a_guest_measures_no_more_than_is_asked_for() {
        assert_eq!(common_prefix(["call.null", "call.unknown"].into_iter()), "call.");
        assert_eq!(common_prefix(["call.null", "map.page"].into_iter()), "");
        assert_eq!(common_prefix(["map.page"].into_iter()), "map.page");
    }
}
