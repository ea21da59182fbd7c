//! Whether a file is what viewers of Chrome's trace format want. Reads the JSON and knows nothing of who wrote it.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::super::case::ensure;
use crate::failure::{Failure, Kind};

/// Process and thread.
type Track = (u64, u64);

/// A file that is well-formed.
pub struct Structure {
    events: Vec<Event>,
    tracks: BTreeMap<Track, (String, String)>,
}

struct Event {
    name: String,
    category: String,
    phase: String,
    begin_ns: u64,
    /// Of a span, when it is known.
    end_ns: u64,
    track: Track,
    id: Option<u64>,
    arguments: Value,
}

fn malformed(message: impl std::fmt::Display) -> Failure {
    Failure::new(Kind::CheckFailed, message.to_string())
}

/// Nanoseconds of a number of microseconds, which must have no smaller part.
fn nanoseconds(value: &Value) -> Option<u64> {
    let ns = value.as_f64()? * 1000.0;
    (ns >= 0.0 && (ns - ns.round()).abs() < 1e-3 * (1.0 + ns * 1e-9)).then_some(ns.round() as u64)
}

impl Event {
    fn read(value: &Value) -> Option<Self> {
        Some(Self {
            name: value["name"].as_str().filter(|name| !name.is_empty())?.into(),
            category: value["cat"].as_str()?.into(),
            phase: value["ph"].as_str()?.into(),
            begin_ns: nanoseconds(&value["ts"])?,
            end_ns: nanoseconds(&value["ts"])?,
            track: (value["pid"].as_u64()?, value["tid"].as_u64()?),
            id: value["id"].as_u64(),
            arguments: value["args"].clone(),
        })
    }

    /// Whether it has what its phase asks for.
    fn is_complete(&self, value: &Value) -> bool {
        match self.phase.as_str() {
            "M" | "B" => self.arguments.is_object(),
            "E" => true,
            "i" => value["s"] == "t",
            "s" | "f" => self.id.is_some() && value["bp"] == "e",
            _ => false,
        }
    }
}

impl Structure {
    /// Reads and checks everything that every file must keep.
    pub fn check(json: &str) -> Result<Self, Failure> {
        let file: Value = serde_json::from_str(json).map_err(malformed)?;
        let list = file["traceEvents"].as_array().ok_or_else(|| malformed("no list of events"))?;
        ensure(file["displayTimeUnit"] == "ns", "no unit of time")?;
        let mut events = Vec::new();
        for value in list {
            let event = Event::read(value).filter(|event| event.is_complete(value));
            events.push(event.ok_or_else(|| malformed(format_args!("not an event: {value}")))?);
        }
        let (metadata, events): (Vec<_>, Vec<_>) = events.into_iter().partition(|event| event.phase == "M");
        let mut structure = Self { tracks: names(&metadata, &events)?, events };
        ensure(!structure.events.is_empty(), "no events")?;
        structure.times_go_forward()?;
        structure.close_spans()?;
        structure.flows_have_ends()?;
        structure.runs_are_on_both_tracks()?;
        Ok(structure)
    }

    fn times_go_forward(&self) -> Result<(), Failure> {
        let mut last: BTreeMap<Track, u64> = BTreeMap::new();
        for event in &self.events {
            let before = last.insert(event.track, event.begin_ns).unwrap_or(0);
            ensure(
                before <= event.begin_ns,
                format_args!("{:?} goes back at {}", event.track, event.begin_ns),
            )?;
        }
        Ok(())
    }

    /// On a track, each end is that of the span that began last: what overlaps, nests.
    fn close_spans(&mut self) -> Result<(), Failure> {
        let mut open: BTreeMap<Track, Vec<usize>> = BTreeMap::new();
        for at in 0..self.events.len() {
            let Event { name, phase, begin_ns, track, .. } = &self.events[at];
            let (end_ns, open) = (*begin_ns, open.entry(*track).or_default());
            match phase.as_str() {
                "B" => open.push(at),
                "E" => {
                    let begin = open.pop().filter(|begin| self.events[*begin].name == *name);
                    let begin = begin
                        .ok_or_else(|| malformed(format_args!("{name} ends at {end_ns} ns too early")))?;
                    self.events[begin].end_ns = end_ns;
                }
                _ => {}
            }
        }
        ensure(open.values().all(Vec::is_empty), "a span does not end")
    }

