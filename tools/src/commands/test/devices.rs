//! Devices of a guest's own: driven as on the bare machine, by the same ELF, and by nobody else.

use std::path::Path;
use std::time::Duration;

use system_image::{Device, ExitStatus, MmioRange, PortRange};
use tempfile::TempDir;

use super::case::{Case, Context, ensure, expect_status, expect_text};
use super::wire::Wire;
use crate::boot::World;
use crate::disk_image::Contents;
use crate::failure::{Failure, Kind};
use crate::machine::{DEBUG_EXIT_PORT, Firmware, Machine};
use crate::manifest::Manifest;
use crate::session::{Ended, Session, last_lines};

const COM2: PortRange = PortRange { first: 0x2f8, count: 8 };
const COM2_LINE: u32 = 3;
/// What the demo kernel sends when it drives the port.
const GREETING: &str = "Ctrl-D ends\r\n";
const CTRL_D: u8 = 4;
/// Has it start anew.
const CTRL_R: u8 = 18;

/// QEMU's educational device in slot 16 of the bus, whose interrupt q35 wires to line 20.
const EDU: &str = "edu,addr=10";
const EDU_LINE: u32 = 20;
/// Where SeaBIOS puts its registers on this machine. A test on the bare machine tells whether they are there.
const EDU_REGISTERS: MmioRange = MmioRange { base: 0xfea0_0000, bytes: 1 << 20 };

/// All of them.
pub fn cases() -> Vec<Case> {
    vec![
        Case::boot("devices: COM2 is driven on the bare machine", |context, limit| {
            let world = World::Native;
            let kernels = context.kernels()?;
            let contents = world.contents(&kernels.demo, &kernels.hypervisor, "run=serial")?;
            serial(context, &contents, Machine::default(), limit)
        }),
        Case::boot("devices: COM2 is driven in ring 3, its interrupt a port", |context, limit| {
            serial(context, &domains(context, &[owner_of_com2()])?, Machine::default(), limit)
        }),
        Case::boot("devices: COM2 is driven on the second CPU, from UEFI", |context, limit| {
            let owner = Domain { cpu: 1, ..owner_of_com2() };
            let machine = Machine { cpus: 2, firmware: Firmware::Uefi, ..Machine::default() };
            serial(context, &domains(context, &[owner])?, machine, limit)
        }),
        Case::boot("devices: a domain that starts anew drives its port again", anew),
        Case::boot("devices: ports of another domain's are closed", |context, limit| {
            stranger(context, &[], limit)
        }),
        Case::boot("devices: two domains with ports on one CPU keep apart", |context, limit| {
            let ports = Some(PortRange { first: 0x3e8, count: 8 });
            stranger(context, &[Device { ports, ..Device::default() }], limit)
        }),
        Case::boot("devices: registers and a level interrupt on the bare machine", |context, limit| {
            let world = World::Native;
            let kernels = context.kernels()?;
            let cmdline = edu_cmdline(EDU_REGISTERS.base, EDU_LINE);
            let contents = world.contents(&kernels.demo, &kernels.hypervisor, &cmdline)?;
            expect_edu(&edu(context, &contents, limit)?, "")
        }),
        Case::boot("devices: registers and a level interrupt in ring 3", |context, limit| {
            expect_edu(&edu(context, &domains(context, &[owner_of_edu()])?, limit)?, "")
        }),
        Case::boot("devices: registers of another domain's are not there", strangers_registers),
        Case::boot("devices: nothing masters the bus beside them", bus_masters),
        Case::boot("devices: what this machine cannot assign is refused", refused),
    ]
}

/// A domain that runs the demo kernel.
#[derive(Clone)]
struct Domain {
    name: &'static str,
    cmdline: String,
    cpu: u32,
    devices: Vec<Device>,
}

fn owner_of_com2() -> Domain {
    let device = Device { ports: Some(COM2), interrupt: Some(COM2_LINE), ..Device::default() };
    Domain { name: "owner", cmdline: "run=serial serial_line=0".into(), cpu: 0, devices: vec![device] }
}

fn owner_of_edu() -> Domain {
    let device = Device { mmio: Some(EDU_REGISTERS), interrupt: Some(EDU_LINE), ..Device::default() };
    let cmdline = edu_cmdline(EDU_REGISTERS.base, 0);
    Domain { name: "owner", cmdline, cpu: 0, devices: vec![device] }
}

fn edu_cmdline(registers: u64, line: u32) -> String {
    format!("run=edu registers={registers:#x} line={line}")
}

