//! The trace in the format of Chrome's tracing ("Trace Event Format"), which ui.perfetto.dev opens.
//!
//! A process "CPUs" has a thread for each physical CPU; each domain is a process with a thread for each vCPU. Spans go from a
//! `B` to an `E`, instants are `i`, doorbells a flow from `s` to `f`. Times are microseconds with three decimals: nanoseconds of
//! the hypervisor's clock. Complete events (`X`) would be shorter, but a reader that adds begin and length as floating-point
//! numbers has spans overlap that follow each other.

use std::cmp::Reverse;
use std::collections::BTreeSet;

use serde::Serialize;
use serde_json::{Map, Value, json};
use trace_records::Kind;

use super::names;
use super::timeline::{Cause, Instant, Span, Timeline, Track, What};

/// The process whose threads are physical CPUs.
pub const CPUS: u32 = 1;
/// The process of domain 0; the others follow.
pub const FIRST_DOMAIN: u32 = 10;

/// The file.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct File {
    display_time_unit: &'static str,
    trace_events: Vec<Event>,
    other_data: Map<String, Value>,
}

/// One event of it.
#[derive(Serialize)]
struct Event {
    name: String,
    cat: &'static str,
    ph: &'static str,
    ts: f64,
    pid: u32,
    tid: u32,
    /// What only some have.
    #[serde(flatten)]
    more: Map<String, Value>,
}

fn microseconds(ns: u64) -> f64 {
    ns as f64 / 1000.0
}

fn place(track: Track) -> (u32, u32) {
    match track {
        Track::Cpu(cpu) => (CPUS, cpu as u32 + 1),
        Track::Vcpu((domain, vcpu)) => (FIRST_DOMAIN + u32::from(domain), u32::from(vcpu) + 1),
    }
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}

impl File {
    /// The file; `domains` are the names, `about` what else is to be known.
    pub fn new(timeline: &Timeline, domains: &[String], about: Map<String, Value>) -> Self {
        let mut events = of_spans(&timeline.spans, domains);
        events.extend(timeline.instants.iter().map(|instant| of_instant(instant, domains)));
        for (id, ring) in (1..).zip(&timeline.rings) {
            for (ph, (track, time_ns)) in [("s", ring.from), ("f", ring.to)] {
                let more = object(json!({ "id": id, "bp": "e" }));
                events.push(event("doorbell".into(), "doorbell", ph, track, time_ns, more));
            }
        }
        // Stable: begins and ends at the same time stay in their order, and what happens then comes after them.
        events.sort_by(|a, b| (a.pid, a.tid).cmp(&(b.pid, b.tid)).then(a.ts.total_cmp(&b.ts)));
        let tracks: BTreeSet<(u32, u32)> = events.iter().map(|event| (event.pid, event.tid)).collect();
        let mut all = metadata(&tracks, domains);
        all.extend(events);
        Self { display_time_unit: "ns", trace_events: all, other_data: about }
    }
}

fn event(
    name: String,
    cat: &'static str,
    ph: &'static str,
    track: Track,
    time_ns: u64,
    more: Map<String, Value>,
) -> Event {
    let (pid, tid) = place(track);
    Event { name, cat, ph, ts: microseconds(time_ns), pid, tid, more }
}

/// Names of processes and threads, and their order.
fn metadata(tracks: &BTreeSet<(u32, u32)>, domains: &[String]) -> Vec<Event> {
    let meta = |name: &str, pid, tid, arguments: Value| Event {
        name: name.into(),
        cat: "__metadata",
        ph: "M",
        ts: 0.0,
        pid,
        tid,
        more: object(json!({ "args": arguments })),
    };
    let mut events = Vec::new();
    let processes: BTreeSet<u32> = tracks.iter().map(|(pid, _)| *pid).collect();
    for pid in processes {
        let name = match pid.checked_sub(FIRST_DOMAIN) {
            None => "CPUs".into(),
            Some(domain) => format!("domain {}", name_of(domain as u16, domains)),
        };
        events.push(meta("process_name", pid, 0, json!({ "name": name })));
        events.push(meta("process_sort_index", pid, 0, json!({ "sort_index": pid })));
    }
    for &(pid, tid) in tracks {
        let kind = if pid == CPUS { "CPU" } else { "vCPU" };
        events.push(meta("thread_name", pid, tid, json!({ "name": format!("{kind} {}", tid - 1) })));
        events.push(meta("thread_sort_index", pid, tid, json!({ "sort_index": tid })));
    }
    events
}

/// The name of a domain.
pub fn name_of(domain: u16, domains: &[String]) -> String {
    domains.get(usize::from(domain)).cloned().unwrap_or_else(|| domain.to_string())
}

fn hex(number: u64) -> String {
    format!("{number:#x}")
}

/// The begins and ends of spans, such that those on a track close in the opposite order.
fn of_spans(spans: &[Span], domains: &[String]) -> Vec<Event> {
    // Inner spans end first, so of two that are alike the later one is around the other.
    let mut order: Vec<&Span> = spans.iter().rev().collect();
    order.sort_by_key(|span| (span.track, span.begin_ns, Reverse(span.end_ns)));
    let mut events = Vec::new();
    let mut open: Vec<(&Span, String)> = Vec::new();
    let close = |(span, name): (&Span, String)| event(name, "end", "E", span.track, span.end_ns, Map::new());
    for span in order {
        let is_over = |(outer, _): &mut (&Span, String)| {
            outer.track != span.track || (outer.end_ns <= span.begin_ns && outer.begin_ns < span.begin_ns)
        };
        while let Some(over) = open.pop_if(is_over) {
            events.push(close(over));
        }
        let begin = of_span(span, domains);
        open.push((span, begin.name.clone()));
        events.push(begin);
    }
    events.extend(open.into_iter().rev().map(close));
    events
}

