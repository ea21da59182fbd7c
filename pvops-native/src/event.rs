//! Event ports: interrupts of the local APIC and the IOAPIC under the ports' contract.
//!
//! A port is a bit. Sources set it in [`PENDING`]; `next_pending` takes it. An interrupt is ended at the local
//! APIC before the kernel hears of it, so that the kernel may handle ports in any order and switch threads in
//! between; a level line is masked at its IOAPIC first and stays so until `end_of_interrupt`.
//! The alternative, one vector per port up to the kernel, would let the APIC's priorities show through.

use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use pvops_abi::ops::event::{BindError, EventOps, EventSource, Port};
use pvops_firmware::redirection::Trigger;
use spin::Mutex;

use crate::irq::masked;
use crate::local_apic::{self, KICK_VECTOR, SPURIOUS_VECTOR, TIMER_VECTOR};
use crate::machine::machine;
use crate::{MAX_CPUS, clock, console, cpu, io_apic};

/// Number of ports.
const PORTS: usize = 64;
/// Vector of the device interrupt of port 0; the others follow.
const FIRST_PORT_VECTOR: u8 = 0x30;
/// No port, or no line.
const NONE: u32 = u32::MAX;

/// What each port is bound to. Locked with interrupts masked; interrupt handling does not need it.
static SOURCES: Mutex<[Option<EventSource>; PORTS]> = Mutex::new([None; PORTS]);
/// Bit per port: its source has occurred.
static PENDING: AtomicU64 = AtomicU64::new(0);
/// Bit per port: delivery is not wanted.
static MASKED: AtomicU64 = AtomicU64::new(u64::MAX);
/// Bit per port: a level line, masked at its IOAPIC until its cause was handled.
static IN_SERVICE: AtomicU64 = AtomicU64::new(0);
/// Bit per port: its line is triggered by level.
static LEVEL: AtomicU64 = AtomicU64::new(0);
/// Ports that are delivered to each CPU.
static OWNED: [AtomicU64; MAX_CPUS] = [const { AtomicU64::new(0) }; MAX_CPUS];
/// Global line of each port that has one.
static LINES: [AtomicU32; PORTS] = [const { AtomicU32::new(NONE) }; PORTS];
/// Timer port of each CPU.
static TIMER_PORTS: [AtomicU32; MAX_CPUS] = [const { AtomicU32::new(NONE) }; MAX_CPUS];
/// The console's port.
static CONSOLE_PORT: AtomicU32 = AtomicU32::new(NONE);
/// Local APIC number of each CPU, once it was started.
static APIC_IDS: [AtomicU32; MAX_CPUS] = [const { AtomicU32::new(NONE) }; MAX_CPUS];

/// The ports of this machine.
pub(crate) struct Ports;

/// Makes `cpu`, the calling one, a receiver of ports.
pub(crate) fn start_cpu(cpu: usize) {
    APIC_IDS[cpu].store(local_apic::id(), Ordering::Release);
}

/// Handles interrupt `vector` of the calling CPU, number `cpu`: notes what it stands for and ends it. Returns
/// whether the kernel has ports to look at.
pub(crate) fn interrupt(vector: u8, cpu: usize) -> bool {
    match vector {
        // Withdrawn, or a line that we never opened: nothing is in service.
        SPURIOUS_VECTOR | 0x20..FIRST_PORT_VECTOR => return false,
        TIMER_VECTOR => {
            if clock::timer_expired(cpu) {
                make_timer_pending(cpu);
            }
        }
        KICK_VECTOR => {}
        _ => device_interrupt(usize::from(vector - FIRST_PORT_VECTOR)),
    }
    local_apic::end_of_interrupt();
    deliverable(cpu) != 0
}

fn device_interrupt(port: usize) {
    if port >= PORTS {
        return;
    }
    let bit = 1 << port;
    if LEVEL.load(Ordering::Relaxed) & bit != 0 {
        io_apic::mask(LINES[port].load(Ordering::Relaxed));
        IN_SERVICE.fetch_or(bit, Ordering::AcqRel);
    }
    PENDING.fetch_or(bit, Ordering::AcqRel);
}

fn deliverable(cpu: usize) -> u64 {
    PENDING.load(Ordering::Acquire) & !MASKED.load(Ordering::Acquire) & OWNED[cpu].load(Ordering::Relaxed)
}

/// Makes the timer port of `cpu` pending, if it is bound.
pub(crate) fn make_timer_pending(cpu: usize) {
    set_pending(TIMER_PORTS[cpu].load(Ordering::Relaxed));
}

fn set_pending(port: u32) {
    if port != NONE {
        PENDING.fetch_or(1 << port, Ordering::AcqRel);
    }
}

/// As [`make_timer_pending`] for the calling CPU, and has it delivered.
pub(crate) fn raise_timer(cpu: usize) {
    make_timer_pending(cpu);
    masked(local_apic::kick_self);
}

/// The kernel has read from the console. With `more` unread no edge will come: the port becomes pending again.
pub(crate) fn console_was_read(more: bool) {
    let port = CONSOLE_PORT.load(Ordering::Relaxed);
    if port == NONE {
        return;
    }
    if more {
        set_pending(port);
        kick_owner(port as usize);
    }
    finish(port as usize);
}

/// Has the CPU that owns `port` look at its ports.
fn kick_owner(port: usize) {
    let owner = OWNED.iter().position(|owned| owned.load(Ordering::Relaxed) & 1 << port != 0);
    let Some(owner) = owner else { return };
    masked(|| {
        if owner == cpu::current() {
            local_apic::kick_self();
        } else {
            local_apic::kick(APIC_IDS[owner].load(Ordering::Acquire));
        }
    });
}

