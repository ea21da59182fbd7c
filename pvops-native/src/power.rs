//! The end of a kernel: power-off and reset, by ACPI first, then by what PCs and their emulators have.

use pvops_abi::ops::sched::{SchedOps, ShutdownReason};
use x86::io::{inb, inw, outb, outw};
use x86_64::instructions::hlt;
use x86_64::instructions::tables::lidt;
use x86_64::structures::DescriptorTablePointer;

use crate::machine::machine;
use crate::{clock, console, irq};
use pvops_firmware::PowerRegisters;

/// SLP_EN of PM1_CNT; SLP_TYP stands below it (ACPI 6.5, 4.8.3.2.1).
const SLEEP_ENABLE: u16 = 1 << 13;
const SLEEP_TYPE_SHIFT: u16 = 10;
const SLEEP_TYPE_MASK: u16 = 7 << SLEEP_TYPE_SHIFT;
/// SCI_EN: the registers are ours and not firmware's.
const SCI_ENABLE: u16 = 1;
/// Soft-off ports of QEMU's and Bochs' machines that have no tables.
const EMULATOR_SOFT_OFF: [u16; 2] = [0x604, 0xb004];
/// The chip set's reset control (Intel ICH data sheets, RST_CNT).
const RESET_CONTROL: u16 = 0xcf9;
const HARD_RESET: u8 = 0x0e;
const KEYBOARD_COMMAND: u16 = 0x64;
const KEYBOARD_INPUT_FULL: u8 = 2;
const PULSE_RESET: u8 = 0xfe;
/// How long one way is given before the next is tried.
const PATIENCE_NS: u64 = 50_000_000;

/// Scheduling below the kernel: there is none, only an end.
pub(crate) struct Power;

impl SchedOps for Power {
    fn yield_now(&self) {
        core::hint::spin_loop();
    }

    fn shutdown(&self, reason: ShutdownReason, code: u8) -> ! {
        irq::mask();
        console::drain();
        match reason {
            ShutdownReason::Reboot => reboot(),
            ShutdownReason::PowerOff | ShutdownReason::Crash => {
                exit_emulator(code);
                power_off();
            }
        }
        loop {
            hlt();
        }
    }
}

/// Hands `code` to an emulator's exit device when the command line names its port (`debug-exit=0xf4`).
fn exit_emulator(code: u8) {
    let Some(port) = machine().boot.option("debug-exit").and_then(parse_port) else { return };
    // SAFETY: whoever wrote the command line vouches for the device at that port.
    unsafe { outb(port, code) };
    clock::spin(PATIENCE_NS);
}

fn parse_port(text: &str) -> Option<u16> {
    match text.strip_prefix("0x") {
        Some(digits) => u16::from_str_radix(digits, 16).ok(),
        None => text.parse().ok(),
    }
}

fn power_off() {
    let power = &machine().firmware.power;
    if let Some(sleep) = power.soft_off {
        enable_acpi(power);
        enter_sleep(power.pm1a_control, sleep.a);
        enter_sleep(power.pm1b_control, sleep.b);
        clock::spin(PATIENCE_NS);
    }
    for port in EMULATOR_SOFT_OFF {
        // SAFETY: nothing else is at these ports where firmware's way was there and worked.
        unsafe { outw(port, SLEEP_ENABLE) };
        clock::spin(PATIENCE_NS);
    }
}

/// Takes the PM1 registers from firmware, unless they are ours.
fn enable_acpi(power: &PowerRegisters) {
    let (port, value) = power.acpi_enable;
    let is_enabled = || {
        // SAFETY: the control register as firmware names it; reading has no side effects.
        power.pm1a_control == 0 || (unsafe { inw(power.pm1a_control) }) & SCI_ENABLE != 0
    };
    if port == 0 || is_enabled() {
        return;
    }
    // SAFETY: the command that firmware's table gives for this.
    unsafe { outb(port, value) };
    let end = clock::now_ns() + PATIENCE_NS;
    while !is_enabled() && clock::now_ns() < end {
        core::hint::spin_loop();
    }
}

fn enter_sleep(control: u16, sleep_type: u8) {
    if control == 0 {
        return;
    }
    // SAFETY: the control register and the sleep type are firmware's; this ends the machine, as asked.
    unsafe {
        let kept = inw(control) & !SLEEP_TYPE_MASK;
        outw(control, kept | u16::from(sleep_type) << SLEEP_TYPE_SHIFT | SLEEP_ENABLE);
    }
}

fn reboot() {
    if let Some((port, value)) = machine().firmware.power.reset {
        // SAFETY: the reset register and value as firmware gives them.
        unsafe { outb(port, value) };
        clock::spin(PATIENCE_NS);
    }
    // SAFETY: the chip set's reset control; on machines without it the port is empty.
    unsafe { outb(RESET_CONTROL, HARD_RESET) };
    clock::spin(PATIENCE_NS);
    pulse_keyboard_reset();
    triple_fault();
}

/// Resets by the 8042, whose output pin was the first PCs' reset line.
fn pulse_keyboard_reset() {
    let end = clock::now_ns() + PATIENCE_NS;
    // SAFETY: the PC's fixed status port; reading it has no side effects.
    while (unsafe { inb(KEYBOARD_COMMAND) }) & KEYBOARD_INPUT_FULL != 0 && clock::now_ns() < end {
        core::hint::spin_loop();
    }
    // SAFETY: the PC's fixed command port.
    unsafe { outb(KEYBOARD_COMMAND, PULSE_RESET) };
    clock::spin(PATIENCE_NS);
}

/// An exception without a table to handle it ends in shutdown, which PCs turn into a reset.
fn triple_fault() {
    let empty = DescriptorTablePointer { limit: 0, base: x86_64::VirtAddr::zero() };
    // SAFETY: interrupts are masked, and no exception is meant to be handled any more.
    unsafe {
        lidt(&empty);
        core::arch::asm!("int3", options(nomem, nostack));
    }
}
