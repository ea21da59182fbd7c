//! Deadlines, and giving the CPU away while nobody else wants it.
//!
//! A deadline's figure begins at the tick for which it was set, so what a timer is late by counts too.

use super::Mark;
use crate::entry;
use crate::measure::{Span, Stamps, figure, println, timed};
use crate::world;
use core::sync::atomic::Ordering;
use pvops_abi::call::{Event, Sched, Time};
use pvops_abi::layout::{PortKind, VcpuArea};
use pvops_abi::ops::irq;

/// How far deadlines are away that are waited for, in nanoseconds or ticks.
const SOON: u64 = 5000;
/// How far those are that are only set.
const FAR: u64 = 1_000_000_000;
/// Offset of the local APIC timer's initial count.
const INITIAL_COUNT: u64 = 0x380;

pub(super) fn yield_alone() {
    let arguments = [0, 0, 0, 0, 0, Sched::Yield.id().0, world::call_stub(), 0, 0];
    figure("sched.yield", Mark::Yield as u16, Span::Whole, 1, |_| {
        // SAFETY: the call changes nothing but the registers of a call.
        unsafe { timed!(Mark::Yield, arguments, "mov eax, r14d", "call r15") }.whole()
    });
}

fn counter() -> u64 {
    // SAFETY: both worlds allow it.
    unsafe { core::arch::x86_64::_rdtsc() }
}

fn area() -> &'static VcpuArea {
    &world::BLOCK.area
}

/// The clock, in nanoseconds.
fn clock() -> u64 {
    let [base, start, factor] =
        [&area().time_ns, &area().time_tsc, &area().time_mul].map(|field| field.load(Ordering::Relaxed));
    base + ((u128::from(counter() - start) * u128::from(factor)) >> 32) as u64
}

/// The first tick at which the clock has reached `ns`.
fn tick_at(ns: u64) -> u64 {
    let [base, start, factor] =
        [&area().time_ns, &area().time_tsc, &area().time_mul].map(|field| field.load(Ordering::Relaxed));
    start + (u128::from(ns - base) << 32).div_ceil(u128::from(factor)) as u64
}

pub(super) fn set_deadline() {
    figure("time.set_deadline", Mark::SetDeadline as u16, Span::Whole, 1, |_| {
        // SAFETY: nothing happens at the deadline: it is taken back long before.
        unsafe {
            match world::start_info() {
                Some(_) => {
                    let arguments =
                        [0, 0, clock() + FAR, 0, 0, Time::SetDeadline.id().0, world::call_stub(), 0, 0];
                    timed!(Mark::SetDeadline, arguments, "mov eax, r14d", "mov rdi, r8", "call r15")
                }
                None => {
                    let arguments = [0, 0, entry::local_apic() + INITIAL_COUNT, FAR, 0, 0, 0, 0, 0];
                    timed!(Mark::SetDeadline, arguments, "mov dword ptr [r8], r9d")
                }
            }
        }
        .whole()
    });
    disarm();
}

fn disarm() {
    match world::start_info() {
        Some(_) => _ = super::call(Time::SetDeadline.id(), &[u64::MAX]),
        None => set_countdown(0),
    }
}

fn set_countdown(ticks: u64) {
    // SAFETY: the timer's register, mapped by the boot tables; the interrupt has an entry.
    unsafe { ((entry::local_apic() + INITIAL_COUNT) as *mut u32).write_volatile(ticks as u32) };
}

/// Sleeps until an event comes, with events disabled before.
macro_rules! sleep {
    ($mark:expr) => {
        match world::start_info() {
            Some(_) => {
                let arguments = [0, 0, 0, 0, 0, Sched::Block.id().0, world::call_stub(), 0, 0];
                timed!($mark, arguments, "mov eax, r14d", "call r15")
            }
            None => timed!($mark, [0; 9], "sti", "hlt"),
        }
    };
}

/// Sets a deadline and returns the low half of its tick.
fn set_in(ticks: u64) -> u32 {
    match world::start_info() {
        Some(_) => {
            let deadline = clock() + ticks;
            super::call(Time::SetDeadline.id(), &[deadline]);
            tick_at(deadline) as u32
        }
        None => {
            let now = counter();
            set_countdown(ticks);
            // The store is the second instruction behind the reading, or close to it.
            (now + ticks) as u32 + 2
        }
    }
}

/// From the deadline to the handler's first instruction.
fn lateness(deadline: u32, stamps: Stamps) -> u32 {
    assert!(stamps.handler != 0, "the handler ran");
    stamps.handler.wrapping_sub(deadline)
}

/// As a guest, a timer port for the run of `work`.
fn with_timer(work: impl FnOnce()) {
    let port = world::start_info().map(|_| {
        let port = super::call(Event::Bind.id(), &[PortKind::Timer as u64, 0, 0]);
        super::call(Event::Unmask.id(), &[port]);
        port
    });
    work();
    disarm();
    irq::disable();
    if let Some(port) = port {
        super::call(Event::Unbind.id(), &[port]);
    }
}

/// Sleeps for long enough that a hypervisor is done with what it leaves for idle time (zeroing of dropped tables).
pub(super) fn rest() {
    const LONG: u64 = 20_000_000;
    if world::start_info().is_some() {
        with_timer(|| {
            super::call(Time::SetDeadline.id(), &[clock() + LONG]);
            // SAFETY: the event's entry changes r13 besides the registers of a call; see `crate::entry`.
            unsafe {
                core::arch::asm!(
                    "call {stub}",
                    stub = in(reg) world::call_stub(),
                    inout("rax") Sched::Block.id().0 => _,
                    out("rdx") _, out("rcx") _, out("r11") _, out("r13") _,
                );
            }
        });
    }
}

/// A deadline that is reached while this CPU is busy.
pub(super) fn deadline() {
    with_timer(|| {
        irq::enable();
        figure("time.deadline", Mark::Deadline as u16, Span::Interrupt, 1, |_| {
            let deadline = set_in(SOON);
            // SAFETY: the entry sets r13 to what it read, which is not 0 but once in 2^32 ticks.
            let stamps = unsafe { timed!(Mark::Deadline, [0; 9], "2:", "pause", "test r13d, r13d", "jz 2b") };
            lateness(deadline, stamps)
        });
    });
}

/// A second of which nothing is made, with one deadline at its end, and one with a deadline every millisecond: what a
/// CPU does that has nothing to do.
pub(super) fn idle() {
    const SECOND: u64 = 1_000_000_000;
    const TICKS: u64 = 1000;
    rest();
    with_timer(|| {
        // SAFETY: the event's entry changes no registers but those that `timed!` gives up.
        unsafe {
            irq::disable();
            set_in(SECOND);
            sleep!(Mark::Idle);
            println!("idle: idle.quiet {} {SECOND}", Mark::Idle as u16);
            for _ in 0..TICKS {
                irq::disable();
                set_in(SECOND / TICKS);
                sleep!(Mark::IdleWithTick);
            }
            println!("idle: idle.tick {} {SECOND}", Mark::IdleWithTick as u16);
        }
    });
}

/// A deadline for which this CPU sleeps.
pub(super) fn wake() {
    rest();
    with_timer(|| {
        figure("time.wake", Mark::Wake as u16, Span::Interrupt, 1, |_| {
            irq::disable();
            let deadline = set_in(SOON);
            // SAFETY: as above; blocking enables events, and halting is done with interrupts enabled.
            let stamps = unsafe { sleep!(Mark::Wake) };
            lateness(deadline, stamps)
        });
    });
}