    /// Each flow has a beginning and a later end, both within spans.
    fn flows_have_ends(&self) -> Result<(), Failure> {
        let mut ends: BTreeMap<u64, Vec<&Event>> = BTreeMap::new();
        for event in self.events.iter().filter(|event| event.id.is_some()) {
            ends.entry(event.id.unwrap_or_default()).or_default().push(event);
        }
        for (id, mut pair) in ends {
            pair.sort_by_key(|event| event.begin_ns);
            let phases: Vec<_> = pair.iter().map(|event| event.phase.as_str()).collect();
            ensure(phases == ["s", "f"], format_args!("flow {id} has the phases {phases:?}"))?;
            for event in pair {
                ensure(self.is_within_a_span(event), format_args!("flow {id} ends outside of spans"))?;
            }
        }
        Ok(())
    }

    fn is_within_a_span(&self, inner: &Event) -> bool {
        let contains = |span: &Event| (span.begin_ns..=span.end_ns).contains(&inner.begin_ns);
        let mut spans = self.events.iter().filter(|event| event.phase == "B" && event.track == inner.track);
        spans.any(contains)
    }

    /// What a vCPU's track says of its CPU, that CPU's says of the vCPU.
    fn runs_are_on_both_tracks(&self) -> Result<(), Failure> {
        let of = |is_cpu: bool| -> BTreeSet<(u64, u64, String)> {
            let runs = self.events.iter().filter(|event| event.category == "run");
            let runs = runs.filter(|event| (self.tracks[&event.track].0 == "CPUs") == is_cpu);
            runs.map(|event| (event.begin_ns, event.end_ns, event.arguments.to_string())).collect()
        };
        ensure(of(true) == of(false) && !of(true).is_empty(), "runs of CPUs and vCPUs differ")
    }

    fn is_of(&self, event: &Event, process: &str) -> bool {
        self.tracks[&event.track].0 == process
    }

    /// An error unless there is this thread.
    pub fn expect_track(&self, process: &str, thread: &str) -> Result<(), Failure> {
        let is_it = |names: &(String, String)| names.0 == process && names.1 == thread;
        ensure(self.tracks.values().any(is_it), format_args!("no track {thread:?} of {process:?}"))
    }

    /// The names of the spans of a category, in order.
    pub fn spans(&self, process: &str, thread: &str, category: &str) -> Vec<&str> {
        let is_it = |event: &&Event| {
            let (of_process, of_thread) = &self.tracks[&event.track];
            event.phase == "B" && event.category == category && of_process == process && of_thread == thread
        };
        self.events.iter().filter(is_it).map(|event| event.name.as_str()).collect()
    }

    /// How many events of a process have this name.
    pub fn count(&self, process: &str, name: &str) -> u64 {
        let is_it = |event: &&Event| event.name == name && event.phase != "E" && self.is_of(event, process);
        self.events.iter().filter(is_it).count() as u64
    }

    /// How often a port that is bound to this became pending.
    pub fn count_bound_to(&self, process: &str, source: &str) -> u64 {
        let is_it = |event: &&Event| event.arguments["bound to"] == source && self.is_of(event, process);
        self.events.iter().filter(is_it).count() as u64
    }

    /// How many flows there are.
    pub fn flows(&self) -> u64 {
        self.events.iter().filter(|event| event.phase == "s").count() as u64
    }
}

/// The names of all tracks that have events; each must have one for its process and one for itself.
fn names(metadata: &[Event], events: &[Event]) -> Result<BTreeMap<Track, (String, String)>, Failure> {
    let mut processes = BTreeMap::new();
    let mut threads = BTreeMap::new();
    for event in metadata {
        let name = event.arguments["name"].as_str().map(str::to_owned);
        match (event.name.as_str(), name) {
            ("process_name", Some(name)) => _ = processes.insert(event.track.0, name),
            ("thread_name", Some(name)) => _ = threads.insert(event.track, name),
            ("process_sort_index" | "thread_sort_index", None) => {}
            (other, _) => return Err(malformed(format_args!("metadata {other:?}"))),
        }
    }
    let mut tracks = BTreeMap::new();
    for event in events {
        let names = processes.get(&event.track.0).cloned().zip(threads.get(&event.track).cloned());
        tracks.insert(
            event.track,
            names.ok_or_else(|| malformed(format_args!("{:?} has no name", event.track)))?,
        );
    }
    Ok(tracks)
}

