//! `cargo pv soak`: six hostile guests that make random calls, crash and begin anew, beside two real-time guests, for
//! as long as you like.
//!
//! On two CPUs the clock is this computer's: emulated CPUs that count instructions have to take turns, and a turn is
//! longer than a period. So a deadline may be missed because this computer had other things to do. Linux tells how
//! long the machine's threads waited for a CPU; a miss while they waited for half a period or more is the host's, is
//! shown as such, and does not fail the run. With `--counted` there is one CPU, whose clock is its instructions: the run
//! repeats exactly from its seed, and every miss counts.

mod findings;

use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use clap::Args;
use system_image::CrashPolicy;

use crate::building::{self, Kernel};
use crate::disk_image::Contents;
use crate::elf_file::ElfFile;
use crate::failure::{Failure, Kind};
use crate::interrupt;
use crate::machine::{DEBUG_EXIT_PORT, Machine};
use crate::manifest::{Manifest, ManifestDomain};
use crate::outcome::Outcome;
use crate::session::{Echo, Session};
use crate::workspace::Workspace;
pub use findings::Findings;

/// Options of `cargo pv soak`.
#[derive(Args)]
pub struct Arguments {
    /// How long, by the clock on the wall
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=100_000))]
    minutes: u64,
    /// Where the random calls begin [default: another one each time]
    #[arg(long, value_name = "S")]
    seed: Option<u64>,
    /// One CPU that counts instructions: the same run each time, and no miss is the host's
    #[arg(long)]
    counted: bool,
}

/// Whose time it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Clock {
    /// One CPU's instructions.
    Instructions,
    /// This computer's, for two CPUs.
    Host,
}

/// How each hostile guest ends a run of random calls, so that it begins anew.
const ENDS: [&str; 6] = ["stop-stack", "stop-double", "stop-gate", "reboot", "stop-handler", "stop-area"];
/// Calls from one start to the next.
const CALLS: u64 = 40_000;
/// How often the console is looked at.
const INTERVAL: Duration = Duration::from_millis(100);

impl Clock {
    const fn cpus(self) -> u32 {
        match self {
            Self::Instructions => 1,
            Self::Host => 2,
        }
    }

    /// The real-time guests' periods. Emulation by several threads pauses for milliseconds at times.
    const fn period(self) -> Duration {
        match self {
            Self::Instructions => Duration::from_millis(1),
            Self::Host => Duration::from_millis(10),
        }
    }
}

/// Runs the command.
pub fn execute(workspace: &Workspace, arguments: &Arguments) -> Result<ExitCode, Failure> {
    let [hostile, demo, hypervisor] = [Kernel::HostileGuest, Kernel::Demo, Kernel::Hypervisor]
        .map(|kernel| building::kernel(workspace, kernel).and_then(|path| ElfFile::read(&path)));
    let (hostile, demo, hypervisor) = (hostile?, demo?, hypervisor?);
    let clock = if arguments.counted { Clock::Instructions } else { Clock::Host };
    let seed = arguments.seed.unwrap_or_else(any_seed);
    let length = Duration::from_secs(arguments.minutes * 60);
    println!("seed {seed}, {} CPUs, {} minutes", clock.cpus(), arguments.minutes);
    let contents = Contents::hypervisor(hypervisor, manifest(&hostile, &demo, clock, seed)?);
    let mut shown = Instant::now();
    let findings = run(workspace, &contents, clock, length, |findings| {
        if shown.elapsed() >= Duration::from_secs(60) {
            shown = Instant::now();
            println!("{}", findings.line());
        }
        false
    })?;
    print!("{}", findings.table());
    let again = if arguments.counted { " --counted" } else { "" };
    println!("again: cargo pv soak --minutes {} --seed {seed}{again}", arguments.minutes);
    let problems = findings.problems();
    for problem in &problems {
        println!("FAILED: {problem}");
    }
    Ok(if problems.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(Kind::CheckFailed as u8) })
}

fn any_seed() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::from(now.subsec_nanos()) ^ now.as_secs()
}

/// The system: two real-time guests, preferred, and a hostile one for each of [`ENDS`].
pub fn manifest(hostile: &ElfFile, demo: &ElfFile, clock: Clock, seed: u64) -> Result<Vec<u8>, Failure> {
    let domain = |name: String, elf: &ElfFile, cmdline: String, number: u32, priority: u8| {
        let mut domain: ManifestDomain = Manifest::for_guest(elf.clone(), &cmdline).domains.remove(0);
        domain.name = name;
        (domain.vcpus[0].cpu, domain.vcpus[0].priority) = (number % clock.cpus(), priority);
        domain
    };
    let period_us = clock.period().as_micros();
    let mut domains: Vec<ManifestDomain> = (0..2)
        .map(|number| {
            let cmdline = format!("run=rt periods=0 period_us={period_us}");
            domain(format!("rt-{number}"), demo, cmdline, number, 24)
        })
        .collect();
    for (end, number) in ENDS.into_iter().zip(0..) {
        let seed = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(u64::from(number) << 32 | 1);
        let cmdline =
            format!("attack=random,{end} seed={seed} vary=1 count={CALLS} until_ms={}", u64::from(u32::MAX));
        let mut attacker = domain(format!("hostile-{number}"), hostile, cmdline, number, 16);
        attacker.memory_bytes = 48 << 20;
        attacker.crash_policy =
            CrashPolicy::Restart { times: system_image::layout::MAX_RESTARTS, within_seconds: 1 };
        domains.push(attacker);
    }
    let manifest =
        Manifest { name: "soak".into(), domains, channels: (2..8).map(|peer| [0, peer].into()).collect() };
    manifest.compile(Some(DEBUG_EXIT_PORT))
}

/// Runs it until `length` is over by the wall clock, `is_enough`, or the machine ends, which it must not.
pub fn run(
    workspace: &Workspace,
    contents: &Contents,
    clock: Clock,
    length: Duration,
    mut is_enough: impl FnMut(&Findings) -> bool,
) -> Result<Findings, Failure> {
    let machine = Machine {
        cpus: clock.cpus(),
        icount: clock == Clock::Instructions,
        memory_mib: 768,
        ..Machine::default()
    };
    let image = contents.cached_image(workspace, machine.firmware)?;
    let end = Instant::now() + length;
    // The limit is only for a host that stops between two looks.
    let mut session = Session::start(&machine, &image, length + Duration::from_secs(60), Echo::Quiet)?;
    let mut findings = Findings::new(clock, ENDS.len());
    while Instant::now() < end && !is_enough(&findings) {
        thread::sleep(INTERVAL);
        interrupt::check()?;
        let outcome: Option<Outcome> = session.poll()?;
        findings.add(&session.take_lines(), session.waited_for_cpu());
        if let Some(outcome) = outcome {
            findings.ended(&outcome);
            break;
        }
    }
    Ok(findings)
}
