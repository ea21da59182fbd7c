//! The clock: the time-stamp counter, scaled.
//!
//! Guests and their deadlines speak of nanoseconds, the hypervisor keeps its own in *ticks*, values of the counter: a
//! deadline is converted once, when it is set, to the very tick at which the clock reaches it. So an interrupt compares
//! and arms without scaling, and no deadline is over before the guest's own clock says so.

use super::cpu::timestamp;
use core::arch::asm;
use core::sync::atomic::{AtomicU64, Ordering};

static HZ: AtomicU64 = AtomicU64::new(0);
static BASE: AtomicU64 = AtomicU64::new(0);
/// Nanoseconds per tick, as a fraction of 2^32.
static NS_PER_TICK: AtomicU64 = AtomicU64::new(0);
/// Ticks per nanosecond, likewise.
static TICKS_PER_NS: AtomicU64 = AtomicU64::new(0);
/// Wall clock at clock 0, in nanoseconds since 1970.
static WALL_BASE: AtomicU64 = AtomicU64::new(0);

/// Starts the clock at 0 now. Boot only.
pub fn start(hz: u64, wall_ns: u64) {
    HZ.store(hz, Ordering::Relaxed);
    NS_PER_TICK.store(((1_000_000_000u128 << 32) / u128::from(hz)) as u64, Ordering::Relaxed);
    TICKS_PER_NS.store(((u128::from(hz) << 32) / 1_000_000_000) as u64, Ordering::Relaxed);
    BASE.store(timestamp(), Ordering::Relaxed);
    WALL_BASE.store(wall_ns, Ordering::Relaxed);
}

/// Ticks per second of the counter.
#[must_use]
pub fn hz() -> u64 {
    HZ.load(Ordering::Relaxed)
}

/// Nanoseconds since [`start`].
#[must_use]
pub fn now_ns() -> u64 {
    ns_for(timestamp().saturating_sub(BASE.load(Ordering::Relaxed)))
}

/// As [`now_ns`], for who is in no hurry: a call, where that is a dozen instructions each time.
#[must_use]
#[inline(never)]
pub fn now_ns_by_call() -> u64 {
    now_ns()
}

/// Nanoseconds since 1970.
#[must_use]
pub fn wall_ns() -> u64 {
    WALL_BASE.load(Ordering::Relaxed) + now_ns_by_call()
}

/// The parameters a guest needs to read the clock itself: counter at clock 0, and nanoseconds per tick.
#[must_use]
pub fn parameters() -> (u64, u64) {
    (BASE.load(Ordering::Relaxed), NS_PER_TICK.load(Ordering::Relaxed))
}

/// The counter now.
#[must_use]
pub fn now() -> u64 {
    timestamp()
}

/// The first tick at which the clock has reached `ns`; `u64::MAX` if that is beyond every counter's end.
#[must_use]
#[inline]
pub fn tick_at(ns: u64) -> u64 {
    BASE.load(Ordering::Relaxed).saturating_add(ticks_for(ns, NS_PER_TICK.load(Ordering::Relaxed)))
}

/// About how many ticks `ns` are, some seconds at most, for purposes of the hypervisor's own.
#[must_use]
#[inline]
pub fn ticks(ns: u32) -> u64 {
    scale(ns.into(), TICKS_PER_NS.load(Ordering::Relaxed))
}

/// How many nanoseconds `ticks` are.
#[must_use]
#[inline]
pub fn ns_for(ticks: u64) -> u64 {
    scale(ticks, NS_PER_TICK.load(Ordering::Relaxed))
}

/// The tick `ns` from now.
#[must_use]
#[inline(never)]
pub fn tick_in(ns: u32) -> u64 {
    now() + ticks(ns)
}

/// The smallest `ticks` with `scale(ticks, factor) >= ns`, or `u64::MAX`.
#[inline]
fn ticks_for(ns: u64, factor: u64) -> u64 {
    // ns * 2^32 / factor, rounded up: the quotient has 64 bits if the dividend's high half is less than the divisor.
    let dividend = (u128::from(ns) << 32) + u128::from(factor.wrapping_sub(1));
    let (high, low) = ((dividend >> 64) as u64, dividend as u64);
    if high >= factor {
        return u64::MAX;
    }
    let quotient;
    // SAFETY: the check above keeps the division from overflowing, and with it `factor` is not 0.
    unsafe {
        asm!("div {0}", in(reg) factor, inout("rax") low => quotient, inout("rdx") high => _,
            options(pure, nomem, nostack));
    }
    quotient
}

/// `value * factor / 2^32`: the clock's nanoseconds have 64 bits for centuries.
#[inline]
fn scale(value: u64, factor: u64) -> u64 {
    ((u128::from(value) * u128::from(factor)) >> 32) as u64
}

#[cfg(test)]
mod tests {
    use super::{scale, ticks_for};

    #[test]
    fn a_tick_is_the_first_at_which_the_clock_has_reached_a_deadline() {
        // 2.4 GHz, 1 GHz, 333.333 MHz, 5.1 GHz.
        for hz in [2_400_000_000, 1_000_000_000, 333_333_333, 5_100_000_001] {
            let factor = ((1_000_000_000_u128 << 32) / hz) as u64;
            // The last one: 20 years.
            for ns in [0, 1, 2, 3, 999, 1_000_000_007, 86_400_000_000_001, 630_720_000_000_000_003] {
                let ticks = ticks_for(ns, factor);
                assert!(scale(ticks, factor) >= ns, "{hz} Hz, {ns} ns");
                assert!(ticks == 0 || scale(ticks - 1, factor) < ns, "{hz} Hz, {ns} ns");
            }
        }
    }

    #[test]
    fn a_deadline_beyond_all_counters_is_never_reached() {
        assert_eq!(ticks_for(u64::MAX, 1 << 31), u64::MAX);
        assert_eq!(ticks_for(u64::MAX, 0), u64::MAX);
        assert_eq!(ticks_for(5, 0), u64::MAX);
    }
}