#[cfg(test)]
mod tests {
    use super::*;

    const METADATA: &str = r#"{"name":"process_name","cat":"m","ph":"M","ts":0,"pid":1,"tid":0,"args":{"name":"CPUs"}},
        {"name":"thread_name","cat":"m","ph":"M","ts":0,"pid":1,"tid":1,"args":{"name":"CPU 0"}},
        {"name":"process_name","cat":"m","ph":"M","ts":0,"pid":10,"tid":0,"args":{"name":"domain a"}},
        {"name":"thread_name","cat":"m","ph":"M","ts":0,"pid":10,"tid":1,"args":{"name":"vCPU 0"}}"#;

    /// A file of runs on both tracks, from 1 to 10 µs, that of the vCPU around these events.
    fn check(events: &str) -> Result<Structure, Failure> {
        let begin = r#""name":"a","cat":"run","ph":"B","ts":1,"tid":1,"args":{"cpu":0}"#;
        let end = r#""name":"a","cat":"end","ph":"E","ts":10,"tid":1"#;
        let comma = if events.is_empty() { "" } else { "," };
        Structure::check(&format!(
            r#"{{"displayTimeUnit":"ns","traceEvents":[{METADATA},{{{begin},"pid":1}},{{{end},"pid":1}},
            {{{begin},"pid":10}},{events}{comma}{{{end},"pid":10}}]}}"#
        ))
    }

    fn half(ph: &str, name: &str, time: f64) -> String {
        format!(r#"{{"name":"{name}","cat":"c","ph":"{ph}","ts":{time},"pid":10,"tid":1,"args":{{}}}}"#)
    }

    fn span(begin: f64, end: f64) -> String {
        [half("B", "x", begin), half("E", "x", end)].join(",")
    }

    #[test]
    fn a_good_file_is_counted() {
        let structure = check(&[span(2.5, 3.75), span(3.75, 3.75)].join(",")).unwrap();
        assert_eq!(structure.count("domain a", "x"), 2);
        assert_eq!(structure.spans("CPUs", "CPU 0", "run"), ["a"]);
        assert!(structure.expect_track("CPUs", "CPU 0").is_ok());
        assert!(structure.expect_track("CPUs", "CPU 1").is_err());
    }

    #[test]
    fn each_rule_can_be_broken() {
        let refused = |events: &[String]| {
            check(&events.join(",")).err().map(|failure| failure.to_string()).unwrap_or_default()
        };
        assert!(refused(&[half("B", "x", 2.0)]).contains("a ends at 10000 ns too early"));
        assert!(refused(&[half("E", "x", 2.0)]).contains("x ends"));
        assert!(refused(&[half("E", "a", 2.0)]).contains("a ends at 10000 ns too early"));
        let crossing = [half("B", "x", 2.0), half("B", "y", 3.0), half("E", "x", 4.0), half("E", "y", 5.0)];
        assert!(refused(&crossing).contains("x ends"));
        assert!(refused(&[span(5.0, 6.0), span(3.0, 4.0)]).contains("goes back"));
        assert!(refused(&[span(5.0, 4.0)]).contains("goes back"));
        assert!(refused(&[span(-1.0, 1.0)]).contains("not an event"));
        assert!(refused(&[span(1.00005, 2.0)]).contains("not an event"), "less than a nanosecond");
        assert!(refused(&[half("X", "x", 2.0)]).contains("not an event"));
        assert!(refused(&[span(2.0, 3.0).replace(r#""tid":1"#, r#""tid":2"#)]).contains("has no name"));
        let flow = |ph: &str, ts: f64| {
            format!(r#"{{"name":"d","cat":"d","ph":"{ph}","ts":{ts},"pid":10,"tid":1,"id":1,"bp":"e"}}"#)
        };
        assert_eq!(refused(&[flow("s", 2.0), flow("f", 3.0)]), "");
        assert!(refused(&[flow("s", 2.0)]).contains("phases"));
        assert!(refused(&[flow("f", 2.0), flow("s", 3.0)]).contains("phases"));
        assert!(refused(&[flow("s", 0.5), flow("f", 0.7)]).contains("goes back"));
        let run = span(2.0, 3.0).replace(r#""cat":"c""#, r#""cat":"run""#);
        assert!(refused(&[run]).contains("runs of CPUs"));
        assert!(Structure::check("{}").is_err() && Structure::check("nonsense").is_err());
    }
}
