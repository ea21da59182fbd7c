//! What each CPU has of its own. One CPU runs today; nothing else in the kernel assumes that.

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
}

impl Cpu {
    const fn new() -> Self {
        Self {
            block: CpuBlock::new(),
            scheduler: IrqLock::new(Scheduler::new()),
            in_event: AtomicU64::new(0),
        }
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

/// Faults of the calling CPU that the environment handled without telling us; 0 on the metal.
pub(crate) fn hidden_faults() -> u64 {
    current().block.area.hidden_faults.load(Ordering::Relaxed)
}
