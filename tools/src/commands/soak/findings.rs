//! What a long run showed: counted from the console's lines while they come, for a run may be longer than its console
//! should be kept.

use std::collections::VecDeque;
use std::fmt::Write;
use std::time::{Duration, Instant};

use super::Clock;
use crate::commands::test::hostile::DEFECTS;
use crate::outcome::Outcome;

/// Lines kept of those that must not be.
const MOST_LINES: usize = 10;
/// A domain that says nothing for so long makes no progress. Counted emulation of eight domains takes its time.
const LONGEST_SILENCE: Duration = Duration::from_secs(90);
/// A line tells of a second, and comes a little later.
const LOOKED_BACK: Duration = Duration::from_millis(2500);

/// A real-time guest.
#[derive(Clone, Debug, Default, PartialEq)]
struct RealTime {
    /// Seconds of its own time.
    seconds: u64,
    missed: u64,
    /// Of these, missed while the machine waited for the host.
    excused: u64,
    /// Microseconds, as printed.
    most_latency: String,
    memory: String,
}

/// A hostile guest.
#[derive(Clone, Debug, Default)]
struct Hostile {
    calls: u64,
    /// Calls of the present start.
    since_start: u64,
    starts: u64,
    last_sign: Option<Instant>,
}

/// See the module.
#[derive(Debug)]
pub struct Findings {
    clock: Clock,
    began: Instant,
    realtime: [RealTime; 2],
    hostile: Vec<Hostile>,
    /// How long the machine had waited for the host at some instants.
    waited: VecDeque<(Instant, Duration)>,
    /// What must not be on any console.
    wrong: Vec<String>,
}

impl Findings {
    /// Nothing yet.
    pub fn new(clock: Clock, hostile: usize) -> Self {
        Self {
            clock,
            began: Instant::now(),
            realtime: Default::default(),
            hostile: vec![Hostile::default(); hostile],
            waited: VecDeque::new(),
            wrong: Vec::new(),
        }
    }

    /// Adds whole lines. `waited`: how long the machine has waited for CPUs of the host.
    pub fn add(&mut self, lines: &str, waited: Option<Duration>) {
        let now = Instant::now();
        self.waited.extend(waited.map(|waited| (now, waited)));
        while self.waited.front().is_some_and(|(at, _)| now.duration_since(*at) > LOOKED_BACK) {
            self.waited.pop_front();
        }
        for line in lines.lines() {
            self.add_line(line.trim_end(), now);
        }
    }

    fn add_line(&mut self, line: &str, now: Instant) {
        if is_wrong(line) && self.wrong.len() < MOST_LINES {
            self.wrong.push(line.to_owned());
        }
        let Some((domain, text)) = line.strip_prefix('[').and_then(|line| line.split_once("] ")) else {
            return;
        };
        if let Some(number) = domain.strip_prefix("rt-").and_then(|number| number.parse::<usize>().ok()) {
            self.add_summary(number, text);
        }
        if let Some(number) = domain.strip_prefix("hostile-").and_then(|number| number.parse::<usize>().ok())
        {
            let Some(hostile) = self.hostile.get_mut(number) else { return };
            if text.starts_with("random: seed=") {
                hostile.starts += 1;
                hostile.since_start = 0;
                hostile.last_sign = Some(now);
            }
            let made = text.strip_prefix("random: ").and_then(|text| text.strip_suffix(" calls made"));
            if let Some(made) = made.and_then(|made| made.parse::<u64>().ok()) {
                hostile.calls += made.saturating_sub(hostile.since_start);
                hostile.since_start = made;
                hostile.last_sign = Some(now);
            }
        }
    }

    fn add_summary(&mut self, number: usize, text: &str) {
        let (Some(summary), Some(guest)) = (parse_summary(text), self.realtime.get(number)) else { return };
        let new = summary.missed.saturating_sub(guest.missed);
        let excused = guest.excused + if self.host_was_late() { new } else { 0 };
        self.realtime[number] = RealTime { excused, ..summary };
    }

    /// Whether the machine waited for the host so long lately that a deadline could not be kept.
    fn host_was_late(&self) -> bool {
        let (Some((_, first)), Some((_, last))) = (self.waited.front(), self.waited.back()) else {
            return false;
        };
        self.clock == Clock::Host && last.saturating_sub(*first) >= self.clock.period() / 2
    }

    /// The machine ended by itself.
    pub fn ended(&mut self, outcome: &Outcome) {
        self.wrong.push(format!("the machine ended: {outcome}"));
    }

    /// Seconds that both real-time guests have seen.
    pub fn seconds(&self) -> u64 {
        self.realtime.iter().map(|guest| guest.seconds).min().unwrap_or(0)
    }

    /// Whether every hostile guest made calls and began anew.
    pub fn all_began_anew(&self) -> bool {
        self.hostile.iter().all(|hostile| hostile.calls > 0 && hostile.starts > 1)
    }

    /// How it goes, in a line.
    pub fn line(&self) -> String {
        let calls: u64 = self.hostile.iter().map(|hostile| hostile.calls).sum();
        let missed: u64 = self.realtime.iter().map(|guest| guest.missed).sum();
        format!(
            "{} min: {calls} calls, {} starts, {missed} deadlines missed",
            self.began.elapsed().as_secs() / 60,
            self.hostile.iter().map(|hostile| hostile.starts).sum::<u64>()
        )
    }

