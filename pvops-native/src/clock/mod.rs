//! Time: the time-stamp counter as the clock, the local APIC's timer for deadlines, the RTC for the date.

mod calibration;
mod hpet;
mod pit;
mod pm_timer;
mod rtc;

use core::arch::x86_64::{_mm_lfence, _rdtsc};
use core::sync::atomic::{AtomicU64, Ordering};

use pvops_abi::ops::time::TimeOps;
use pvops_abi::patch::{Code, Operation};
use spin::Once;

use crate::arithmetic::{NANOSECONDS, Scale};
use crate::cpu::features;
use crate::irq::masked;
use crate::{MAX_CPUS, code, cpu, event, local_apic};

/// No deadline.
const NEVER: u64 = u64::MAX;

/// The clock of the machine.
pub(crate) struct Clock;

/// How the timer counts towards a deadline.
#[derive(Clone, Copy)]
enum Timer {
    /// Compares the time-stamp counter; from nanoseconds to its ticks.
    TscDeadline(Scale),
    /// Counts down; from nanoseconds to its ticks.
    Countdown(Scale),
}

/// Found once at start.
struct Rates {
    tsc_hz: u64,
    timer: Timer,
    /// The date at time 0, in nanoseconds since 1970.
    wall_start_ns: u64,
}

static RATES: Once<Rates> = Once::new();
/// Counter at time 0. A word of its own because call sites read it where they lie, by this name.
#[unsafe(export_name = "pvops_native_clock_start")]
static START: AtomicU64 = AtomicU64::new(0);
/// From ticks to nanoseconds; 0 before [`start`], when it is time 0. Likewise.
#[unsafe(export_name = "pvops_native_clock_scale")]
static SCALE: AtomicU64 = AtomicU64::new(0);
/// Deadline of each CPU in nanoseconds of this clock.
static DEADLINES: [AtomicU64; MAX_CPUS] = [const { AtomicU64::new(NEVER) }; MAX_CPUS];

/// Calibrates and starts everything.
pub(crate) fn start() -> Result<(), &'static str> {
    let rates = calibration::run().ok_or("no reference to calibrate the clock by")?;
    let timer = if features::has_tsc_deadline() {
        Timer::TscDeadline(Scale::new(NANOSECONDS, rates.tsc_hz))
    } else {
        Timer::Countdown(Scale::new(NANOSECONDS, rates.timer_hz))
    };
    START.store(counter(), Ordering::Relaxed);
    SCALE.store(Scale::new(rates.tsc_hz, NANOSECONDS).fraction(), Ordering::Relaxed);
    RATES.call_once(|| Rates {
        tsc_hz: rates.tsc_hz,
        timer,
        wall_start_ns: rtc::read_unix_seconds() * NANOSECONDS,
    });
    start_cpu();
    Ok(())
}

/// Sets the mode of the calling CPU's timer.
pub(crate) fn start_cpu() {
    match rates().timer {
        Timer::TscDeadline(_) => local_apic::use_tsc_deadline(),
        Timer::Countdown(_) => local_apic::use_countdown(),
    }
}

fn rates() -> &'static Rates {
    RATES.get().expect("pvops-native: the clock is used before start")
}

/// The time-stamp counter, not read ahead of earlier instructions (Intel SDM volume 2, RDTSC).
pub(crate) fn counter() -> u64 {
    // SAFETY: every x86_64 CPU has both instructions; CR4.TSD does not concern ring 0.
    unsafe {
        _mm_lfence();
        _rdtsc()
    }
}

/// Nanoseconds since [`start`]; 0 before it.
pub(crate) fn now_ns() -> u64 {
    let scale = Scale::from_fraction(SCALE.load(Ordering::Relaxed));
    scale.apply(counter().wrapping_sub(START.load(Ordering::Relaxed)))
}

/// Where the words are that a call site reads: start and scale.
pub(crate) fn words() -> [*const (); 2] {
    [&START, &SCALE].map(|word| core::ptr::from_ref(word).cast())
}

/// Waits for `nanoseconds`.
pub(crate) fn spin(nanoseconds: u64) {
    let end = now_ns() + nanoseconds;
    while now_ns() < end {
        core::hint::spin_loop();
    }
}

/// The timer of CPU `cpu`, the calling one, has fired. Returns whether its deadline is reached: a countdown may
/// end early, when it is too short for a far deadline or runs a little fast.
pub(crate) fn timer_expired(cpu: usize) -> bool {
    let deadline = DEADLINES[cpu].load(Ordering::Relaxed);
    if deadline == NEVER {
        return false;
    }
    let now = now_ns();
    if now < deadline {
        arm(deadline, now);
        return false;
    }
    DEADLINES[cpu].store(NEVER, Ordering::Relaxed);
    true
}

/// Has the timer fire at `deadline` or somewhat earlier.
fn arm(deadline: u64, now: u64) {
    let rates = rates();
    match rates.timer {
        Timer::TscDeadline(scale) => {
            let ticks = scale.apply(deadline).saturating_add(2);
            local_apic::set_tsc_deadline(START.load(Ordering::Relaxed).saturating_add(ticks));
        }
        Timer::Countdown(scale) => {
            let ticks = scale.apply(deadline - now).saturating_add(1);
            local_apic::set_countdown(u32::try_from(ticks).unwrap_or(u32::MAX));
        }
    }
}

fn disarm() {
    match rates().timer {
        Timer::TscDeadline(_) => local_apic::set_tsc_deadline(0),
        Timer::Countdown(_) => local_apic::set_countdown(0),
    }
}

impl TimeOps for Clock {
    fn now_ns(&self) -> u64 {
        now_ns()
    }

    fn wall_clock_ns(&self) -> u64 {
        rates().wall_start_ns + now_ns()
    }

    fn set_deadline(&self, deadline_ns: Option<u64>) {
        masked(|| {
            let cpu = cpu::current();
            let now = now_ns();
            match deadline_ns {
                Some(deadline) if deadline > now => {
                    DEADLINES[cpu].store(deadline, Ordering::Relaxed);
                    arm(deadline, now);
                }
                passed => {
                    DEADLINES[cpu].store(NEVER, Ordering::Relaxed);
                    disarm();
                    if passed.is_some() {
                        event::raise_timer(cpu);
                    }
                }
            }
        });
    }

    fn counter_hz(&self) -> u64 {
        rates().tsc_hz
    }

    fn code(&self, operation: Operation) -> Option<Code> {
        code::time(operation)
    }
}
