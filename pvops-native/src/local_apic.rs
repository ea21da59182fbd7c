//! The local APIC of the calling CPU: xAPIC by memory, x2APIC by MSRs where CPUID has it.
//!
//! Registers: Intel SDM volume 3, 11.4 (xAPIC) and 11.12 (x2APIC). Both have the same registers: number `n` is
//! at byte `n * 16` of the block, or at MSR `0x800 + n`.

use core::sync::atomic::{AtomicBool, Ordering};

use pvops_abi::addr::PhysAddr;
use x86::msr::{IA32_APIC_BASE, IA32_TSC_DEADLINE, rdmsr, wrmsr};

use crate::cpu::features;
use crate::machine::machine;
use crate::mmio::Registers;

/// Vector of the timer.
pub(crate) const TIMER_VECTOR: u8 = 0xec;
/// Vector by which a CPU is told to look at its pending ports.
pub(crate) const KICK_VECTOR: u8 = 0xed;
/// Vector of internal errors.
const ERROR_VECTOR: u8 = 0xee;
/// Vector of interrupts withdrawn too late; it takes no end of interrupt (11.9).
pub(crate) const SPURIOUS_VECTOR: u8 = 0xff;

const ID: u32 = 0x02;
const TASK_PRIORITY: u32 = 0x08;
const END_OF_INTERRUPT: u32 = 0x0b;
const SPURIOUS: u32 = 0x0f;
const ERROR_STATUS: u32 = 0x28;
const COMMAND_LOW: u32 = 0x30;
const COMMAND_HIGH: u32 = 0x31;
const LVT_TIMER: u32 = 0x32;
const LVT_LINT0: u32 = 0x35;
const LVT_LINT1: u32 = 0x36;
const LVT_ERROR: u32 = 0x37;
const TIMER_INITIAL: u32 = 0x38;
const TIMER_CURRENT: u32 = 0x39;
const TIMER_DIVIDE: u32 = 0x3e;

const SOFTWARE_ENABLE: u32 = 1 << 8;
const LVT_MASKED: u32 = 1 << 16;
const LVT_NMI: u32 = 4 << 8;
const LVT_TSC_DEADLINE: u32 = 2 << 17;
const DIVIDE_BY_1: u32 = 0b1011;
const DELIVERY_PENDING: u32 = 1 << 12;
const SHORTHAND_SELF: u32 = 1 << 18;
const BASE_ENABLE: u64 = 1 << 11;
const BASE_X2APIC: u64 = 1 << 10;
const FIRST_MSR: u32 = 0x800;

/// Whether the boot CPU was switched to x2APIC; all CPUs follow it.
static X2APIC: AtomicBool = AtomicBool::new(false);

fn is_x2apic() -> bool {
    X2APIC.load(Ordering::Relaxed)
}

fn block() -> Registers {
    // SAFETY: firmware and the APIC base agree on this block; it is among the required mappings.
    unsafe { Registers::new(machine().firmware.local_apic) }
}

fn read(register: u32) -> u32 {
    if is_x2apic() {
        // SAFETY: an x2APIC register, and the mode is on.
        (unsafe { rdmsr(FIRST_MSR + register) }) as u32
    } else {
        block().read32(register as usize * 16)
    }
}

fn write(register: u32, value: u32) {
    if is_x2apic() {
        // SAFETY: an x2APIC register, and the mode is on; callers write values that the manual defines.
        unsafe { wrmsr(FIRST_MSR + register, value.into()) }
    } else {
        block().write32(register as usize * 16, value);
    }
}

/// The block's address if it is reached by memory: it must stay mapped.
pub(crate) fn mapped_block() -> Option<PhysAddr> {
    (!is_x2apic()).then(|| machine().firmware.local_apic)
}

/// Turns on the boot CPU's APIC, everything in it masked but NMI.
pub(crate) fn start() {
    X2APIC.store(features::has_x2apic() || already_x2apic(), Ordering::Relaxed);
    start_cpu();
}

