//! Local APIC: end of interrupt, one-shot timer, inter-processor interrupts. x2APIC where the CPU has it.

pub mod boot;

use super::cpu::{timestamp, write_msr};
use super::layout::LOCAL_APIC;
use super::machine;
use super::percpu::cpu;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Vectors of the hypervisor.
pub mod vector {
    /// First of the IOAPIC's lines.
    pub const LINES: u8 = 0xe0;
    /// This CPU's timer.
    pub const TIMER: u8 = 0xf0;
    /// Another CPU wants attention.
    pub const KICK: u8 = 0xf1;
    /// Spurious interrupts of the local APIC.
    pub const SPURIOUS: u8 = 0xff;
}

/// Registers by their number in x2APIC mode; in memory at 16 times that (Intel SDM volume 3, table 11-6).
mod register {
    pub(super) const ID: u32 = 0x02;
    pub(super) const TASK_PRIORITY: u32 = 0x08;
    pub(super) const END_OF_INTERRUPT: u32 = 0x0b;
    pub(super) const SPURIOUS: u32 = 0x0f;
    pub(super) const COMMAND: u32 = 0x30;
    pub(super) const COMMAND_HIGH: u32 = 0x31;
    pub(super) const TIMER: u32 = 0x32;
    pub(super) const INITIAL_COUNT: u32 = 0x38;
    pub(super) const CURRENT_COUNT: u32 = 0x39;
    pub(super) const DIVIDE: u32 = 0x3e;
}

const X2APIC_BASE: u32 = 0x800;
const TSC_DEADLINE: u32 = 0x6e0;

static X2APIC: AtomicBool = AtomicBool::new(false);
static HAS_DEADLINE: AtomicBool = AtomicBool::new(false);
/// Timer ticks per tick of the counter, as a fraction of 2^32. Less than [`FASTEST`] of them.
static TIMER_PER_TICK: AtomicU64 = AtomicU64::new(0);
const FASTEST: u32 = 4;
/// Most ticks for which the timer is armed, so that its count has 32 bits. What is later than that fires early, once in a
/// fraction of a second.
const LONGEST: u64 = (u32::MAX / FASTEST) as u64;

/// Where a register stands in memory.
fn in_memory(register: u32) -> *mut u32 {
    (LOCAL_APIC + u64::from(register) * 16) as *mut u32
}

fn write(register: u32, value: u32) {
    if X2APIC.load(Ordering::Relaxed) {
        // SAFETY: a register of the local APIC, which is the hypervisor's alone.
        unsafe { write_msr(X2APIC_BASE + register, value.into()) };
        return;
    }
    // SAFETY: boot mapped the registers there, uncached; the local APIC is the hypervisor's alone.
    unsafe { in_memory(register).write_volatile(value) };
}

/// Arms this CPU's timer for `tick` of the counter. It may fire early by rounding: who handles it compares with the
/// counter and arms again.
pub fn arm_timer(tick: u64) {
    cpu().timer_armed.set(tick);
    trace!(TimerSet, tick);
    if HAS_DEADLINE.load(Ordering::Relaxed) {
        // SAFETY: CPUID offers the register; the timer is the hypervisor's.
        unsafe { write_msr(TSC_DEADLINE, tick) };
        return;
    }
    // Little comes between reading the counter and the store: the timer is late by it.
    let timer_per_tick = u128::from(TIMER_PER_TICK.load(Ordering::Relaxed));
    let left = tick.saturating_sub(timestamp()).min(LONGEST);
    write(register::INITIAL_COUNT, ((u128::from(left) * timer_per_tick) >> 32) as u32 + 1);
}

/// The interrupt being handled is done.
pub fn end_of_interrupt() {
    write(register::END_OF_INTERRUPT, 0);
}

/// Sends a command to the CPU with local APIC id `target`.
pub fn send(target: u32, command: u32) {
    if X2APIC.load(Ordering::Relaxed) {
        let value = u64::from(target) << 32 | u64::from(command);
        // SAFETY: as in `write`.
        unsafe { write_msr(X2APIC_BASE + register::COMMAND, value) };
        return;
    }
    let low = in_memory(register::COMMAND);
    // SAFETY: as in `write`; reading has no side effects.
    unsafe {
        in_memory(register::COMMAND_HIGH).write_volatile(target << 24);
        low.write_volatile(command);
        // Bounded: delivery to a running CPU takes nanoseconds.
        for _ in 0..100_000 {
            if low.read_volatile() & 1 << 12 == 0 {
                return;
            }
            core::hint::spin_loop();
        }
    }
}

/// Has another CPU look at who runs.
#[inline(never)]
pub fn kick(number: u32) {
    send(machine::apic_id(number), vector::KICK.into());
}
