//! What a kernel tells the scheduler below it, and how it ends.

pub use crate::layout::ShutdownReason;

/// Operations that concern the whole CPU or the whole machine (or domain).
pub trait SchedOps: Sync {
    /// Lets others use the CPU; returns soon when there are none. On the metal: nothing.
    fn yield_now(&self);
    /// Ends this kernel. `code` is the status that the environment reports where it can (0: success).
    fn shutdown(&self, reason: ShutdownReason, code: u8) -> !;
}

use super::ops;

/// See [`SchedOps::yield_now`].
pub fn yield_now() {
    ops().sched.yield_now();
}
/// See [`SchedOps::shutdown`].
pub fn shutdown(reason: ShutdownReason, code: u8) -> ! {
    ops().sched.shutdown(reason, code)
}
