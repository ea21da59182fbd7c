//! Local APIC: end of interrupt, one-shot timer, inter-processor interrupts. x2APIC where the CPU has it.

pub mod boot;

use super::cpu::{read_msr, timestamp, write_msr};
use super::layout::LOCAL_APIC;
use super::percpu::cpu;
use super::time;
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
/// Timer ticks per clock tick, as a fraction of 2^32.
static TIMER_PER_TICK: AtomicU64 = AtomicU64::new(0);

fn read(register: u32) -> u32 {
    if X2APIC.load(Ordering::Relaxed) {
        return read_msr(X2APIC_BASE + register) as u32;
    }
    // SAFETY: boot mapped the registers there, uncached; reads of these have no side effects.
    unsafe { ((LOCAL_APIC + u64::from(register) * 16) as *const u32).read_volatile() }
}

fn write(register: u32, value: u32) {
    if X2APIC.load(Ordering::Relaxed) {
        // SAFETY: a register of the local APIC, which is the hypervisor's alone.
        unsafe { write_msr(X2APIC_BASE + register, value.into()) };
        return;
    }
    // SAFETY: as in `read`, and the local APIC is the hypervisor's alone.
    unsafe { ((LOCAL_APIC + u64::from(register) * 16) as *mut u32).write_volatile(value) };
}

/// Arms this CPU's timer for the clock value `deadline_ns`; `u64::MAX` disarms. It may fire early by rounding:
/// who handles it compares with the clock and arms again.
pub fn arm_timer(deadline_ns: u64) {
    let this = cpu();
    if this.timer_armed.get() == deadline_ns {
        return;
    }
    this.timer_armed.set(deadline_ns);
    let ticks = if deadline_ns == u64::MAX { u64::MAX } else { time::ticks_at(deadline_ns) };
    if HAS_DEADLINE.load(Ordering::Relaxed) {
        // 0 disarms; the counter is never there again.
        let value = if deadline_ns == u64::MAX { 0 } else { ticks };
        // SAFETY: CPUID offers the register; the timer is the hypervisor's.
        unsafe { write_msr(TSC_DEADLINE, value) };
        return;
    }
    if deadline_ns == u64::MAX {
        write(register::INITIAL_COUNT, 0);
        return;
    }
    let left = ticks.saturating_sub(timestamp());
    let count = (u128::from(left) * u128::from(TIMER_PER_TICK.load(Ordering::Relaxed))) >> 32;
    write(register::INITIAL_COUNT, (count + 1).min(u128::from(u32::MAX)) as u32);
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
    write(register::COMMAND_HIGH, target << 24);
    write(register::COMMAND, command);
    // Bounded: delivery to a running CPU takes nanoseconds.
    for _ in 0..100_000 {
        if read(register::COMMAND) & 1 << 12 == 0 {
            return;
        }
        core::hint::spin_loop();
    }
}
