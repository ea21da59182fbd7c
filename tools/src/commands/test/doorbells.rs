//! Doorbells: what the system's description declares rings on the other side, and nothing else does.

use std::time::Duration;

use system_image::ExitStatus;

use super::case::{Case, Context, ensure, expect_status, expect_text};
use crate::disk_image::Contents;
use crate::failure::Failure;
use crate::machine::{DEBUG_EXIT_PORT, Machine};
use crate::manifest::Manifest;
use crate::results;
use crate::session::Ended;

/// Instructions for a ring, a switch to the other domain, its answer and the switch back.
const MOST_ROUND_TRIP_NS: u64 = 20_000;

/// All of them.
pub fn cases() -> Vec<Case> {
    vec![
        Case::boot("doorbells: there and back on one CPU", one_cpu),
        Case::boot("doorbells: there and back between two CPUs", two_cpus),
        Case::boot("doorbells: a channel that is not declared does not exist", undeclared),
    ]
}

/// Two domains on the CPUs given, with a channel between them if `channels` says so.
fn run(
    context: &Context,
    cpus: [u32; 2],
    channels: &[[u16; 2]],
    machine: &Machine,
    limit: Duration,
) -> Result<Ended, Failure> {
    let kernels = context.kernels()?;
    let mut manifest = Manifest::for_guest(kernels.demo.clone(), "");
    let lines = ["run=doorbell begin=1", "run=doorbell"];
    let domain = |(name, (cpu, line)): (&str, (u32, &str))| {
        let mut domain = Manifest::for_guest(kernels.demo.clone(), line).domains.remove(0);
        domain.name = name.into();
        domain.vcpus[0].cpu = cpu;
        domain
    };
    manifest.domains = ["front", "back"].into_iter().zip(cpus.into_iter().zip(lines)).map(domain).collect();
    manifest.channels = channels.iter().copied().map(Into::into).collect();
    let contents = Contents::hypervisor(kernels.hypervisor.clone(), manifest.compile(Some(DEBUG_EXIT_PORT))?);
    context.start(&contents, machine, limit)?.finish()
}

fn expect_rounds(ended: &Ended) -> Result<(), Failure> {
    expect_status(ended, 0)?;
    expect_text(ended, "[front] result: doorbell_rounds 1000")?;
    expect_text(ended, "[front] result: verdict ok")?;
    expect_text(ended, "[back] result: verdict ok")
}

/// Instructions are counted: the way there and back has a bound.
fn one_cpu(context: &Context, limit: Duration) -> Result<(), Failure> {
    let machine = Machine { icount: true, ..Machine::default() };
    let ended = run(context, [0, 0], &[[0, 1]], &machine, limit)?;
    expect_rounds(&ended)?;
    let values = results::parse(&results::lines_of(&ended.console, "front"));
    let median = results::number(&values, "doorbell_round_trip_median").unwrap_or(u64::MAX);
    ensure(median <= MOST_ROUND_TRIP_NS, format_args!("a round trip takes {median} instructions"))
}

fn two_cpus(context: &Context, limit: Duration) -> Result<(), Failure> {
    let machine = Machine { cpus: 2, ..Machine::default() };
    expect_rounds(&run(context, [0, 1], &[[0, 1]], &machine, limit)?)
}

/// Both find no channel, and say so.
fn undeclared(context: &Context, limit: Duration) -> Result<(), Failure> {
    let ended = run(context, [0, 0], &[], &Machine::default(), limit)?;
    expect_status(&ended, ExitStatus::from_guest(1).code())?;
    expect_text(&ended, "[front] check failed: the channel exists")?;
    expect_text(&ended, "[back] check failed: the channel exists")
}