/// Firmware may have switched to x2APIC, and there is no way back without a disable (11.12.5).
fn already_x2apic() -> bool {
    // SAFETY: every CPU with a local APIC has this MSR.
    (unsafe { rdmsr(IA32_APIC_BASE) }) & BASE_X2APIC != 0
}

/// Turns on the calling CPU's APIC.
pub(crate) fn start_cpu() {
    // SAFETY: every CPU with a local APIC has this MSR; the base is kept, x2APIC is set only where it exists.
    unsafe {
        let base = rdmsr(IA32_APIC_BASE) | BASE_ENABLE;
        wrmsr(IA32_APIC_BASE, base);
        if is_x2apic() {
            wrmsr(IA32_APIC_BASE, base | BASE_X2APIC);
        }
    }
    write(SPURIOUS, SOFTWARE_ENABLE | u32::from(SPURIOUS_VECTOR));
    write(LVT_TIMER, LVT_MASKED | u32::from(TIMER_VECTOR));
    write(LVT_LINT0, LVT_MASKED);
    // On a PC the machine's NMI arrives at LINT1.
    write(LVT_LINT1, LVT_NMI);
    write(LVT_ERROR, u32::from(ERROR_VECTOR));
    write(ERROR_STATUS, 0);
    write(TASK_PRIORITY, 0);
    write(TIMER_DIVIDE, DIVIDE_BY_1);
    write(TIMER_INITIAL, 0);
}

/// Number of the calling CPU's APIC.
pub(crate) fn id() -> u32 {
    if is_x2apic() { read(ID) } else { read(ID) >> 24 }
}

/// Ends the interrupt in service with the highest priority.
pub(crate) fn end_of_interrupt() {
    write(END_OF_INTERRUPT, 0);
}

/// Sends [`KICK_VECTOR`] to the APIC with number `destination`. Interrupts masked.
pub(crate) fn kick(destination: u32) {
    if is_x2apic() {
        let command = u64::from(destination) << 32 | u64::from(KICK_VECTOR);
        // SAFETY: the x2APIC's command register; fixed delivery of a vector that has a handler on every CPU.
        unsafe { wrmsr(FIRST_MSR + COMMAND_LOW, command) };
        return;
    }
    wait_for_delivery();
    write(COMMAND_HIGH, destination << 24);
    write(COMMAND_LOW, KICK_VECTOR.into());
}

/// Sends [`KICK_VECTOR`] to the calling CPU. Interrupts masked.
pub(crate) fn kick_self() {
    if !is_x2apic() {
        wait_for_delivery();
    }
    write(COMMAND_LOW, SHORTHAND_SELF | u32::from(KICK_VECTOR));
}

fn wait_for_delivery() {
    while read(COMMAND_LOW) & DELIVERY_PENDING != 0 {
        core::hint::spin_loop();
    }
}

/// Puts the timer into the mode for [`set_tsc_deadline`].
pub(crate) fn use_tsc_deadline() {
    write(LVT_TIMER, LVT_TSC_DEADLINE | u32::from(TIMER_VECTOR));
    // The write above is to memory and the deadline's is to an MSR: order them (11.5.4.1).
    x86::fence::mfence();
}

/// Puts the timer into the mode for [`set_countdown`].
pub(crate) fn use_countdown() {
    write(LVT_TIMER, TIMER_VECTOR.into());
}

/// The timer's interrupt comes when the time-stamp counter reaches `tsc`; 0 disarms.
pub(crate) fn set_tsc_deadline(tsc: u64) {
    // SAFETY: the timer is in TSC-deadline mode only when CPUID has it, and then this MSR exists.
    unsafe { wrmsr(IA32_TSC_DEADLINE, tsc) };
}

/// The timer's interrupt comes after `ticks`; 0 disarms.
pub(crate) fn set_countdown(ticks: u32) {
    write(TIMER_INITIAL, ticks);
}

/// Ticks left of the countdown.
pub(crate) fn countdown() -> u32 {
    read(TIMER_CURRENT)
}