/// Opens the line of a level port again.
fn finish(port: usize) {
    let bit = 1 << port;
    if IN_SERVICE.fetch_and(!bit, Ordering::AcqRel) & bit != 0 {
        io_apic::unmask(LINES[port].load(Ordering::Relaxed));
    }
}

/// The CPU that receives ports of `source`.
fn receiver(source: EventSource) -> Result<usize, BindError> {
    let cpu = match source {
        EventSource::Timer { cpu } | EventSource::Ipi { cpu } => cpu,
        EventSource::Console | EventSource::Device { .. } => 0,
        EventSource::Doorbell { .. } => return Err(BindError::NoSuchSource),
    };
    if cpu < machine().boot.cpu_count { Ok(cpu) } else { Err(BindError::NoSuchSource) }
}

/// Routes the line of `port`, open but with delivery masked.
fn open_line(port: usize, line: u32, cpu: usize) -> Result<(), BindError> {
    let signal = io_apic::signal_of(line);
    // Only CPUs whose number fits are reached without interrupt remapping.
    let destination = u8::try_from(APIC_IDS[cpu].load(Ordering::Acquire)).unwrap_or(0);
    if LINES.iter().any(|other| other.load(Ordering::Relaxed) == line) {
        return Err(BindError::Busy);
    }
    if !io_apic::route(line, FIRST_PORT_VECTOR + port as u8, destination, signal) {
        return Err(BindError::NoSuchSource);
    }
    LINES[port].store(line, Ordering::Relaxed);
    if signal.trigger == Trigger::Level {
        LEVEL.fetch_or(1 << port, Ordering::Relaxed);
    }
    io_apic::unmask(line);
    Ok(())
}

fn open_console(port: usize, cpu: usize) -> Result<(), BindError> {
    open_line(port, io_apic::isa_line(console::ISA_LINE).line, cpu)?;
    CONSOLE_PORT.store(port as u32, Ordering::Relaxed);
    if !console::set_receive_interrupt(true) {
        close(port, EventSource::Console);
        return Err(BindError::NoSuchSource);
    }
    if console::has_input() {
        set_pending(port as u32);
    }
    Ok(())
}

/// Silences the source of `port` and forgets what it left behind.
fn close(port: usize, source: EventSource) {
    match source {
        EventSource::Timer { cpu } => TIMER_PORTS[cpu].store(NONE, Ordering::Relaxed),
        EventSource::Console => {
            console::set_receive_interrupt(false);
            CONSOLE_PORT.store(NONE, Ordering::Relaxed);
        }
        _ => {}
    }
    let line = LINES[port].swap(NONE, Ordering::Relaxed);
    if line != NONE {
        io_apic::mask(line);
    }
    let bit = 1 << port;
    for bits in [&LEVEL, &IN_SERVICE, &PENDING] {
        bits.fetch_and(!bit, Ordering::AcqRel);
    }
    for owned in &OWNED {
        owned.fetch_and(!bit, Ordering::AcqRel);
    }
}

impl EventOps for Ports {
    fn bind(&self, source: EventSource) -> Result<Port, BindError> {
        let cpu = receiver(source)?;
        masked(|| {
            let mut sources = SOURCES.lock();
            if sources.contains(&Some(source)) {
                return Err(BindError::Busy);
            }
            let port = sources.iter().position(Option::is_none).ok_or(BindError::NoPorts)?;
            let bit = 1 << port;
            MASKED.fetch_or(bit, Ordering::AcqRel);
            PENDING.fetch_and(!bit, Ordering::AcqRel);
            match source {
                EventSource::Timer { cpu } => TIMER_PORTS[cpu].store(port as u32, Ordering::Relaxed),
                EventSource::Console => open_console(port, cpu)?,
                EventSource::Device { line } => open_line(port, line, cpu)?,
                EventSource::Ipi { .. } | EventSource::Doorbell { .. } => {}
            }
            OWNED[cpu].fetch_or(bit, Ordering::AcqRel);
            sources[port] = Some(source);
            Ok(Port(port as u32))
        })
    }

    fn unbind(&self, port: Port) {
        let number = port.0 as usize;
        masked(|| {
            let mut sources = SOURCES.lock();
            if let Some(source) = sources.get_mut(number).and_then(Option::take) {
                MASKED.fetch_or(1 << number, Ordering::AcqRel);
                close(number, source);
            }
        });
    }

    fn mask(&self, port: Port) {
        MASKED.fetch_or(1 << port.0, Ordering::AcqRel);
    }

    fn unmask(&self, port: Port) {
        let bit = 1 << port.0;
        MASKED.fetch_and(!bit, Ordering::AcqRel);
        if PENDING.load(Ordering::Acquire) & bit != 0 {
            kick_owner(port.0 as usize);
        }
    }

    fn send(&self, port: Port) {
        PENDING.fetch_or(1 << port.0, Ordering::AcqRel);
        kick_owner(port.0 as usize);
    }

    fn next_pending(&self) -> Option<Port> {
        let cpu = cpu::current();
        loop {
            let ports = deliverable(cpu);
            let bit = ports & ports.wrapping_neg();
            if bit == 0 {
                return None;
            }
            // Another CPU may have masked or taken it meanwhile: only who clears the bit has it.
            if PENDING.fetch_and(!bit, Ordering::AcqRel) & bit != 0 {
                return Some(Port(bit.trailing_zeros()));
            }
        }
    }

    fn end_of_interrupt(&self, port: Port) {
        finish(port.0 as usize);
    }
}
