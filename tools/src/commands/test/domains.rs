//! Several domains in one system: they do the same work side by side, and the end of one is not the other's.

use std::time::Duration;

use system_image::ExitStatus;

use super::case::{Case, Context, ensure, expect_status, expect_text};
use crate::commands::demo;
use crate::disk_image::Contents;
use crate::elf_file::ElfFile;
use crate::failure::Failure;
use crate::machine::{DEBUG_EXIT_PORT, Machine};
use crate::manifest::Manifest;
use crate::session::{Ended, Session};

/// What the demo kernel's shell prints when it waits.
const PROMPT: &str = "pvops> ";
const ANSWER_LIMIT: Duration = Duration::from_secs(60);
/// Gives the console to the next domain: Ctrl-T twice.
const NEXT_FOCUS: &[u8] = b"\x14\x14";

/// Name, command line, CPU and priority of a domain.
pub(super) type Placed<'a> = (&'a str, &'a str, u32, u8);

/// All of them.
pub fn cases() -> Vec<Case> {
    vec![
        Case::boot("domains: two on one CPU do the demo's work", |context, limit| {
            demos(context, &[("alpha", demo::CMDLINE, 0, 16), ("beta", demo::CMDLINE, 0, 16)], 1, limit)
        }),
        Case::boot("domains: four on two CPUs do the demo's work", |context, limit| {
            let domains = ["alpha", "beta", "gamma", "delta"];
            let place = |at: usize| (domains[at], demo::CMDLINE, at as u32 % 2, 16);
            demos(context, &[0, 1, 2, 3].map(place), 2, limit)
        }),
        Case::boot("domains: the preferred one is done first", preferred),
        Case::boot("domains: one crashes, the other goes on", crash),
        Case::boot("domains: the console's focus changes", focus),
    ]
}

/// A system of demo kernels.
pub(super) fn contents(context: &Context, domains: &[Placed<'_>]) -> Result<Contents, Failure> {
    let kernels = context.kernels()?;
    let mut manifest = Manifest::for_guest(kernels.demo.clone(), "");
    let one = |(name, cmdline, cpu, priority): Placed<'_>| {
        let demo: ElfFile = kernels.demo.clone();
        let mut domain = Manifest::for_guest(demo, cmdline).domains.remove(0);
        domain.name = name.into();
        domain.vcpus[0].cpu = cpu;
        domain.vcpus[0].priority = priority;
        domain
    };
    manifest.domains = domains.iter().copied().map(one).collect();
    Ok(Contents::hypervisor(kernels.hypervisor.clone(), manifest.compile(Some(DEBUG_EXIT_PORT))?))
}

/// Boots one.
pub(super) fn start(
    context: &Context,
    domains: &[Placed<'_>],
    cpus: u32,
    limit: Duration,
) -> Result<Session, Failure> {
    context.start(&contents(context, domains)?, &Machine { cpus, ..Machine::default() }, limit)
}

/// Each says so on lines of its own.
fn expect_verdicts(ended: &Ended, domains: &[Placed<'_>]) -> Result<(), Failure> {
    domains.iter().try_for_each(|(name, ..)| expect_text(ended, &format!("[{name}] result: verdict ok")))
}

/// With several CPUs time is this computer's, and some of the demo's answers are about time: it may try twice.
fn demos(context: &Context, domains: &[Placed<'_>], cpus: u32, limit: Duration) -> Result<(), Failure> {
    let attempt = || {
        let ended = start(context, domains, cpus, limit)?.finish()?;
        expect_status(&ended, 0)?;
        expect_verdicts(&ended, domains)
    };
    attempt().or_else(|failure| if cpus > 1 { attempt() } else { Err(failure) })
}

/// On one CPU, who has the higher priority finishes before the other, which was built first.
fn preferred(context: &Context, limit: Duration) -> Result<(), Failure> {
    let domains = [("low", demo::CMDLINE, 0, 8), ("high", demo::CMDLINE, 0, 24)];
    let ended = start(context, &domains, 1, limit)?.finish()?;
    expect_status(&ended, 0)?;
    expect_verdicts(&ended, &domains)?;
    let place = |name: &str| ended.console.find(&format!("[{name}] result: verdict ok"));
    ensure(place("high") < place("low"), "the domain of lower priority was done first")
}

/// The dump names the domain that crashed; the other, on the same CPU, does its work to the end. The system's
/// status is that of the crash.
fn crash(context: &Context, limit: Duration) -> Result<(), Failure> {
    let domains = [("victim", "", 0, 16), ("other", demo::CMDLINE, 0, 16)];
    let mut session = start(context, &domains, 1, limit)?;
    session.wait_for(PROMPT, ANSWER_LIMIT)?;
    session.send(b"crash triple\r");
    let ended = session.finish()?;
    expect_status(&ended, ExitStatus::DOMAIN_CRASHED.code())?;
    expect_text(&ended, "domain 'victim' crashed: ")?;
    expect_text(&ended, "[other] result: verdict ok")
}

fn focus(context: &Context, limit: Duration) -> Result<(), Failure> {
    let mut session = start(context, &[("first", "", 0, 16), ("second", "", 1, 16)], 2, limit)?;
    session.wait_for("[first] pvops> ", ANSWER_LIMIT)?;
    session.send(NEXT_FOCUS);
    session.wait_for("pvops: 'second' has the focus", ANSWER_LIMIT)?;
    session.send(b"exit 5\r");
    session.wait_for("exit 5", ANSWER_LIMIT)?;
    session.send(NEXT_FOCUS);
    session.wait_for("pvops: 'first' has the focus", ANSWER_LIMIT)?;
    session.send(b"exit 0\r");
    expect_status(&session.finish()?, 5)
}
