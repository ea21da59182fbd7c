//! `cargo pv trace`: what is recorded is what happened, the file has the structure that viewers want, and the true hypervisor
//! pays nothing for it.

mod structure;

use std::time::Duration;

use conformance_runner::{Request, command, judge};

use super::case::{BOOT_LIMIT, Case, Context, Needs, ensure};
use super::mutants::hypervisor_without_points;
use crate::building;
use crate::commands::bench;
use crate::commands::conform::Tools;
use crate::commands::trace::{Trace, Until};
use crate::elf_file::ElfFile;
use crate::failure::Failure;
use crate::machine::Machine;
use crate::manifest::Manifest;
use crate::results;
use structure::Structure;

/// How often the real-time guest has work to do.
const PERIODS: u64 = 20;
/// How often the domains of [`doorbells`] ring.
const ROUNDS: u64 = 50;

/// All of them.
pub fn cases() -> Vec<Case> {
    let free = Case::boot("trace: what is off costs nothing", is_free);
    let mut cases = vec![
        Case::boot("trace: two domains take turns on one CPU", two_domains),
        Case::boot("trace: doorbells between two CPUs", two_cpus),
        Case::boot("trace: doorbells on one CPU, the same bytes in each run", one_cpu),
        Case::boot("trace: a system that does not end, with a ring that is full", endless),
        Case::boot("trace: the traced hypervisor conforms", |context, _| conforms(context)),
        Case { needs: Needs::AllCpus, ..free },
    ];
    cases.iter_mut().for_each(|case| case.limit = 4 * BOOT_LIMIT);
    cases
}

/// Domains that run the demo kernel: name, command line, CPU, priority.
fn record(
    context: &Context,
    domains: &[(&str, &str, u32, u8)],
    channels: &[[u16; 2]],
    (cpus, until): (u32, Until),
) -> Result<Trace, Failure> {
    let demo = &context.kernels()?.demo;
    let domain = |(name, line, cpu, priority): &(&str, &str, u32, u8)| {
        let mut domain = Manifest::for_guest(demo.clone(), line).domains.remove(0);
        domain.name = (*name).into();
        (domain.vcpus[0].cpu, domain.vcpus[0].priority) = (*cpu, *priority);
        domain
    };
    let manifest = Manifest {
        domains: domains.iter().map(domain).collect(),
        channels: channels.iter().copied().map(Into::into).collect(),
        ..Manifest::for_guest(demo.clone(), "")
    };
    let machine = Machine { cpus, icount: true, ..Machine::default() };
    Trace::record(&context.workspace, &manifest, &machine, until)
}

/// The file's structure, once it is right.
fn structure(trace: &Trace) -> Result<Structure, Failure> {
    ensure(trace.unclosed() == 0, format_args!("{} ways out without a record", trace.unclosed()))?;
    Structure::check(&trace.to_json()?)
}

/// A real-time domain and a busy one on the same CPU.
fn two_domains(context: &Context, limit: Duration) -> Result<(), Failure> {
    let line = format!("run=rt periods={PERIODS}");
    let domains = [("rt", line.as_str(), 0, 24), ("gp", "run=demo", 0, 16)];
    let trace = record(context, &domains, &[], (1, Until { clock: None, limit }))?;
    for verdict in ["[rt] result: verdict ok", "[gp] result: verdict ok"] {
        ensure(trace.console().contains(verdict), format_args!("no {verdict:?} on the console"))?;
    }
    let found = structure(&trace)?;
    found.expect_track("CPUs", "CPU 0")?;
    found.expect_track("domain rt", "vCPU 0")?;
    found.expect_track("domain gp", "vCPU 0")?;
    let turns = found.spans("CPUs", "CPU 0", "run");
    let changes = turns.windows(2).filter(|pair| pair[0] != pair[1]).count() as u64;
    // Now and then both slept, so that nobody was interrupted.
    ensure(changes >= PERIODS, format_args!("{changes} changes between domains"))?;
    let deadlines = found.count("domain rt", "deadline");
    // One more: the guest's first, before the first period.
    ensure(
        (PERIODS..=PERIODS + 1).contains(&deadlines),
        format_args!("{deadlines} deadlines in {PERIODS} periods"),
    )?;
    for (domain, name) in [
        ("rt", "TIME.SET_DEADLINE"),
        ("rt", "SCHED.BLOCK"),
        ("rt", "SCHED.SHUTDOWN"),
        ("gp", "timer"),
        ("gp", "CPU.IRET"),
        ("gp", "MMU.LOAD_ROOT"),
        ("gp", "MMU.POPULATE"),
        ("gp", "CONS.WRITE"),
        ("gp", "system call"),
        ("gp", "program"),
        ("gp", "kernel"),
        ("gp", "#PF"),
        ("gp", "#PF injected"),
        ("gp", "hidden fault"),
        ("gp", "event upcall"),
        ("gp", "stop"),
    ] {
        let count = found.count(&format!("domain {domain}"), name);
        ensure(count != 0, format_args!("no {name:?} of {domain}"))?;
    }
    // Each page fault was either hidden or given to the guest's kernel.
    let [faults, hidden, injected] =
        ["#PF", "hidden fault", "#PF injected"].map(|name| found.count("domain gp", name));
    ensure(
        hidden + injected >= faults && injected < faults,
        format_args!("{faults} page faults, {hidden} hidden, {injected} injected"),
    )
}