fn domains(context: &Context, domains: &[Domain]) -> Result<Contents, Failure> {
    let kernels = context.kernels()?;
    let mut manifest = Manifest::for_guest(kernels.demo.clone(), "");
    let one = |domain: &Domain| {
        let mut described = Manifest::for_guest(kernels.demo.clone(), &domain.cmdline).domains.remove(0);
        described.name = domain.name.into();
        described.vcpus[0].cpu = domain.cpu;
        described.devices = domain.devices.iter().copied().map(Into::into).collect();
        described
    };
    manifest.domains = domains.iter().map(one).collect();
    Ok(Contents::hypervisor(kernels.hypervisor.clone(), manifest.compile(Some(DEBUG_EXIT_PORT))?))
}

/// A machine with a COM2, and its other end.
struct WithCom2 {
    session: Session,
    wire: Wire,
    _folder: TempDir,
}

fn boot_with_com2(
    context: &Context,
    contents: &Contents,
    machine: Machine,
    limit: Duration,
) -> Result<WithCom2, Failure> {
    let folder = tempfile::tempdir()
        .map_err(|error| Failure::file("create a folder in", &std::env::temp_dir(), &error))?;
    let socket = folder.path().join("com2");
    let com2 = Some(format!("unix:{},server=on,wait=off", socket.display()));
    let session = context.start(contents, &Machine { com2, ..machine }, limit)?;
    let wire = Wire::connect(&socket, limit)?;
    Ok(WithCom2 { session, wire, _folder: folder })
}

// covers: DEV-001, DEV-007, DEV-009
/// Boots contents that drive COM2 and talks to them, to the end.
fn serial(context: &Context, contents: &Contents, machine: Machine, limit: Duration) -> Result<(), Failure> {
    const TYPED: &str = "one\rtwo three\r";
    const ECHOED: &str = "one\r\ntwo three\r\n";
    let WithCom2 { session, mut wire, .. } = boot_with_com2(context, contents, machine, limit)?;
    wire.wait_for(GREETING)?;
    TYPED.bytes().try_for_each(|byte| wire.send(&[byte]))?;
    wire.wait_for(ECHOED)?;
    // More at once than the device holds: nothing may be lost on the way.
    let long = "0123456789abcdef".repeat(32);
    wire.send(long.as_bytes())?;
    wire.wait_for(&long)?;
    wire.send(&[CTRL_D])?;
    let ended = session.finish()?;
    expect_status(&ended, 0)?;
    expect_text(&ended, &format!("result: serial_bytes {}", TYPED.len() + long.len()))?;
    expect_text(&ended, "result: verdict ok")
}

// covers: DEV-010
/// What was in service when the domain ended is forgotten, and the port's interrupt can be bound again.
fn anew(context: &Context, limit: Duration) -> Result<(), Failure> {
    let contents = domains(context, &[owner_of_com2()])?;
    let WithCom2 { session, mut wire, .. } = boot_with_com2(context, &contents, Machine::default(), limit)?;
    for round in ["first", "second", "third"] {
        wire.wait_for(GREETING)?;
        wire.send(round.as_bytes())?;
        wire.wait_for(round)?;
        // The last byte comes when nobody listens any more.
        wire.send(&[if round == "third" { CTRL_D } else { CTRL_R }, b'?'])?;
    }
    let ended = session.finish()?;
    expect_status(&ended, 0)?;
    expect_text(&ended, "result: verdict ok")
}

// covers: DEV-001
/// While its owner drives COM2, another domain on the same CPU, with other devices, tries the same: it gets #GP, and
/// the owner does not notice.
fn stranger(context: &Context, devices: &[Device], limit: Duration) -> Result<(), Failure> {
    let stranger = Domain { name: "stranger", devices: devices.to_vec(), ..owner_of_com2() };
    let contents = domains(context, &[owner_of_com2(), stranger])?;
    let WithCom2 { mut session, mut wire, .. } =
        boot_with_com2(context, &contents, Machine::default(), limit)?;
    wire.wait_for(GREETING)?;
    session.wait_for("domain 'stranger' crashed", limit)?;
    wire.send(b"still here")?;
    wire.wait_for("still here")?;
    wire.send(&[CTRL_D])?;
    let ended = session.finish()?;
    expect_status(&ended, ExitStatus::DOMAIN_CRASHED.code())?;
    expect_text(&ended, "[stranger] kernel fault: general protection (vector 13)")?;
    expect_text(&ended, "[owner] result: verdict ok")
}

