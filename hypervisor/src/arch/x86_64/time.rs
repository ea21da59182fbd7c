//! The clock: the time-stamp counter, scaled.

use super::cpu::timestamp;
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
    let ticks = timestamp().saturating_sub(BASE.load(Ordering::Relaxed));
    scale(ticks, NS_PER_TICK.load(Ordering::Relaxed))
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

/// Counter value at which the clock has reached `ns`.
#[must_use]
pub fn ticks_at(ns: u64) -> u64 {
    BASE.load(Ordering::Relaxed)
        .saturating_add(scale(ns, TICKS_PER_NS.load(Ordering::Relaxed)).saturating_add(2))
}

/// `value * factor / 2^32`, at most `u64::MAX`: a guest's deadline may be as late as it likes, and must not wrap to
/// one that is always over.
fn scale(value: u64, factor: u64) -> u64 {
    u64::try_from((u128::from(value) * u128::from(factor)) >> 32).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::scale;

    #[test]
    fn scaling_keeps_the_order_of_values_to_the_last() {
        const THREE: u64 = 3 << 32;
        assert_eq!(scale(5, THREE), 15);
        assert_eq!(scale(1 << 40, 1 << 31), 1 << 39);
        for late in [u64::MAX / 3 + 1, u64::MAX - 1, u64::MAX] {
            assert_eq!(scale(late, THREE), u64::MAX);
        }
    }
}
