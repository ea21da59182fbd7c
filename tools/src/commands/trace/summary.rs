//! What a trace says in numbers: how long whom, how often what.

use std::collections::BTreeMap;

use trace_records::Kind;

use super::chrome::name_of;
use super::names;
use super::timeline::{Cause, Timeline, Track, Vcpu, What};
use crate::commands::bench::align;

/// What a vCPU did.
#[derive(Default)]
struct OfVcpu {
    run_ns: u64,
    kernel_ns: u64,
    program_ns: u64,
    hypervisor_ns: u64,
    calls: u64,
    batched_calls: u64,
    system_calls: u64,
    exceptions: u64,
    hidden_faults: u64,
    traps: u64,
    upcalls: u64,
    deadlines: u64,
}

/// What a CPU did.
#[derive(Default)]
struct OfCpu {
    guest_ns: u64,
    hypervisor_ns: u64,
    idle_ns: u64,
    interrupts: u64,
    switches: u64,
}

/// A table of CPUs, one of vCPUs, one of calls.
pub fn text(timeline: &Timeline, domains: &[String], length_ns: u64) -> String {
    let tables = [cpus(timeline, length_ns), vcpus(timeline, domains, length_ns), calls(timeline)];
    tables.join("\n")
}

fn percent(part_ns: u64, length_ns: u64) -> String {
    format!("{:.2} %", 100.0 * part_ns as f64 / length_ns.max(1) as f64)
}

fn table(heading: &[&str], rows: impl Iterator<Item = Vec<String>>) -> String {
    let heading = heading.iter().map(|word| (*word).to_owned()).collect();
    align(&std::iter::once(heading).chain(rows).collect::<Vec<_>>(), 1)
}

fn cpus(timeline: &Timeline, length_ns: u64) -> String {
    let mut rows: BTreeMap<u64, OfCpu> = BTreeMap::new();
    for span in &timeline.spans {
        let length = span.end_ns - span.begin_ns;
        match (span.track, span.what) {
            (Track::Vcpu(_), What::Kernel(cpu) | What::Program(cpu)) => {
                rows.entry(cpu).or_default().guest_ns += length;
            }
            (Track::Cpu(cpu), What::Idle) => rows.entry(cpu).or_default().idle_ns += length,
            (Track::Cpu(cpu), What::Visit(cause)) => {
                let row = rows.entry(cpu).or_default();
                row.hypervisor_ns += length;
                row.interrupts += u64::from(matches!(cause, Cause::Interrupt(_)));
                row.switches += u64::from(cause == Cause::Switch);
            }
            _ => {}
        }
    }
    let heading = ["CPU", "guests", "hypervisor", "idle", "interrupts", "switches"];
    let rows = rows.into_iter().map(|(cpu, row)| {
        vec![
            format!("CPU {cpu}"),
            percent(row.guest_ns, length_ns),
            percent(row.hypervisor_ns, length_ns),
            percent(row.idle_ns, length_ns),
            row.interrupts.to_string(),
            row.switches.to_string(),
        ]
    });
    table(&heading, rows)
}

fn vcpus(timeline: &Timeline, domains: &[String], length_ns: u64) -> String {
    let mut rows: BTreeMap<Vcpu, OfVcpu> = BTreeMap::new();
    for span in &timeline.spans {
        let Track::Vcpu(vcpu) = span.track else { continue };
        let (row, length) = (rows.entry(vcpu).or_default(), span.end_ns - span.begin_ns);
        match span.what {
            What::Run { .. } => row.run_ns += length,
            What::Kernel(_) => row.kernel_ns += length,
            What::Program(_) => row.program_ns += length,
            What::Visit(cause) => {
                row.hypervisor_ns += length;
                row.calls += u64::from(matches!(cause, Cause::Call { .. }));
                row.system_calls += u64::from(matches!(cause, Cause::SystemCall { .. }));
                row.exceptions += u64::from(matches!(cause, Cause::Exception { .. }));
            }
            What::Idle => {}
        }
    }
    for instant in &timeline.instants {
        let Track::Vcpu(vcpu) = instant.track else { continue };
        let row = rows.entry(vcpu).or_default();
        match instant.entry.kind {
            Kind::BatchedCall => row.batched_calls += 1,
            Kind::HiddenFault => row.hidden_faults += 1,
            Kind::Trap => row.traps += 1,
            Kind::Upcall => row.upcalls += 1,
            Kind::Deadline => row.deadlines += 1,
            _ => {}
        }
    }
    let heading = [
        "vCPU",
        "has a CPU",
        "kernel",
        "programs",
        "hypervisor",
        "calls",
        "batched",
        "system calls",
        "exceptions",
        "hidden",
        "injected",
        "upcalls",
        "deadlines",
    ];
    let rows = rows.into_iter().map(|((domain, vcpu), row)| {
        let times = [row.run_ns, row.kernel_ns, row.program_ns, row.hypervisor_ns];
        let counts = [
            row.calls,
            row.batched_calls,
            row.system_calls,
            row.exceptions,
            row.hidden_faults,
            row.traps,
            row.upcalls,
            row.deadlines,
        ];
        std::iter::once(format!("{} {vcpu}", name_of(domain, domains)))
            .chain(times.map(|time| percent(time, length_ns)))
            .chain(counts.map(|count| count.to_string()))
            .collect()
    });
    table(&heading, rows)
}

/// Calls by name: how many, and how long the visits took. A hostile guest makes thousands that do not exist.
fn calls(timeline: &Timeline) -> String {
    const UNKNOWN: u64 = u64::MAX;
    let mut rows: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
    for span in &timeline.spans {
        if let (Track::Cpu(_), What::Visit(Cause::Call { id, .. })) = (span.track, span.what) {
            let id = names::known_call(id).map_or(UNKNOWN, |_| id);
            rows.entry(id).or_default().push(span.end_ns - span.begin_ns);
        }
    }
    let heading = ["call", "times", "median ns", "longest ns"];
    let rows = rows.into_iter().map(|(id, mut times)| {
        times.sort_unstable();
        let (count, median) = (times.len(), times[times.len() / 2]);
        let longest = times.last().copied().unwrap_or_default();
        vec![
            names::known_call(id).unwrap_or_else(|| "not known".into()),
            count.to_string(),
            median.to_string(),
            longest.to_string(),
        ]
    });
    table(&heading, rows)
}