fn of_span(span: &Span, domains: &[String]) -> Event {
    let (name, cat, arguments) = match span.what {
        What::Run { cpu, vcpu: (domain, vcpu) } => {
            let name = match span.track {
                Track::Cpu(_) => name_of(domain, domains),
                Track::Vcpu(_) => format!("on CPU {cpu}"),
            };
            (name, "run", json!({ "cpu": cpu, "domain": domain, "vcpu": vcpu }))
        }
        What::Kernel(_) => ("kernel".into(), "guest", json!({})),
        What::Program(_) => ("program".into(), "guest", json!({})),
        What::Idle => ("idle".into(), "idle", json!({})),
        What::Visit(cause) => of_visit(cause),
    };
    let more = object(json!({ "args": arguments }));
    event(name, cat, "B", span.track, span.begin_ns, more)
}

fn of_visit(cause: Cause) -> (String, &'static str, Value) {
    match cause {
        Cause::Call { id, first, status } => {
            let mut arguments = object(json!({ "id": hex(id), "first": hex(first) }));
            if let Some(status) = status.filter(|_| id != pvops_abi::call::Cpu::Iret.id().0) {
                arguments.insert("status".into(), json!(status as i64));
            }
            (names::call(id), "call", arguments.into())
        }
        Cause::SystemCall { number, address } => {
            ("system call".into(), "system call", json!({ "rax": hex(number), "rip": hex(address) }))
        }
        Cause::Exception { vector, error, address } => {
            (names::exception(vector), "exception", json!({ "error": hex(error), "address": hex(address) }))
        }
        Cause::Interrupt(vector) => (names::interrupt(vector), "interrupt", json!({ "vector": hex(vector) })),
        Cause::Switch => ("switch".into(), "switch", json!({})),
    }
}

fn of_instant(instant: &Instant, domains: &[String]) -> Event {
    let entry = &instant.entry;
    let (first, second) = (entry.first, entry.second);
    let (name, cat, arguments) = match entry.kind {
        Kind::BatchedCall => {
            (names::call(first), "batched call", json!({ "id": hex(first), "first": hex(second) }))
        }
        Kind::HiddenFault => ("hidden fault".into(), "hidden fault", json!({ "address": hex(first) })),
        Kind::Trap => {
            let (vector, error) = (first & 0xffff_ffff, first >> 32);
            let name = format!("{} injected", names::exception(vector));
            (name, "trap", json!({ "vector": vector, "error": hex(error), "address": hex(second) }))
        }
        Kind::Upcall => ("event upcall".into(), "event", json!({})),
        Kind::Port => (
            format!("port {first} pending"),
            "event",
            json!({ "port": first, "bound to": names::port(second) }),
        ),
        Kind::Doorbell => {
            let name = format!("rings {}", name_of(first as u16, domains));
            (name, "event", json!({ "domain": first, "channel": second }))
        }
        Kind::TimerSet if first == u64::MAX => ("timer off".into(), "timer", json!({})),
        Kind::TimerSet => ("timer set".into(), "timer", json!({ "at_us": microseconds(first) })),
        Kind::Deadline => ("deadline".into(), "timer", json!({ "deadline_us": microseconds(second) })),
        Kind::Crash => ("crash".into(), "end", json!({ "address": hex(first) })),
        Kind::Stop => ("stop".into(), "end", json!({ "status": first })),
        Kind::Interrupt => (names::interrupt(first), "interrupt", json!({ "vector": hex(first) })),
        // Spans are made of these.
        Kind::Call | Kind::SystemCall | Kind::Exception | Kind::Leave | Kind::Switch | Kind::Idle => {
            (format!("{:?}", entry.kind), "other", json!({}))
        }
    };
    let more = object(json!({ "s": "t", "args": arguments }));
    event(name, cat, "i", instant.track, entry.time_ns, more)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn begins_and_ends_are_in_the_order_in_which_spans_nest() {
        let track = Track::Cpu(0);
        let span = |begin_ns, end_ns, what| Span { track, begin_ns, end_ns, what };
        let visit = |begin_ns, end_ns| span(begin_ns, end_ns, What::Visit(Cause::Switch));
        let run = |begin_ns, end_ns| span(begin_ns, end_ns, What::Run { cpu: 0, vcpu: (0, 0) });
        // As a timeline has them: inner ones first. The last run is as long as its visit.
        let spans =
            [visit(0, 5), visit(7, 10), run(5, 10), span(10, 20, What::Idle), visit(20, 20), run(20, 20)];
        let events = of_spans(&spans, &["a".into()]);
        let words: Vec<_> =
            events.iter().map(|event| format!("{}{}{}", event.ph, event.name, event.ts * 1e3)).collect();
        let expected = [
            "Bswitch0",
            "Eswitch5",
            "Ba5",
            "Bswitch7",
            "Eswitch10",
            "Ea10",
            "Bidle10",
            "Eidle20",
            "Ba20",
            "Bswitch20",
            "Eswitch20",
            "Ea20",
        ];
        assert_eq!(words, expected);
    }
}
