//! A guest that attacks: each attack ends as the specification says, the hypervisor stays whole, and a neighbour
//! keeps its deadlines and its memory meanwhile.
//!
//! The guest knows its attacks and prints their table; the first case compares that with the one here, so that none
//! is left out. A case boots one attack. Those after which the guest goes on are groups of many small ones.
//!
//! The neighbour is the demo kernel's real-time role, preferred, on the same CPU. That CPU's clock is its instructions, so
//! how late the neighbour was is the same on every computer, and has a bound. On two CPUs emulation has to run them
//! by turns to count instructions, and the turns are longer than a period; there the clock is this computer's, and
//! nothing is asserted that is time.

use std::time::Duration;

use system_image::{CrashPolicy, Device, ExitStatus, PortRange};

use super::case::{BOOT_LIMIT, Case, Context, ensure, expect_status, expect_text};
use super::{console, realtime};
use crate::boot::World;
use crate::disk_image::Contents;
use crate::failure::Failure;
use crate::machine::{DEBUG_EXIT_PORT, Machine};
use crate::manifest::{Manifest, ManifestDomain};
use crate::results;
use crate::session::{Ended, last_lines, without_escapes};

/// How an attack has to end.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Expected {
    /// The guest finds every answer right and shuts down with status 0.
    Survives,
    /// The domain is stopped, and the dump gives this cause.
    Stopped(&'static str),
}

/// The attacks, and for how many milliseconds the neighbour is at work. An attack that outlasts it fails the case.
const ATTACKS: [(&str, Expected, u64); 21] = [
    ("instructions", Expected::Survives, 200),
    ("entries", Expected::Survives, 200),
    ("memory", Expected::Survives, 400),
    ("calls", Expected::Survives, 500),
    ("exhaustion", Expected::Survives, 2000),
    ("user", Expected::Survives, 200),
    ("ports", Expected::Survives, 200),
    ("neighbours", Expected::Survives, 500),
    ("ring", Expected::Survives, 500),
    ("rung", Expected::Survives, 0),
    ("longest", Expected::Survives, 800),
    ("reboot", Expected::Survives, 800),
    ("random", Expected::Survives, RANDOM_MS),
    ("stop-stack", Expected::Stopped("fault while delivering a fault"), 200),
    ("stop-double", Expected::Stopped("double-fault stack not accessible"), 200),
    ("stop-gate", Expected::Stopped("invalid opcode"), 200),
    ("stop-handler", Expected::Stopped("fault while delivering a fault"), 200),
    ("stop-iret", Expected::Stopped("iret from a stack that is not accessible"), 200),
    ("stop-iret-odd", Expected::Stopped("iret from a stack that is not accessible"), 200),
    ("stop-root", Expected::Stopped("double-fault stack not accessible"), 200),
    ("stop-area", Expected::Stopped("fault while delivering a fault"), 500),
];
/// Those that are also made by a guest with ports of its own, whose entries and returns go the hypervisor's long ways.
const ON_LONG_WAYS: [&str; 5] = ["instructions", "entries", "user", "stop-stack", "stop-double"];
/// A million random calls: a boot per seed, of [`CALLS`] each.
const SEEDS: [u64; 4] = [0x70_766f_7073, 1, 0x5eed, 0xffff_ffff_ffff_fff1];
const CALLS: u64 = 250_000;
const RANDOM_MS: u64 = 4000;
/// Releases of the neighbour per millisecond: many, so that they meet everything that an attack does.
const PERIODS_PER_MS: u64 = 5;

/// Ports of the hostile guest's own. There need not be a device.
const PORTS: PortRange = PortRange { first: 0x2e8, count: 8 };

/// What the hypervisor prints when it failed itself.
pub const DEFECTS: [&str; 2] = ["hypervisor fault", "hypervisor panic"];

