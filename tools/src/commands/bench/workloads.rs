//! Whole workloads: the demo kernel's user programs on the bare machine, in one domain, and in two and four domains that
//! contend for one CPU.
//!
//! A workload's time is from when it was due to when its last program ended, in the last domain; with one CPU whose clock
//! is its instructions, that is the instructions of everything, switches and idle time included. N domains do N times the
//! work, so their overhead is against N times the bare machine's time.

use serde::{Deserialize, Serialize};

use super::machines::{Clock, Ended, Programs, broken, domain};
use super::runs::lines;
use crate::disk_image::{Contents, End};
use crate::failure::Failure;
use crate::results;

const MEMORY_MIB: u64 = 64;
const PRIORITY: u8 = 16;
/// Names of domains.
const DOMAINS: [&str; 4] = ["a", "b", "c", "d"];
/// How many domains contend, in each setting after the bare machine.
pub const CROWDS: [usize; 3] = [1, 2, 4];

/// The workloads, as the guest calls them and for people.
pub const WORKLOADS: [(&str, &str); 9] = [
    ("compute", "computing"),
    ("system_calls", "system calls"),
    ("context_switches", "context switches, 8 processes"),
    ("page_faults", "page faults on new memory"),
    ("fork", "fork and copy on write"),
    ("address_spaces", "64 address spaces in turn"),
    ("messages", "messages through a pipe"),
    ("timer", "timers beside computing"),
    ("console", "console output"),
];

/// Where workloads run: 0 domains are the bare machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Crowd(pub usize);

/// What came of a workload.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Row {
    /// `workload.` and the guest's name.
    pub name: String,
    /// For people.
    pub title: String,
    /// Nanoseconds, or instructions, on the bare machine.
    pub native: u64,
    /// The same for each of [`CROWDS`].
    pub guests: Vec<u64>,
    /// Overhead in percent for each of [`CROWDS`].
    pub overhead: Vec<f64>,
}

/// A line of the guest.
struct Timed {
    name: String,
    due: u64,
    ended: u64,
}

impl Crowd {
    /// All of them.
    pub fn all() -> impl Iterator<Item = Self> {
        std::iter::once(Self(0)).chain(CROWDS.map(Self))
    }

    /// What to boot for workloads whose names contain `only`.
    pub fn contents(self, programs: &Programs, only: &str, clock: Clock) -> Result<Contents, Failure> {
        // By this computer's clock, a slot must do for a slow one.
        let (start_ms, slot_ms) = if clock == Clock::Wall { (5000, 5000) } else { (1000, 1000) };
        let cmdline = format!("run=workloads only={only} start_ms={start_ms} slot_ms={slot_ms}");
        if self.0 == 0 {
            return Ok(Contents::native(programs.demo.clone(), &cmdline, End::DebugExit));
        }
        let domains = DOMAINS[..self.0].iter();
        let domains = domains.map(|name| domain(name, &programs.demo, &cmdline, MEMORY_MIB, PRIORITY));
        programs.with_domains(domains.collect())
    }

    /// The time of each workload, by name.
    fn times(self, ended: &Ended) -> Result<Vec<(String, u64)>, Failure> {
        let consoles: Vec<String> = match self.0 {
            0 | 1 => vec![ended.console.clone()],
            count => DOMAINS[..count].iter().map(|name| results::lines_of(&ended.console, name)).collect(),
        };
        let mut times: Vec<(String, u64)> = Vec::new();
        for console in consoles {
            let timed = lines(&console, "workload: ", timed)
                .map_err(|line| broken(format!("{} domains: {line}", self.0)))?;
            for Timed { name, due, ended } in timed {
                let time = ended - due;
                match times.iter_mut().find(|(known, _)| *known == name) {
                    Some((_, most)) => *most = time.max(*most),
                    None => times.push((name, time)),
                }
            }
        }
        Ok(times)
    }
}

/// `NAME DUE BEGAN ENDED`.
fn timed(line: &str) -> Option<Timed> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let [name, due, began, ended] = words.as_slice() else { return None };
    let [due, began, ended] = [due, began, ended].map(|number| number.parse::<u64>().ok());
    let (due, ended) = (due?, ended?);
    (due <= began? && began? <= ended).then(|| Timed { name: (*name).to_owned(), due, ended })
}

/// The name by which a workload is selected.
pub fn full_name(name: &str) -> String {
    format!("workload.{name}")
}

/// Puts together what the machines left behind; their order is that of [`Crowd::all`].
pub fn rows(ended: &[Ended], only: &str) -> Result<Vec<Row>, Failure> {
    let times: Vec<_> =
        Crowd::all().zip(ended).map(|(crowd, ended)| crowd.times(ended)).collect::<Result<_, _>>()?;
    let selected = WORKLOADS.iter().filter(|(name, _)| name.contains(only));
    selected
        .map(|(name, title)| {
            let of = |times: &Vec<(String, u64)>| {
                let found = times.iter().find(|(known, _)| known == name).map(|(_, time)| *time);
                found.ok_or_else(|| broken(format!("workload {name} was not done everywhere")))
            };
            let [native, guests @ ..] = times.as_slice() else { return Err(broken("no machine ran")) };
            let native = of(native)?;
            let guests: Vec<u64> = guests.iter().map(of).collect::<Result<_, _>>()?;
            let overhead =
                guests.iter().zip(CROWDS).map(|(time, count)| percent(*time, native * count as u64));
            Ok(Row {
                name: full_name(name),
                title: (*title).to_owned(),
                native,
                overhead: overhead.collect(),
                guests,
            })
        })
        .collect()
}

/// How many percent `time` is more than `base`, with one decimal.
fn percent(time: u64, base: u64) -> f64 {
    ((time as f64 / base as f64 - 1.0) * 1000.0).round() / 10.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn ended(console: &str) -> Ended {
        Ended { console: console.into(), sequences: BTreeMap::new() }
    }

    #[test]
    fn the_last_domain_counts() {
        let alone = ended("workload: fork 100 110 200\r\n");
        let two = ended("[a] workload: fork 100 110 400\r\n[b] workload: fork 100 150 420\r\n");
        let four: String =
            DOMAINS.iter().map(|name| format!("[{name}] workload: fork 100 100 500\n")).collect();
        let rows = rows(&[ended("workload: fork 100 100 200"), alone, two, ended(&four)], "fork").unwrap();
        assert_eq!((rows[0].native, rows[0].guests.as_slice()), (100, [100, 320, 400].as_slice()));
        assert_eq!(rows[0].overhead, [0.0, 60.0, 0.0]);
    }

    #[test]
    fn what_failed_or_is_missing_is_told() {
        let good = || ended("workload: fork 100 100 200");
        assert!(rows(&[good(), good(), ended(""), ended("")], "fork").is_err());
        let failed = "workload: fork 100 100 200\nworkload: fork failed, statuses [ff], in time: true\n";
        assert!(rows(&[ended(failed), good(), good(), good()], "fork").is_err());
        assert!(timed("fork 100 90 200").is_none(), "begun before it was due");
    }
}
