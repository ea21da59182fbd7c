//! The interrupt flag of the current CPU: the metal's IF, or a guest's event flag. All of it is patched.

use crate::patch::{Code, Operation, calls};

/// What [`IrqOps::save_and_disable`] returns and [`IrqOps::restore`] takes. Opaque.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub struct IrqState(pub(crate) usize);

impl IrqState {
    /// For backends: wraps the backend's own representation.
    pub const fn from_raw(raw: usize) -> Self {
        Self(raw)
    }
    /// For backends: the inverse of [`Self::from_raw`].
    #[must_use]
    pub const fn to_raw(self) -> usize {
        self.0
    }
}

/// Operations on the interrupt flag. All act on the calling CPU only and are compiler barriers for memory.
pub trait IrqOps: Sync {
    /// Masks interrupts. None is taken after this returns until they are enabled again.
    fn disable(&self);
    /// Unmasks interrupts. What is pending is taken before this returns, or within one instruction after it.
    fn enable(&self);
    /// Masks interrupts and returns the state from before.
    fn save_and_disable(&self) -> IrqState;
    /// Goes back to a saved state; when that was enabled, as [`Self::enable`].
    fn restore(&self, state: IrqState);
    /// Whether interrupts are enabled.
    fn are_enabled(&self) -> bool;
    /// Enables interrupts and waits for one, atomically: an interrupt that arrives between the caller's last
    /// check (made with interrupts disabled) and the wait ends the wait. Returns with interrupts enabled,
    /// after the handler ran.
    fn enable_and_wait(&self);
    /// What the call sites of `operation`, one of this group, become. `None`: they stay calls of the method.
    fn code(&self, operation: Operation) -> Option<Code> {
        _ = operation;
        None
    }
}

/// See [`IrqOps::disable`].
#[inline]
pub fn disable() {
    calls::irq_disable();
}
/// See [`IrqOps::enable`].
#[inline]
pub fn enable() {
    calls::irq_enable();
}
/// See [`IrqOps::save_and_disable`].
#[inline]
pub fn save_and_disable() -> IrqState {
    calls::irq_save_and_disable()
}
/// See [`IrqOps::restore`].
#[inline]
pub fn restore(state: IrqState) {
    calls::irq_restore(state);
}
/// See [`IrqOps::are_enabled`].
#[inline]
#[must_use]
pub fn are_enabled() -> bool {
    calls::irq_are_enabled()
}
/// See [`IrqOps::enable_and_wait`].
#[inline]
pub fn enable_and_wait() {
    calls::irq_enable_and_wait();
}

/// Runs `work` with interrupts masked.
#[inline]
pub fn without<R>(work: impl FnOnce() -> R) -> R {
    let state = save_and_disable();
    let result = work();
    restore(state);
    result
}
