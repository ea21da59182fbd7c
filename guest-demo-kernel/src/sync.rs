//! Locks: a spin lock that masks interrupts, a queue of waiting threads, and a sleeping lock made of both.

use crate::threads::{self, Thread};
use alloc::collections::VecDeque;
use alloc::sync::Arc;
use core::ops::{Deref, DerefMut};
use pvops_abi::ops::{self, irq::IrqState};

/// A spin lock for data that event handlers use too: interrupts are masked while it is held. Exercises
/// `irq::save_and_disable` and `irq::restore`.
pub(crate) struct IrqLock<T> {
    inner: spin::Mutex<T>,
}

/// Holds an [`IrqLock`].
pub(crate) struct IrqGuard<'a, T> {
    // Dropped in this order: unlock, then unmask.
    guard: spin::MutexGuard<'a, T>,
    _restore: RestoreInterrupts,
}

struct RestoreInterrupts(Option<IrqState>);

impl<T> IrqLock<T> {
    pub(crate) const fn new(value: T) -> Self {
        Self { inner: spin::Mutex::new(value) }
    }

    pub(crate) fn lock(&self) -> IrqGuard<'_, T> {
        let restore = RestoreInterrupts::mask();
        IrqGuard { guard: self.inner.lock(), _restore: restore }
    }
}

impl RestoreInterrupts {
    /// Masks interrupts. Before `ops::init` they are masked anyway and there is nobody to ask.
    fn mask() -> Self {
        Self(ops::is_ready().then(ops::irq::save_and_disable))
    }
}

impl Drop for RestoreInterrupts {
    fn drop(&mut self) {
        if let Some(state) = self.0 {
            ops::irq::restore(state);
        }
    }
}

impl<T> Deref for IrqGuard<'_, T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.guard
    }
}

impl<T> DerefMut for IrqGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.guard
    }
}

/// Threads that wait for something to become true.
pub(crate) struct WaitQueue {
    waiting: IrqLock<VecDeque<Arc<Thread>>>,
}

impl WaitQueue {
    pub(crate) const fn new() -> Self {
        Self { waiting: IrqLock::new(VecDeque::new()) }
    }

    /// Waits until `condition` yields a value. It is asked again after each wake-up, under the queue's lock, so
    /// that a wake-up between the question and the sleep is not lost.
    pub(crate) fn wait_until<R>(&self, mut condition: impl FnMut() -> Option<R>) -> R {
        loop {
            let mut waiting = self.waiting.lock();
            if let Some(value) = condition() {
                return value;
            }
            waiting.push_back(threads::current());
            threads::block(waiting);
        }
    }

    /// Wakes all waiting threads.
    pub(crate) fn wake_all(&self) {
        let woken = core::mem::take(&mut *self.waiting.lock());
        woken.into_iter().for_each(threads::wake);
    }

    /// Wakes the thread that has waited longest.
    pub(crate) fn wake_one(&self) {
        let first = self.waiting.lock().pop_front();
        first.into_iter().for_each(threads::wake);
    }
}

/// A lock whose waiters sleep; for thread context only, where it may be held while others run.
pub(crate) struct Mutex<T> {
    taken: IrqLock<bool>,
    waiters: WaitQueue,
    value: spin::Mutex<T>,
}

/// Holds a [`Mutex`].
pub(crate) struct MutexGuard<'a, T> {
    // `None` only while it is being dropped.
    guard: Option<spin::MutexGuard<'a, T>>,
    mutex: &'a Mutex<T>,
}

impl<T> Mutex<T> {
    pub(crate) const fn new(value: T) -> Self {
        Self { taken: IrqLock::new(false), waiters: WaitQueue::new(), value: spin::Mutex::new(value) }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        self.waiters.wait_until(|| {
            let mut taken = self.taken.lock();
            (!core::mem::replace(&mut *taken, true)).then_some(())
        });
        MutexGuard { guard: Some(self.value.lock()), mutex: self }
    }
}

impl<T> Deref for MutexGuard<'_, T> {
    type Target = T;
    fn deref(&self) -> &T {
        self.guard.as_ref().expect("held")
    }
}

impl<T> DerefMut for MutexGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        self.guard.as_mut().expect("held")
    }
}

impl<T> Drop for MutexGuard<'_, T> {
    fn drop(&mut self) {
        self.guard = None;
        *self.mutex.taken.lock() = false;
        self.mutex.waiters.wake_one();
    }
}

impl<T> IrqGuard<'_, T> {
    /// Unlocks but leaves interrupts masked; returns the state to restore.
    pub(crate) fn unlock_masked(self) -> Option<IrqState> {
        let Self { guard, mut _restore } = self;
        drop(guard);
        _restore.0.take()
    }
}
