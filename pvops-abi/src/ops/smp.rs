//! Further CPUs.

use crate::addr::VirtAddr;

/// Why a CPU did not start.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum StartError {
    /// This backend starts no further CPUs.
    NotSupported,
    /// There is no CPU of that number.
    NoSuchCpu,
    /// It runs already.
    AlreadyStarted,
    /// It did not answer.
    NoAnswer,
}

/// Operations on CPUs other than the calling one.
pub trait SmpOps: Sync {
    /// CPUs that exist, the calling one included.
    fn cpu_count(&self) -> usize;
    /// Starts CPU `cpu` in `entry(argument)` on the stack ending at `stack_top`, in the caller's current root,
    /// interrupts masked. The new CPU calls [`super::cpu::start_cpu`] first.
    ///
    /// # Errors
    /// [`StartError`].
    ///
    /// # Safety
    /// `stack_top` ends a stack of its own; `entry` is sound to run beside the caller with `argument`.
    unsafe fn start(
        &self,
        cpu: usize,
        entry: extern "C" fn(u64) -> !,
        stack_top: VirtAddr,
        argument: u64,
    ) -> Result<(), StartError>;
}

/// Number of CPUs that exist. See [`SmpOps::cpu_count`].
#[must_use]
pub fn cpu_count() -> usize {
    super::ops().smp.cpu_count()
}
