//! `run=serial`: drives a serial port of its own by the crate `uart_16550`, the same in every world: greets there, and
//! sends back what arrives, until Ctrl-D. Ctrl-R starts the kernel anew.
//!
//! `serial_port=0x2f8` names its first I/O port and `serial_line=` its interrupt: on the bare machine the global number
//! (3, the default), in a guest the device's number.

use crate::arch::device;
use crate::console::println;
use crate::events;
use crate::options::{self, Refused};
use crate::process;
use crate::report::Report;
use crate::sync::{IrqLock, WaitQueue};
use crate::threads;
use alloc::collections::VecDeque;
use core::sync::atomic::{AtomicU64, Ordering};
use demo_programs::{KILLED, Misdeed, Program};
use pvops_abi::ops::event::{EventSource, Port};
use pvops_abi::ops::sched::{self, ShutdownReason};
use uart_16550::Uart16550;
use uart_16550::backend::PioBackend;
use uart_16550::spec::registers::IER;

const COM2: u64 = 0x2f8;
const COM2_LINE: u64 = 3;
const GREETING: &[u8] = b"pvops: this serial port is mine; I send back what you type, Ctrl-D ends\r\n";
const CTRL_D: u8 = 4;
const CTRL_R: u8 = 18;
/// How long a full transmitter is given before it is tried again.
const PATIENCE_NS: u64 = 100_000;
const GENERAL_PROTECTION: u64 = 13;

static DEVICE: IrqLock<Option<Uart16550<PioBackend>>> = IrqLock::new(None);
static INPUT: IrqLock<VecDeque<u8>> = IrqLock::new(VecDeque::new());
static READERS: WaitQueue = WaitQueue::new();
static INTERRUPTS: AtomicU64 = AtomicU64::new(0);

/// Runs as the command line says; returns the status to end with.
pub(crate) fn run(command_line: &str) -> Result<u8, Refused> {
    let port = options::number(command_line, "serial_port", 1..=0xfff8)?.unwrap_or(COM2);
    let line = options::number(command_line, "serial_line", 0..=u64::from(u32::MAX))?.unwrap_or(COM2_LINE);
    let mut report = Report::new();
    match device::open_serial(port as u16) {
        Some(device) => *DEVICE.lock() = Some(device),
        None => {
            report.check("a 16550 answers", false);
            return Ok(report.conclude());
        }
    }
    if events::bind(EventSource::Device { line: line as u32 }, on_interrupt).is_err() {
        report.check("its interrupt can be bound", false);
        return Ok(report.conclude());
    }
    with_device(|device| device.enable_interrupts(IER::DATA_READY));
    send(GREETING);
    keep_programs_out(&mut report);
    println!("serial port {port:#x} is ready");
    let bytes = echo();
    report.count("serial_bytes", bytes);
    let interrupts = INTERRUPTS.load(Ordering::Relaxed);
    report.measured("serial_interrupts", interrupts, "interrupts");
    report.check("input came by interrupts", interrupts > 0);
    Ok(report.conclude())
}

/// The kernel drives the port, and its programs cannot; neither before an access of the kernel nor after it.
fn keep_programs_out(report: &mut Report) {
    for _ in 0..3 {
        let intruder = process::spawn(Program::Misbehave, Misdeed::ReadPort as u64, None);
        let status = process::wait(&intruder.expect("memory for a program"));
        report.check("a program cannot read the port", status == KILLED | GENERAL_PROTECTION);
        report.check("the kernel can", with_device(|device| device.ier()) == IER::DATA_READY);
    }
}

/// Sends back what arrives; how many bytes came before Ctrl-D.
fn echo() -> u64 {
    for count in 0.. {
        match READERS.wait_until(|| INPUT.lock().pop_front()) {
            CTRL_D => return count,
            CTRL_R => sched::shutdown(ShutdownReason::Reboot, 0),
            b'\r' => send(b"\r\n"),
            byte => send(&[byte]),
        }
    }
    0
}

fn send(mut bytes: &[u8]) {
    loop {
        let sent = with_device(|device| device.send_bytes(bytes));
        bytes = &bytes[sent..];
        if bytes.is_empty() {
            return;
        }
        threads::sleep(PATIENCE_NS);
    }
}

fn with_device<R>(work: impl FnOnce(&mut Uart16550<PioBackend>) -> R) -> R {
    work(DEVICE.lock().as_mut().expect("opened first"))
}

/// The line is an edge: it stays high, and silent, until the last byte was taken.
fn on_interrupt(_: Port) {
    INTERRUPTS.fetch_add(1, Ordering::Relaxed);
    let mut chunk = [0; 16];
    loop {
        let count = with_device(|device| device.receive_bytes(&mut chunk));
        if count == 0 {
            break;
        }
        INPUT.lock().extend(&chunk[..count]);
    }
    READERS.wake_all();
}