// covers: ERR-003, LAY-003, SEC-001
/// All of them.
pub fn cases() -> Vec<Case> {
    let mut cases = vec![Case::boot("hostile guest: the table of attacks is this one", table)];
    // Those have cases of their own.
    let is_plain = |(attack, ..): &(&str, Expected, u64)| !matches!(*attack, "random" | "rung");
    for (attack, expected, ms) in ATTACKS.into_iter().filter(is_plain) {
        cases.push(Case::boot(format!("hostile guest: {attack}"), move |context, limit| {
            let ended = beside(context, &options(attack), CrashPolicy::Stop, ms, limit)?;
            let starts = ended.console.matches(&format!("attack: {attack} begins")).count();
            ensure((attack == "reboot") == (starts > 2), format_args!("it began {starts} times"))?;
            expect_end(&ended, attack, expected)
        }));
    }
    for (attack, expected, ms) in ATTACKS.into_iter().filter(|(attack, ..)| ON_LONG_WAYS.contains(attack)) {
        cases.push(Case::boot(
            format!("hostile guest: {attack}, on the long ways"),
            move |context, limit| {
                let cmdline = format!("attack={attack} port={:#x}", PORTS.first);
                let ended = beside(context, &cmdline, CrashPolicy::Stop, ms, limit)?;
                expect_end(&ended, attack, expected)
            },
        ));
    }
    for seed in SEEDS {
        cases.push(Case::boot(
            format!("hostile guest: random calls from seed {seed:#x}"),
            move |context, limit| {
                let (expected, ms) = (Expected::Survives, RANDOM_MS);
                let cmdline = format!("attack=random seed={seed} count={CALLS}");
                let ended = beside(context, &cmdline, CrashPolicy::Stop, ms, limit)?;
                expect_text(&ended, &format!("random: {CALLS} calls made"))?;
                expect_end(&ended, "random", expected)
            },
        ));
    }
    cases.push(Case::boot("hostile guest: crashes as often as its policy allows", crash_loop));
    cases.push(Case::boot("hostile guest: rung without a pause from another CPU", rung));
    cases.push(Case::boot("hostile guest: rung while paused, and continued", rung_and_paused));
    cases.push(Case::boot("hostile guest: everything, beside a neighbour on another CPU", other_cpu));
    // Instruction by instruction.
    cases.iter_mut().for_each(|case| case.limit = 2 * BOOT_LIMIT);
    cases
}

/// The command line of an attack.
fn options(attack: &str) -> String {
    match attack {
        "ring" => format!("attack={attack} for_ms=200"),
        "neighbours" => format!("attack={attack} channels=1"),
        "ports" => format!("attack={attack} port={:#x}", PORTS.first),
        "reboot" => format!("attack={attack} until_ms=500"),
        _ => format!("attack={attack}"),
    }
}

fn expect_end(ended: &Ended, attack: &str, expected: Expected) -> Result<(), Failure> {
    match expected {
        Expected::Survives => {
            expect_status(ended, 0)?;
            expect_text(ended, &format!("attack: {attack} survived"))
        }
        Expected::Stopped(cause) => {
            expect_status(ended, ExitStatus::DOMAIN_CRASHED.code())?;
            expect_text(ended, &format!("attack: {attack} begins"))?;
            expect_text(ended, &format!("crashed: {cause}"))?;
            if attack == "stop-stack" { expect_registers(ended) } else { Ok(()) }
        }
    }
}

/// The dump shows the registers with which the attack ended: their numbers.
fn expect_registers(ended: &Ended) -> Result<(), Failure> {
    const NAMES: [&str; 15] = [
        "rax", "rcx", "rdx", "rbx", "rbp", "rsi", "rdi", " r8", " r9", "r10", "r11", "r12", "r13", "r14",
        "r15",
    ];
    (1..).zip(NAMES).try_for_each(|(number, name)| expect_text(ended, &format!("  {name} {number:016x}")))
}

/// The hypervisor must not have failed, whatever came of the guest.
fn expect_no_defect(ended: &Ended) -> Result<(), Failure> {
    for defect in DEFECTS {
        ensure(
            !ended.console.contains(defect),
            format_args!("the console shows {defect:?}{}", last_lines(&ended.console)),
        )?;
    }
    Ok(())
}

