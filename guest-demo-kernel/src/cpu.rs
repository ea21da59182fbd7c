//! What each CPU has of its own. One CPU runs today; nothing else in the kernel assumes that.

use crate::arch;
use crate::sync::IrqLock;
use crate::threads::Scheduler;
use core::sync::atomic::{AtomicU64, Ordering};
use pvops_abi::ops::cpu::CpuBlock;
use pvops_abi::ops::{self, CpuSet};

/// CPUs that this kernel has room for.
const MAX_CPUS: usize = 8;

static CPUS: [Cpu; MAX_CPUS] = [const { Cpu::new() }; MAX_CPUS];

/// See the module.
pub(crate) struct Cpu {
    /// The library's block, in GS while the kernel runs.
    pub(crate) block: CpuBlock,
    /// Threads of this CPU.
    pub(crate) scheduler: IrqLock<Scheduler>,
    /// Event handlers running now (0 or 1).
    pub(crate) in_event: AtomicU64,
    /// When it began to wait for an event, in ticks of the time-stamp counter; 0 while it works.
    pub(crate) idle_since: AtomicU64,
    /// Ticks that it has waited so far.
    idle_ticks: AtomicU64,
}

impl Cpu {
    const fn new() -> Self {
        Self {
            block: CpuBlock::new(),
            scheduler: IrqLock::new(Scheduler::new()),
            in_event: AtomicU64::new(0),
            idle_since: AtomicU64::new(0),
            idle_ticks: AtomicU64::new(0),
        }
    }

    /// An event has come, perhaps the one that was waited for. Interrupts masked.
    pub(crate) fn end_idle(&self) {
        let since = self.idle_since.swap(0, Ordering::Relaxed);
        if since != 0 {
            self.idle_ticks.fetch_add(arch::ticks() - since, Ordering::Relaxed);
        }
    }

    /// Ticks that it has worked.
    pub(crate) fn busy_ticks(&self) -> u64 {
        arch::ticks() - self.idle_ticks.load(Ordering::Relaxed)
    }
}

/// The calling CPU. Callers keep interrupts masked where it must stay the same one.
pub(crate) fn current() -> &'static Cpu {
    &CPUS[ops::cpu::current()]
}

/// CPU `number`, before it runs.
pub(crate) fn of_number(number: usize) -> &'static Cpu {
    &CPUS[number]
}

/// The CPUs that may have seen a translation of an address space: for flushes.
pub(crate) fn online() -> CpuSet {
    CpuSet::single(0)
}

/// Faults of the calling CPU that the environment handled without telling us; 0 on the metal. Exercises `cpu::block`.
pub(crate) fn hidden_faults() -> u64 {
    ops::cpu::block().area.hidden_faults.load(Ordering::Relaxed)
}
