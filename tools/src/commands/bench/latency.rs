//! How late a real-time thread begins that is due every millisecond: timer, interrupt, wake-up and switch together, as
//! the demo kernel's `run=rt` writes it down, each time.

use serde::{Deserialize, Serialize};

use super::machines::{Ended, Programs, broken, domain};
use super::runs::lines;
use crate::disk_image::{Contents, End};
use crate::failure::Failure;
use crate::results;

/// A thousand releases.
const CMDLINE: &str = "run=rt periods=1000 samples=1";
const SAMPLES: usize = 1000;
/// Busy for longer than that.
const BUSY: &str = "run=load seconds=2";
const HOSTILE: &str = "attack=random count=120000";

const REALTIME: &str = "rt";
const NEIGHBOUR: &str = "neighbour";
const MEMORY_MIB: u64 = 64;
/// Who must be in time, and who must not matter.
const HIGH: u8 = 24;
const LOW: u8 = 16;

/// What surrounds the thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Surrounding {
    /// The bare machine.
    Native,
    /// A domain alone.
    Alone,
    /// A domain beside one that runs threads, processes and page faults all the time.
    Busy,
    /// A domain beside one that attacks the hypervisor with random calls, frames and faults.
    Hostile,
}

/// All of them.
pub const SURROUNDINGS: [Surrounding; 4] =
    [Surrounding::Native, Surrounding::Alone, Surrounding::Busy, Surrounding::Hostile];

/// Latencies in one surrounding, in nanoseconds, or instructions.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Row {
    /// `latency.` and the surrounding.
    pub name: String,
    /// For people.
    pub title: String,
    /// How many releases there were.
    pub samples: u64,
    /// The smallest latency.
    pub least: u32,
    /// The one in the middle.
    pub median: u32,
    /// One that 99 of 100 do not exceed.
    pub p99: u32,
    /// One that 999 of 1000 do not exceed.
    pub p999: u32,
    /// The largest.
    pub most: u32,
    /// Releases whose work was not done when the next one was due.
    pub missed: u64,
    /// All of them in order; for plots.
    #[serde(skip)]
    pub series: Vec<u32>,
}

impl Surrounding {
    /// The name by which it is selected.
    pub fn name(self) -> &'static str {
        match self {
            Self::Native => "latency.native",
            Self::Alone => "latency.alone",
            Self::Busy => "latency.busy",
            Self::Hostile => "latency.hostile",
        }
    }

    fn title(self) -> &'static str {
        match self {
            Self::Native => "bare machine",
            Self::Alone => "guest alone",
            Self::Busy => "beside a busy guest",
            Self::Hostile => "beside a hostile guest",
        }
    }

    /// What to boot.
    pub fn contents(self, programs: &Programs) -> Result<Contents, Failure> {
        let realtime = domain(REALTIME, &programs.demo, CMDLINE, MEMORY_MIB, HIGH);
        let neighbour = match self {
            Self::Native => return Ok(Contents::native(programs.demo.clone(), CMDLINE, End::DebugExit)),
            Self::Alone => None,
            Self::Busy => Some(domain(NEIGHBOUR, &programs.demo, BUSY, MEMORY_MIB, LOW)),
            Self::Hostile => Some(domain(NEIGHBOUR, &programs.hostile, HOSTILE, MEMORY_MIB, LOW)),
        };
        programs.with_domains(std::iter::once(realtime).chain(neighbour).collect())
    }

    /// Reads what a machine left behind.
    pub fn read(self, ended: &Ended) -> Result<Row, Failure> {
        let wrong = |reason: String| broken(format!("{}: {reason}", self.name()));
        let console = match self {
            Self::Native | Self::Alone => ended.console.clone(),
            Self::Busy | Self::Hostile => {
                self.check_neighbour(&ended.console).map_err(wrong)?;
                results::lines_of(&ended.console, REALTIME)
            }
        };
        let numbers = |line: &str| line.split_whitespace().map(|word| word.parse().ok()).collect();
        let series: Vec<Vec<u32>> = lines(&console, "rt samples ", numbers).map_err(wrong)?;
        let series = series.concat();
        if series.len() != SAMPLES {
            return Err(wrong(format!("{} latencies, not {SAMPLES}", series.len())));
        }
        let missed = results::number(&results::parse(&console), "rt_missed");
        let missed = missed.ok_or_else(|| wrong("it does not say how many deadlines were missed".into()))?;
        Ok(self.row(series, missed))
    }

    /// A neighbour who rests while latencies are measured proves nothing.
    fn check_neighbour(self, console: &str) -> Result<(), String> {
        let last = match self {
            Self::Hostile => format!("[{NEIGHBOUR}] attack: random survived"),
            _ => format!("[{NEIGHBOUR}] result: verdict ok"),
        };
        let end = console.find(&last).ok_or_else(|| format!("no {last:?}"))?;
        let samples = console.find(&format!("[{REALTIME}] rt samples")).ok_or("no latencies")?;
        if end < samples { Err("the neighbour was done before the last release".into()) } else { Ok(()) }
    }

    fn row(self, series: Vec<u32>, missed: u64) -> Row {
        let mut sorted = series.clone();
        sorted.sort_unstable();
        // The smallest that so many of a thousand do not exceed.
        let rank = |thousandths: usize| sorted[(sorted.len() * thousandths).div_ceil(1000).max(1) - 1];
        Row {
            name: self.name().into(),
            title: self.title().into(),
            samples: series.len() as u64,
            least: sorted[0],
            median: rank(500),
            p99: rank(990),
            p999: rank(999),
            most: rank(1000),
            missed,
            series,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn console(tag: &str) -> String {
        let line = |line: usize| {
            let numbers: Vec<String> = (1..=10).map(|number| (line * 10 + number).to_string()).collect();
            format!("{tag}rt samples {}\r\n", numbers.join(" "))
        };
        (0..100).map(line).collect::<String>() + tag + "result: rt_missed 3 deadlines\r\n"
    }

    fn ended(console: String) -> Ended {
        Ended { console, sequences: BTreeMap::new() }
    }

    #[test]
    fn ranks_are_those_of_the_samples() {
        let row = Surrounding::Alone.read(&ended(console(""))).unwrap();
        assert_eq!((row.least, row.median, row.p99, row.p999, row.most), (1, 500, 990, 999, 1000));
        assert_eq!((row.missed, row.samples, row.series[499]), (3, 1000, 500));
    }

    #[test]
    fn a_neighbour_must_be_busy_all_the_time() {
        let (latencies, last) = (console("[rt] "), "[neighbour] result: verdict ok\r\n");
        assert!(Surrounding::Busy.read(&ended(latencies.clone() + last)).is_ok());
        assert!(Surrounding::Busy.read(&ended(last.to_owned() + &latencies)).is_err());
        assert!(Surrounding::Busy.read(&ended(latencies)).is_err());
        assert!(Surrounding::Alone.read(&ended(String::new())).is_err());
    }
}
