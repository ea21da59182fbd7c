//! `run=edu`: drives QEMU's educational device (QEMU's `docs/specs/edu.txt`), the same in every world: registers in
//! memory, and an interrupt triggered by level.
//!
//! `registers=` is where they are, `line=` their interrupt: on the bare machine the global number, in a guest the
//! device's number.

use crate::arch::{device::Registers, raw};
use crate::events;
use crate::memory::{kernel_space, tables};
use crate::options::{self, Refused};
use crate::report::Report;
use crate::sync::WaitQueue;
use core::sync::atomic::{AtomicU64, Ordering};
use pvops_abi::addr::PhysAddr;
use pvops_abi::ops::event::{EventSource, Port};
use pvops_abi::ops::mmu::PageFlags;
use spin::Once;

/// Registers, by their offset.
mod register {
    pub(super) const IDENTIFICATION: u16 = 0x00;
    pub(super) const LIVENESS: u16 = 0x04;
    pub(super) const INTERRUPT_STATUS: u16 = 0x24;
    pub(super) const RAISE: u16 = 0x60;
    pub(super) const ACKNOWLEDGE: u16 = 0x64;
}

/// Times that an interrupt is raised,
const RAISED: u64 = 10;
/// and how often each is delivered before its cause is removed.
const DELIVERIES: u64 = 3;
/// What is raised; any value.
const CAUSE: u32 = 0x40;

static DEVICE: Once<Registers> = Once::new();
static INTERRUPTS: AtomicU64 = AtomicU64::new(0);
static WAITING: WaitQueue = WaitQueue::new();

/// Runs as the command line says; returns the status to end with.
pub(crate) fn run(command_line: &str) -> Result<u8, Refused> {
    let base = options::number(command_line, "registers", 4096..=1 << 52)?.unwrap_or(0) & !0xfff;
    let line = options::number(command_line, "line", 0..=u64::from(u32::MAX))?.unwrap_or(0) as u32;
    let mut report = Report::new();
    let page = kernel_space::window();
    let flags = PageFlags::PRESENT | PageFlags::WRITABLE | PageFlags::NO_EXECUTE | PageFlags::UNCACHED;
    let mapped = tables::map_page(kernel_space::root(), page, PhysAddr(base), flags);
    report.check("the registers can be mapped", mapped.is_ok());
    if raw::probe_load(page).is_none() {
        report.check("the registers can be read", false);
        return Ok(report.conclude());
    }
    let device = *DEVICE.call_once(|| Registers::at(page));
    report.expect("edu_identification", u64::from(device.read(register::IDENTIFICATION) & 0xffff), 0xed);
    device.write(register::LIVENESS, 0x1234_5678);
    report.expect("edu_liveness", device.read(register::LIVENESS).into(), u64::from(!0x1234_5678_u32));
    if !report.has_failed() {
        interrupts(device, line, &mut report);
    }
    Ok(report.conclude())
}

/// A level stays active until its cause is removed: the port becomes pending again after each end of interrupt.
fn interrupts(device: Registers, line: u32, report: &mut Report) {
    let Ok(port) = events::bind(EventSource::Device { line }, on_interrupt) else {
        report.check("the interrupt can be bound", false);
        return;
    };
    for round in 1..=RAISED {
        device.write(register::RAISE, CAUSE);
        WAITING.wait_until(|| (INTERRUPTS.load(Ordering::Relaxed) >= round * DELIVERIES).then_some(()));
    }
    events::unbind(port);
    // Nobody hears of this one.
    device.write(register::RAISE, CAUSE);
    report.check("the device is asking", device.read(register::INTERRUPT_STATUS) == CAUSE);
    report.expect("edu_interrupts", INTERRUPTS.load(Ordering::Relaxed), RAISED * DELIVERIES);
    device.write(register::ACKNOWLEDGE, CAUSE);
}

/// Removes the cause at the last of the deliveries only. Whoever served the port ends the interrupt.
fn on_interrupt(_: Port) {
    let count = INTERRUPTS.fetch_add(1, Ordering::Relaxed) + 1;
    if count.is_multiple_of(DELIVERIES) {
        let device = DEVICE.get().expect("set before the port was bound");
        device.write(register::ACKNOWLEDGE, device.read(register::INTERRUPT_STATUS));
    }
    WAITING.wake_all();
}
