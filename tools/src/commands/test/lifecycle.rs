//! A domain that ends and begins anew: clean memory, as often as its policy says, and a neighbour that does not notice.

use std::time::Duration;

use system_image::{CrashPolicy, ExitStatus};

use super::case::{BOOT_LIMIT, Case, Context, ensure, expect_status, expect_text};
use super::realtime;
use crate::disk_image::Contents;
use crate::failure::Failure;
use crate::machine::{DEBUG_EXIT_PORT, Machine};
use crate::manifest::Manifest;
use crate::results;
use crate::session::Ended;

/// Small, so that a domain is cleaned and looked at some times within a second.
const FRAGILE_MEMORY_BYTES: u64 = 16 << 20;
const THRICE: CrashPolicy = CrashPolicy::Restart { times: 3, within_seconds: 60 };

/// All of them.
pub fn cases() -> Vec<Case> {
    let mut cases = vec![
        Case::boot("lifecycle: a crashed domain is started anew as often as allowed", restarts),
        Case::boot("lifecycle: restarts beside a neighbour that keeps its deadlines", beside_realtime),
        Case::boot("lifecycle: a domain that asks for it is started anew", reboots),
        Case::boot("lifecycle: a crash ends the system where the policy says so", halts_system),
        Case::boot("lifecycle: a dump tells what an engineer needs", dump),
    ];
    // Seconds of machine time, instruction by instruction.
    cases.iter_mut().for_each(|case| case.limit = 2 * BOOT_LIMIT);
    cases
}

/// A fragile domain, and beside it a neighbour that is preferred, on one CPU whose clock is its instructions.
fn run(
    context: &Context,
    cmdline: &str,
    policy: CrashPolicy,
    neighbour: Option<(&str, CrashPolicy)>,
    limit: Duration,
) -> Result<Ended, Failure> {
    let kernels = context.kernels()?;
    let mut manifest = Manifest::for_guest(kernels.demo.clone(), cmdline);
    let fragile = &mut manifest.domains[0];
    fragile.name = "fragile".into();
    fragile.memory_bytes = FRAGILE_MEMORY_BYTES;
    fragile.crash_policy = policy;
    if let Some((cmdline, policy)) = neighbour {
        let mut domain = Manifest::for_guest(kernels.demo.clone(), cmdline).domains.remove(0);
        domain.name = "neighbour".into();
        domain.crash_policy = policy;
        domain.vcpus[0].priority = 24;
        manifest.domains.push(domain);
    }
    let contents = Contents::hypervisor(kernels.hypervisor.clone(), manifest.compile(Some(DEBUG_EXIT_PORT))?);
    let machine = Machine { icount: true, ..Machine::default() };
    context.start(&contents, &machine, limit)?.finish()
}

/// Each time the fragile kernel began, it found memory as it had found it the first time.
fn expect_starts(lines: &str, starts: usize) -> Result<(), Failure> {
    let values = results::parse(lines);
    let found = |name: &str| -> Vec<u64> {
        let values = values.iter().filter(|value| value.name == name);
        values.filter_map(|value| value.value.parse().ok()).collect()
    };
    let (dirty, frames) = (found("fragile_dirty"), found("fragile_frames"));
    ensure(dirty.len() == starts, format_args!("it began {} times, not {starts}", dirty.len()))?;
    ensure(
        frames.iter().all(|frames| *frames > FRAGILE_MEMORY_BYTES / 4096 / 2),
        format_args!("it looked at {frames:?} frames only"),
    )?;
    ensure(
        dirty.iter().all(|words| *words == dirty[0]),
        format_args!("words that were not zero at the starts: {dirty:?}"),
    )
}

// covers: SCHED-004
fn restarts(context: &Context, limit: Duration) -> Result<(), Failure> {
    let ended = run(context, "run=fragile", THRICE, None, limit)?;
    expect_status(&ended, ExitStatus::DOMAIN_CRASHED.code())?;
    expect_starts(&ended.console, 4)?;
    let crashes = ended.console.matches("pvops: domain 'fragile' crashed: ").count();
    ensure(crashes == 4, format_args!("{crashes} dumps, not 4"))
}

// covers: SCHED-005
/// Cleaning is work at the fragile domain's priority, and the neighbour's counters show no gap.
fn beside_realtime(context: &Context, limit: Duration) -> Result<(), Failure> {
    let ended = run(
        context,
        "run=fragile after_ms=100",
        THRICE,
        Some(("run=rt strict=1", CrashPolicy::Stop)),
        limit,
    )?;
    expect_status(&ended, ExitStatus::DOMAIN_CRASHED.code())?;
    expect_starts(&results::lines_of(&ended.console, "fragile"), 4)?;
    expect_text(&ended, "[neighbour] result: verdict ok")?;
    let end = ended.console.find("[neighbour] result: verdict");
    ensure(
        ended.console.rfind("domain 'fragile' crashed") < end,
        "the neighbour was done before the last crash",
    )?;
    let values = results::parse(&results::lines_of(&ended.console, "neighbour"));
    realtime::in_time(&values, realtime::DEFAULT_PERIODS)
}

// covers: SCHED-004
/// A wish is no crash: no dump, no limit, no policy needed. The neighbour's crash ends it all.
fn reboots(context: &Context, limit: Duration) -> Result<(), Failure> {
    let neighbour = Some(("run=fragile after_ms=1000", CrashPolicy::HaltSystem));
    let ended = run(context, "run=fragile crash=reboot after_ms=100", CrashPolicy::Stop, neighbour, limit)?;
    expect_status(&ended, ExitStatus::DOMAIN_CRASHED.code())?;
    let starts = ended.console.matches("[fragile] result: fragile_clock").count();
    ensure(starts > 4, format_args!("it began {starts} times only"))?;
    expect_starts(&results::lines_of(&ended.console, "fragile"), starts)?;
    ensure(!ended.console.contains("domain 'fragile' crashed"), "a reboot was taken for a crash")
}

fn halts_system(context: &Context, limit: Duration) -> Result<(), Failure> {
    let endless = Some(("run=rt periods=0", CrashPolicy::Stop));
    let ended = run(context, "run=fragile", CrashPolicy::HaltSystem, endless, limit)?;
    expect_status(&ended, ExitStatus::DOMAIN_CRASHED.code())?;
    expect_text(&ended, "pvops: domain 'fragile' crashed: ")
}

fn dump(context: &Context, limit: Duration) -> Result<(), Failure> {
    let ended = run(context, "run=fragile crash=triple", CrashPolicy::Stop, None, limit)?;
    expect_status(&ended, ExitStatus::DOMAIN_CRASHED.code())?;
    let at = ended.console.find("pvops: domain 'fragile' crashed: ").unwrap_or(0);
    let dump = &ended.console[at..];
    for part in [
        "vCPU 0 on CPU 0, kernel mode, fault address ",
        "events ",
        "  rip ",
        "  r15 ",
        "  stack\t",
        // The flush that the kernel did not survive: MMU.FLUSH_ALL, and its first argument.
        "  calls\t0000000000040003 0000000000000001 ",
    ] {
        ensure(dump.contains(part), format_args!("the dump lacks {part:?}:\n{dump}"))?;
    }
    Ok(())
}