// covers: DEV-013
/// The disk that the boot loader was read from masters the bus, until there is a domain with devices: then nothing does.
fn bus_masters(context: &Context, limit: Duration) -> Result<(), Failure> {
    let without = Domain { cmdline: "run=load seconds=0".into(), devices: Vec::new(), ..owner_of_com2() };
    let with = Domain { devices: owner_of_com2().devices, ..without.clone() };
    for (domain, expected) in [(without, BUS_MASTER), (with, 0)] {
        let folder = tempfile::tempdir()
            .map_err(|error| Failure::file("create a folder in", &std::env::temp_dir(), &error))?;
        let monitor = folder.path().join("monitor");
        let contents = domains(context, &[domain])?;
        let machine = Machine { monitor: Some(monitor.clone()), ..Machine::default() };
        let mut session = context.start(&contents, &machine, limit)?;
        session.wait_for("demo kernel", limit)?;
        let command = disk_command(&monitor, limit)?;
        ensure(
            command & BUS_MASTER == expected,
            format_args!("the disk controller's command register is {command:#x}"),
        )?;
    }
    Ok(())
}

/// Bit of the command register.
const BUS_MASTER: u16 = 1 << 2;

/// Command register of q35's disk controller, by QEMU's monitor and PCI's window in memory.
fn disk_command(monitor: &Path, limit: Duration) -> Result<u16, Failure> {
    const PROMPT: &str = "(qemu) ";
    const COMMAND_OF_DISK: u64 = 0xb000_0000 + (0x1f << 15) + (2 << 12) + 4;
    let mut wire = Wire::connect(monitor, limit)?;
    wire.wait_for(PROMPT)?;
    wire.send(format!("xp /1hx {COMMAND_OF_DISK:#x}\n").as_bytes())?;
    wire.wait_for(": 0x")?;
    let answer = wire.wait_for(PROMPT)?;
    u16::from_str_radix(answer.trim(), 16)
        .map_err(|_| Failure::new(Kind::CheckFailed, format!("the monitor answers {answer:?}")))
}

// covers: DEV-003, DEV-008
fn edu(context: &Context, contents: &Contents, limit: Duration) -> Result<Ended, Failure> {
    let machine = Machine { devices: vec![EDU.into()], ..Machine::default() };
    context.start(contents, &machine, limit)?.finish()
}

fn expect_edu(ended: &Ended, tag: &str) -> Result<(), Failure> {
    expect_status(ended, 0)?;
    expect_text(ended, &format!("{tag}result: edu_interrupts 30"))?;
    expect_text(ended, &format!("{tag}result: verdict ok"))
}

// covers: DEV-003
/// A page that a domain was not given reads as a page fault; its owner goes on.
fn strangers_registers(context: &Context, limit: Duration) -> Result<(), Failure> {
    let stranger = Domain { name: "stranger", devices: Vec::new(), ..owner_of_edu() };
    let ended = edu(context, &domains(context, &[owner_of_edu(), stranger])?, limit)?;
    expect_text(&ended, "[stranger] check failed: the registers can be read")?;
    expect_text(&ended, "[owner] result: edu_interrupts 30")?;
    expect_text(&ended, "[owner] result: verdict ok")
}

// covers: DEV-012
/// Only the machine at hand knows its memory, its lines and ACPI's registers.
fn refused(context: &Context, limit: Duration) -> Result<(), Failure> {
    let registers = |base, bytes| Device { mmio: Some(MmioRange { base, bytes }), ..Device::default() };
    let cases = [
        (registers(256 << 20, 4096), "are memory"),
        (registers(1 << 45, 4096), "beyond this machine's physical addresses"),
        (registers(0xb000_0000, 4096), "part of the machine itself"),
        (Device { interrupt: Some(200), ..Device::default() }, "no such interrupt"),
    ];
    for (device, reason) in cases {
        let domain = Domain { devices: vec![device], ..owner_of_com2() };
        let contents = domains(context, &[domain])?;
        let ended = context.start(&contents, &Machine::default(), limit)?.finish()?;
        expect_status(&ended, ExitStatus::IMAGE_REFUSED.code())?;
        let refusals = ended.console.lines().filter(|line| line.contains("domain 'owner' refused: "));
        let refusals: Vec<&str> = refusals.collect();
        ensure(
            matches!(refusals[..], [line] if line.contains(reason)),
            format_args!("{device:?}: not refused with {reason:?}{}", last_lines(&ended.console)),
        )?;
    }
    Ok(())
}