/// Two domains that ring each other, on these CPUs.
fn record_doorbells(context: &Context, [first, second]: [u32; 2], limit: Duration) -> Result<Trace, Failure> {
    let line = format!("run=doorbell begin=1 rounds={ROUNDS}");
    let domains = [("front", line.as_str(), first, 16), ("back", "run=doorbell", second, 16)];
    record(context, &domains, &[[0, 1]], (1 + first.max(second), Until { clock: None, limit }))
}

/// The CPUs kick each other. Rings that come while the other is busy with one are one to it.
fn two_cpus(context: &Context, limit: Duration) -> Result<(), Failure> {
    let trace = record_doorbells(context, [0, 1], limit)?;
    let found = structure(&trace)?;
    found.expect_track("CPUs", "CPU 1")?;
    let kicks = found.count("domain front", "kick") + found.count("CPUs", "kick");
    ensure(kicks >= 2 * ROUNDS, format_args!("{kicks} kicks"))?;
    let (heard, answers) = heard_and_answered(&trace, &found);
    ensure(
        answers.is_some_and(|answers| heard >= answers),
        format_args!("{heard} heard, {answers:?} answered"),
    )
}

/// With one CPU, time is the number of instructions, and what the guest says that it heard is what was recorded.
fn one_cpu(context: &Context, limit: Duration) -> Result<(), Failure> {
    let run = || record_doorbells(context, [0, 0], limit);
    let (trace, again) = (run()?, run()?);
    ensure(trace.to_json()? == again.to_json()?, "two runs differ")?;
    let found = structure(&trace)?;
    let (heard, answers) = heard_and_answered(&trace, &found);
    ensure(Some(heard) == answers, format_args!("{heard} rings heard, the guest says {answers:?}"))
}

/// Rings that arrived at the second domain, and what it says; each has both ends.
fn heard_and_answered(trace: &Trace, found: &Structure) -> (u64, Option<u64>) {
    let values = results::parse(&results::lines_of(trace.console(), "back"));
    let heard = found.count_bound_to("domain back", "doorbell 0");
    let has_all =
        heard >= ROUNDS && found.count("domain front", "rings back") >= heard && found.flows() >= 2 * ROUNDS;
    (heard, results::number(&values, "doorbell_answers").filter(|_| has_all))
}

/// The oldest records gave way, so the file begins in the middle of things.
fn endless(context: &Context, limit: Duration) -> Result<(), Failure> {
    let domains = [("rt", "run=rt periods=0", 0, 24), ("gp", "run=load seconds=0", 0, 16)];
    let until = Until { clock: Some(Duration::from_secs(1)), limit };
    let trace = record(context, &domains, &[], (1, until))?;
    ensure(trace.lost() > 0, "no record was overwritten")?;
    let found = structure(&trace)?;
    ensure(found.count("domain rt", "deadline") > PERIODS, "too few deadlines")?;
    // A part of it is as well-formed as the whole.
    let (first, last) = trace.bounds_ns();
    let part = trace.between(first + (last - first) / 3, last - (last - first) / 3)?;
    let found = structure(&part)?;
    ensure(found.count("domain gp", "kernel") > 0, "nothing in the middle")
}

/// Points change no register and nothing else of a guest's.
fn conforms(context: &Context) -> Result<(), Failure> {
    context.kernels()?;
    let workspace = &context.workspace;
    let traced = ElfFile::read(&building::traced_hypervisor(workspace)?)?;
    let request = Request {
        target: command::target("hypervisor-bios", &workspace.targets())?,
        guest: workspace.conformance_suite(),
        cpus: 1,
        filter: String::new(),
        lists_only: false,
    };
    let (tests, problems) = judge(&request, &Tools::with_hypervisor(workspace, traced, "traced".into()))?;
    let bad = tests.iter().filter(|test| test.verdict.is_bad());
    let bad: Vec<String> =
        bad.map(|test| format!("{}: {}", test.name, test.detail)).chain(problems).collect();
    ensure(tests.len() > 100 && bad.is_empty(), format_args!("{} tests\n{}", tests.len(), bad.join("\n")))
}

/// The hypervisor from sources without trace points is the same, byte for byte, and each operation takes as many instructions;
/// the traced one is another and takes more, which shows that the comparison can fail.
fn is_free(context: &Context, limit: Duration) -> Result<(), Failure> {
    let workspace = &context.workspace;
    let normal = context.kernels()?.hypervisor.clone();
    let without = hypervisor_without_points(workspace)?;
    ensure(normal.loaded() == without.loaded(), "trace points leave something in the true build")?;
    let traced = ElfFile::read(&building::traced_hypervisor(workspace)?)?;
    ensure(normal.loaded() != traced.loaded(), "the traced build is the true one")?;
    let counts = |hypervisor: &ElfFile| bench::guest_instructions(workspace, hypervisor.clone(), limit);
    let expected = counts(&without)?;
    ensure(expected.len() > 20, format_args!("{} operations", expected.len()))?;
    ensure(counts(&normal)? == expected, "operations take another number of instructions")?;
    let longer = counts(&traced)?;
    for (name, count) in &expected {
        let [[_, median, _], [_, traced, _]] = [*count, longer.get(name).copied().unwrap_or_default()];
        let is_entry = name.starts_with("call.") || name.starts_with("system_call.");
        ensure(!is_entry || traced > median, format_args!("{name}: {median}, traced {traced}"))?;
    }
    Ok(())
}
