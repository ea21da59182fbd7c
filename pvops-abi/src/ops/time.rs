//! Clock, wall clock and the one-shot deadline of each CPU.

/// Operations on time. The deadline's expiry is the port bound to
/// [`EventSource::Timer`](super::event::EventSource::Timer).
pub trait TimeOps: Sync {
    /// Nanoseconds since some instant before `init`; monotonic and equal on all CPUs.
    fn now_ns(&self) -> u64;
    /// Nanoseconds since 1970-01-01T00:00:00Z.
    fn wall_clock_ns(&self) -> u64;
    /// Makes the calling CPU's timer port pending when [`Self::now_ns`] reaches `deadline_ns`, never earlier;
    /// at once when it has passed. Replaces the deadline set before. `None` disarms; an expiry already
    /// pending stays pending.
    fn set_deadline(&self, deadline_ns: Option<u64>);
    /// Ticks per second of the time-stamp counter.
    fn counter_hz(&self) -> u64;
    /// What the call sites of `operation`, one of this group, become. `None`: they stay calls of the method.
    fn code(&self, operation: Operation) -> Option<Code> {
        _ = operation;
        None
    }
}

use super::ops;
use crate::patch::{Code, Operation, calls};

/// See [`TimeOps::now_ns`]. Patched.
#[inline]
#[must_use]
pub fn now_ns() -> u64 {
    calls::time_now_ns()
}
/// See [`TimeOps::wall_clock_ns`].
#[must_use]
pub fn wall_clock_ns() -> u64 {
    ops().time.wall_clock_ns()
}
/// See [`TimeOps::set_deadline`].
pub fn set_deadline(deadline_ns: Option<u64>) {
    ops().time.set_deadline(deadline_ns);
}
/// See [`TimeOps::counter_hz`].
#[must_use]
pub fn counter_hz() -> u64 {
    ops().time.counter_hz()
}
