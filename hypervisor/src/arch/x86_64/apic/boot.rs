//! What is done with a local APIC once.

use super::super::cpu::{cpuid, read_msr, timestamp, write_msr};
use super::super::percpu::cpu;
use super::super::time;
use super::{FASTEST, HAS_DEADLINE, TIMER_PER_TICK, X2APIC, X2APIC_BASE, in_memory, register, vector, write};
use core::sync::atomic::Ordering;

const APIC_BASE: u32 = 0x1b;
const TIMER_MASKED: u32 = 1 << 16;
const TIMER_TSC_DEADLINE: u32 = 2 << 17;

/// Finds out what the APIC can do. Boot CPU.
pub fn probe() {
    let features = cpuid(1, 0)[2];
    X2APIC.store(features & 1 << 21 != 0, Ordering::Relaxed);
    HAS_DEADLINE.store(features & 1 << 24 != 0, Ordering::Relaxed);
}

fn read(register: u32) -> u32 {
    if X2APIC.load(Ordering::Relaxed) {
        return read_msr(X2APIC_BASE + register) as u32;
    }
    // SAFETY: boot mapped the registers there, uncached; reads of these have no side effects.
    unsafe { in_memory(register).read_volatile() }
}

/// Enables this CPU's APIC, timer masked, and remembers its id.
pub fn start_cpu() {
    let mut base = read_msr(APIC_BASE) | 1 << 11;
    if X2APIC.load(Ordering::Relaxed) {
        base |= 1 << 10;
    }
    // SAFETY: enabling the local APIC in the mode that CPUID offers (Intel SDM volume 3, 11.12.1).
    unsafe { write_msr(APIC_BASE, base) };
    write(register::SPURIOUS, 0x100 | u32::from(vector::SPURIOUS));
    write(register::TASK_PRIORITY, 0);
    write(register::DIVIDE, 0b1011);
    let mode = if HAS_DEADLINE.load(Ordering::Relaxed) { TIMER_TSC_DEADLINE } else { 0 };
    write(register::TIMER, mode | u32::from(vector::TIMER));
    let id = read(register::ID);
    let this = cpu();
    this.apic_id.set(if X2APIC.load(Ordering::Relaxed) { id } else { id >> 24 });
}

/// Measures the timer against the counter. Boot CPU, interrupts off, after [`start_cpu`].
pub fn calibrate_timer() {
    if HAS_DEADLINE.load(Ordering::Relaxed) {
        return;
    }
    write(register::TIMER, TIMER_MASKED | u32::from(vector::TIMER));
    write(register::INITIAL_COUNT, u32::MAX);
    let start = timestamp();
    let ticks = time::hz() / 200;
    while timestamp() - start < ticks {
        core::hint::spin_loop();
    }
    let elapsed = timestamp() - start;
    let counted = u32::MAX - read(register::CURRENT_COUNT);
    write(register::INITIAL_COUNT, 0);
    write(register::TIMER, u32::from(vector::TIMER));
    let per_tick = ((u128::from(counted) << 32) / u128::from(elapsed.max(1))) as u64;
    TIMER_PER_TICK.store(per_tick.min((u64::from(FASTEST) << 32) - 1), Ordering::Relaxed);
}
