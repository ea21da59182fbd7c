//! The interrupt flag of the current CPU: the metal's IF, or a guest's event flag.

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
}

use super::ops;

/// See [`IrqOps::disable`].
pub fn disable() {
    ops().irq.disable();
}
/// See [`IrqOps::enable`].
pub fn enable() {
    ops().irq.enable();
}
/// See [`IrqOps::save_and_disable`].
pub fn save_and_disable() -> IrqState {
    ops().irq.save_and_disable()
}
/// See [`IrqOps::restore`].
pub fn restore(state: IrqState) {
    ops().irq.restore(state);
}
/// See [`IrqOps::are_enabled`].
#[must_use]
pub fn are_enabled() -> bool {
    ops().irq.are_enabled()
}
/// See [`IrqOps::enable_and_wait`].
pub fn enable_and_wait() {
    ops().irq.enable_and_wait();
}

/// Runs `work` with interrupts masked.
pub fn without<R>(work: impl FnOnce() -> R) -> R {
    let state = save_and_disable();
    let result = work();
    restore(state);
    result
}