    /// All of it, a row per domain.
    pub fn table(&self) -> String {
        let mut text = String::from("domain            calls   restarts\n");
        for (number, hostile) in self.hostile.iter().enumerate() {
            let restarts = hostile.starts.saturating_sub(1);
            _ = writeln!(text, "hostile-{number}   {:>12}   {restarts:>8}", hostile.calls);
        }
        text.push_str("domain      deadlines     missed   by the host   latency up to   memory\n");
        for (number, guest) in self.realtime.iter().enumerate() {
            let RealTime { seconds, missed, excused, most_latency, memory } = guest;
            let deadlines = u128::from(*seconds) * 1_000_000 / self.clock.period().as_micros();
            _ = writeln!(
                text,
                "rt-{number}     {deadlines:>12}   {missed:>8}   {excused:>11}   {most_latency:>10} us   {memory}"
            );
        }
        text
    }

    /// What must not be, but for deadlines.
    pub fn problems_without_time(&self) -> Vec<String> {
        let mut problems = self.wrong.clone();
        for (number, guest) in self.realtime.iter().enumerate() {
            if guest.seconds == 0 {
                problems.push(format!("rt-{number} made no progress"));
            } else if guest.memory != "ok" {
                problems.push(format!("memory of rt-{number}: {}", guest.memory));
            }
        }
        for (number, hostile) in self.hostile.iter().enumerate() {
            let is_silent = hostile.last_sign.is_none_or(|sign| sign.elapsed() > LONGEST_SILENCE);
            if hostile.calls == 0 || is_silent {
                problems.push(format!("hostile-{number} made no progress"));
            }
        }
        problems
    }

    /// Everything that must not be.
    pub fn problems(&self) -> Vec<String> {
        let mut problems = self.problems_without_time();
        for (number, guest) in self.realtime.iter().enumerate() {
            let missed = guest.missed - guest.excused;
            if missed > 0 {
                problems.push(format!("rt-{number} missed {missed} deadlines"));
            }
        }
        problems
    }
}

/// Whether a line tells of a hypervisor or a guest that is broken.
fn is_wrong(line: &str) -> bool {
    let signs = ["] wrong: ", "] attack: broken", " failed, ", "] result: verdict", "memory CHANGED"];
    DEFECTS.iter().chain(&signs).any(|sign| line.contains(sign))
}

/// `rt 12 s: 0 missed; latency us min 5.0 p50 5.1 p99 6.0 max 7.9, now 5.2; gap 1000.3; memory ok`
fn parse_summary(text: &str) -> Option<RealTime> {
    let (seconds, rest) = text.strip_prefix("rt ")?.split_once(" s: ")?;
    let (missed, rest) = rest.split_once(" missed; ")?;
    let (_, latency) = rest.split_once(" max ")?;
    let (most_latency, rest) = latency.split_once(',')?;
    let (_, memory) = rest.split_once("; memory ")?;
    Some(RealTime {
        seconds: seconds.parse().ok()?,
        missed: missed.parse().ok()?,
        excused: 0,
        most_latency: most_latency.to_owned(),
        memory: memory.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SUMMARY: &str =
        "[rt-1] rt 12 s: 3 missed; latency us min 5.0 p50 5.1 p99 6.0 max 7.9, now 5.2; gap 1.3; memory ok\n";
    const CALLS: &str = "[hostile-0] random: seed=0x1 count=9\n[hostile-0] random: 10000 calls made\n";

    fn after(clock: Clock, lines: &str, waited_ms: [u64; 2]) -> Findings {
        let mut findings = Findings::new(clock, 1);
        findings.add("", Some(Duration::from_millis(waited_ms[0])));
        findings.add(lines, Some(Duration::from_millis(waited_ms[1])));
        findings
    }

    #[test]
    fn calls_and_starts_are_added_up() {
        let lines =
            CALLS.repeat(3) + "[hostile-0] random: 20000 calls made\n[hostile-7] random: 1 calls made\n";
        let findings = after(Clock::Host, &lines, [0, 0]);
        assert_eq!((findings.hostile[0].calls, findings.hostile[0].starts), (40_000, 3));
        assert!(findings.all_began_anew());
    }

    #[test]
    fn a_miss_is_the_hosts_only_if_the_machine_waited_for_it() {
        let missed = |clock, waited| {
            after(clock, SUMMARY, waited).problems().iter().any(|text| text.contains("missed 3"))
        };
        assert!(missed(Clock::Host, [1000, 1001]));
        assert!(!missed(Clock::Host, [1000, 1100]));
        assert!(missed(Clock::Instructions, [1000, 1100]));
    }

    #[test]
    fn silence_damage_and_defects_are_problems() {
        let both =
            SUMMARY.replace("3 missed", "0 missed") + &SUMMARY.replace("rt-1", "rt-0").replace("3 m", "0 m");
        assert_eq!(after(Clock::Host, &(both.clone() + CALLS), [0, 0]).problems(), [""; 0]);
        assert_eq!(after(Clock::Host, &both, [0, 0]).problems(), ["hostile-0 made no progress"]);
        for line in ["pvops: hypervisor panic", "[hostile-0] wrong: this", "[rt-0] rt 3 s: memory CHANGED"] {
            let findings = after(Clock::Host, &format!("{both}{CALLS}{line}\n"), [0, 0]);
            assert_eq!(findings.problems(), [line]);
        }
    }
}
