//! How late a real-time thread begins that is due every millisecond: timer, interrupt, wake-up and switch together, as
//! the demo kernel's `run=rt` writes it down, each time.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::machines::{self, Clock, Ended, Programs, broken, domain};
use super::runs::lines;
use crate::disk_image::{Contents, End};
use crate::failure::Failure;
use crate::results;
use crate::workspace::Workspace;

/// Begins the last line of a run.
const VERDICT: &str = "result: verdict";
/// A thousand releases.
const CMDLINE: &str = "run=rt periods=1000 samples=1";
const SAMPLES: usize = 1000;
/// Neither of them ends.
const BUSY: &str = "run=load seconds=0";
const HOSTILE: &str = "attack=random count=0";

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
    fn contents(self, programs: &Programs) -> Result<Contents, Failure> {
        let realtime = domain(REALTIME, &programs.demo, CMDLINE, MEMORY_MIB, HIGH);
        let neighbour = match self {
            Self::Native => return Ok(Contents::native(programs.demo.clone(), CMDLINE, End::DebugExit)),
            Self::Alone => None,
            Self::Busy => Some(domain(NEIGHBOUR, &programs.demo, BUSY, MEMORY_MIB, LOW)),
            Self::Hostile => Some(domain(NEIGHBOUR, &programs.hostile, HOSTILE, MEMORY_MIB, LOW)),
        };
        programs.with_domains(std::iter::once(realtime).chain(neighbour).collect())
    }

    /// Boots it, and reads what it left behind.
    pub fn measure(
        self,
        workspace: &Workspace,
        programs: &Programs,
        limit: Duration,
    ) -> Result<Row, Failure> {
        let contents = self.contents(programs)?;
        let ended = match self {
            Self::Native | Self::Alone => {
                machines::boot(workspace, &contents, (Clock::Instructions, limit), None)?
            }
            Self::Busy | Self::Hostile => {
                machines::boot_until(workspace, &contents, &format!("[{REALTIME}] {VERDICT}"), limit)?
            }
        };
        self.read(&ended)
    }

    /// Reads what a machine left behind.
    fn read(self, ended: &Ended) -> Result<Row, Failure> {
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

    /// A neighbour who has ended, or never began, proves nothing.
    fn check_neighbour(self, console: &str) -> Result<(), String> {
        let said = results::lines_of(console, NEIGHBOUR);
        let over = ["survived", VERDICT, "broken"].into_iter().find(|word| said.contains(word));
        let crashed = console.contains(&format!("domain '{NEIGHBOUR}' crashed"));
        match over {
            _ if crashed => Err("the neighbour crashed".into()),
            Some(word) => Err(format!("the neighbour has ended: {word:?}")),
            None if self == Self::Hostile && !said.contains("random: ") => Err("nobody attacked".into()),
            None => Ok(()),
        }
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
        let beside = |line: &str| ended(console("[rt] ") + line);
        assert!(Surrounding::Busy.read(&beside("")).is_ok());
        assert!(Surrounding::Busy.read(&beside("[neighbour] result: verdict ok\r\n")).is_err());
        assert!(Surrounding::Hostile.read(&beside("[neighbour] random: seed=0x1\r\n")).is_ok());
        assert!(Surrounding::Hostile.read(&beside("")).is_err());
        assert!(Surrounding::Hostile.read(&beside("pvops: domain 'neighbour' crashed: x\r\n")).is_err());
        assert!(Surrounding::Alone.read(&ended(String::new())).is_err());
    }
}