/// A hostile guest and others, with a channel between the first two.
fn contents(context: &Context, domains: Vec<ManifestDomain>) -> Result<Contents, Failure> {
    let kernels = context.kernels()?;
    let manifest = Manifest {
        domains,
        channels: vec![[0, 1].into()],
        ..Manifest::for_guest(kernels.hostile.clone(), "")
    };
    Ok(Contents::hypervisor(kernels.hypervisor.clone(), manifest.compile(Some(DEBUG_EXIT_PORT))?))
}

/// Boots a hostile guest and a neighbour.
fn boot(
    context: &Context,
    domains: [ManifestDomain; 2],
    machine: &Machine,
    limit: Duration,
) -> Result<Ended, Failure> {
    let ended = context.start(&contents(context, domains.into())?, machine, limit)?.finish()?;
    expect_no_defect(&ended)?;
    Ok(ended)
}

fn hostile(context: &Context, cmdline: &str) -> Result<ManifestDomain, Failure> {
    let guest = context.kernels()?.hostile.clone();
    // A domain that has any goes the hypervisor's long ways.
    let ports = cmdline.contains("port=").then(|| Device { ports: Some(PORTS), ..Device::default() }.into());
    let devices = ports.into_iter().collect();
    let domain = Manifest::for_guest(guest, cmdline).domains.remove(0);
    Ok(ManifestDomain { name: "hostile".into(), devices, ..domain })
}

fn neighbour(context: &Context, cmdline: &str, cpu: u32) -> Result<ManifestDomain, Failure> {
    let mut domain = Manifest::for_guest(context.kernels()?.demo.clone(), cmdline).domains.remove(0);
    domain.name = "neighbour".into();
    (domain.vcpus[0].cpu, domain.vcpus[0].priority) = (cpu, 24);
    Ok(domain)
}

/// Boots a hostile guest beside a neighbour on the same CPU, which must be in time for `ms`, and longer than the
/// hostile guest lives.
fn beside(
    context: &Context,
    cmdline: &str,
    policy: CrashPolicy,
    ms: u64,
    limit: Duration,
) -> Result<Ended, Failure> {
    let periods = ms * PERIODS_PER_MS;
    let realtime =
        format!("run=rt strict=1 period_us={} work_kib=4 periods={periods}", 1000 / PERIODS_PER_MS);
    let attacker = ManifestDomain { crash_policy: policy, ..hostile(context, cmdline)? };
    let machine = Machine { icount: true, ..Machine::default() };
    let ended = boot(context, [attacker, neighbour(context, &realtime, 0)?], &machine, limit)?;
    expect_text(&ended, "[neighbour] result: verdict ok")?;
    realtime::in_time(&results::parse(&results::lines_of(&ended.console, "neighbour")), periods)?;
    let end_of_neighbour = ended.console.find("[neighbour] result: verdict");
    let end_of_attack =
        ["[hostile] attack: ", "domain 'hostile' crashed"].map(|text| ended.console.rfind(text));
    ensure(
        end_of_attack.into_iter().max().flatten() < end_of_neighbour,
        format_args!("the neighbour was done before the attack: {ms} ms are not enough"),
    )?;
    Ok(ended)
}

/// The domain begins anew 16 times, which is as often as can be allowed, and crashes at once.
fn crash_loop(context: &Context, limit: Duration) -> Result<(), Failure> {
    const TIMES: u32 = system_image::layout::MAX_RESTARTS;
    let policy = CrashPolicy::Restart { times: TIMES, within_seconds: 60 };
    let ended = beside(context, "attack=stop-gate", policy, 2000, limit)?;
    expect_status(&ended, ExitStatus::DOMAIN_CRASHED.code())?;
    let crashes = ended.console.matches("pvops: domain 'hostile' crashed: ").count();
    ensure(crashes == TIMES as usize + 1, format_args!("{crashes} dumps, not {}", TIMES + 1))
}

/// All attacks that can be survived, one after the other, on a CPU of their own.
fn other_cpu(context: &Context, limit: Duration) -> Result<(), Failure> {
    let survived = ATTACKS.iter().filter(|(attack, expected, _)| {
        // One begins anew, and with it the list; the others need a peer of their kind.
        *expected == Expected::Survives && !matches!(*attack, "reboot" | "ring" | "rung")
    });
    let names: Vec<&str> = survived.map(|(attack, ..)| *attack).collect();
    let attacker = ManifestDomain {
        memory_bytes: 128 << 20,
        ..hostile(
            context,
            &format!("attack={} channels=1 count=50000 port={:#x}", names.join(","), PORTS.first),
        )?
    };
    let machine = Machine { cpus: 2, ..Machine::default() };
    let ended = boot(context, [attacker, neighbour(context, "run=rt periods=8000", 1)?], &machine, limit)?;
    for attack in names {
        expect_end(&ended, attack, Expected::Survives)?;
    }
    for line in ["rt_periods 8000", "rt_memory_changes 0", "rt_early_releases 0", "verdict ok"] {
        expect_text(&ended, &format!("[neighbour] result: {line}"))?;
    }
    Ok(())
}

/// A peer that does nothing but ring takes a bounded part of another CPU. The bound is by the clock of the one who is
/// rung, however fast that is on this computer.
fn rung(context: &Context, limit: Duration) -> Result<(), Failure> {
    let ringer = hostile(context, "attack=ring for_ms=3000")?;
    let mut receiver = ManifestDomain { devices: Vec::new(), ..hostile(context, "attack=rung")? };
    receiver.name = "receiver".into();
    receiver.vcpus[0].cpu = 1;
    let ended = boot(context, [ringer, receiver], &Machine { cpus: 2, ..Machine::default() }, limit)?;
    expect_end(&ended, "ring", Expected::Survives)?;
    expect_end(&ended, "rung", Expected::Survives)
}

/// A peer rings a paused domain, whose mail nobody collects as long as a neighbour has its CPU. The operator's wish that it
/// goes on is heard all the same.
fn rung_and_paused(context: &Context, limit: Duration) -> Result<(), Failure> {
    const ANSWER_LIMIT: Duration = Duration::from_secs(30);
    let ringer = hostile(context, "attack=ring for_ms=6000")?;
    let receiver = ManifestDomain { name: "receiver".into(), ..neighbour(context, "", 1)? };
    let contents = contents(context, vec![ringer, receiver, neighbour(context, "run=rt periods=6000", 1)?])?;
    let mut session = context.start(&contents, &Machine { cpus: 2, ..Machine::default() }, limit)?;
    session.wait_for("attack: ring begins", ANSWER_LIMIT)?;
    session.send(b"\x142");
    session.wait_for("[receiver] pvops> ", ANSWER_LIMIT)?;
    session.send(b"\x14p");
    console::until_listed(&mut session, "pvops: 2 'receiver' paused, has the focus")?;
    session.send(b"uptime\r\x14c");
    session.wait_for("[receiver]   up ", ANSWER_LIMIT)?;
    session.send(b"exit 0\r");
    expect_no_defect(&session.finish()?)
}

/// What the guest says that it can do.
fn table(context: &Context, limit: Duration) -> Result<(), Failure> {
    let ended = context.run_guest(World::Hypervisor, &context.kernels()?.hostile, "attack=list", limit)?;
    expect_no_defect(&ended)?;
    expect_status(&ended, 0)?;
    let console = without_escapes(&ended.console);
    let listed: Vec<&str> = console
        .lines()
        .filter_map(|line| line.strip_prefix("attack: ")?.split_once(':'))
        .map(|(row, _)| row)
        .collect();
    let expected = ATTACKS.map(|(attack, expected, _)| {
        let outcome = if expected == Expected::Survives { "survives" } else { "stopped" };
        format!("{attack} expected {outcome}")
    });
    ensure(listed == expected, format_args!("the guest lists {listed:?}, not {expected:?}"))
}
