//! The interface a kernel programs against, and the choice of backends behind it.
//!
//! One trait per group of operations; a [`Backend`] supplies some or all groups; [`init`] asks the candidates
//! in order and builds one table from them, so that groups may come from different backends (hardware mode
//! takes CPU and MMU from the metal and events from the hypervisor; the checking backend replaces MMU only).
//! Kernels call the free functions of the group's module (`ops::irq::disable()`). The hot ones are call sites that
//! [`init`] rewrites to what the backend's operation comes to, see [`crate::patch`]; the others go through the table.
//!
//! The rejected alternative is a generic parameter through the whole kernel: one binary must serve every
//! world, so the choice is made at boot.

pub mod console;
pub mod cpu;
pub mod entry_format;
pub mod event;
pub mod irq;
pub mod mmu;
pub mod sched;
pub mod smp;
pub mod time;

use crate::addr::{PhysAddr, VirtAddr};
use crate::boot::BootContext;
use crate::patch;
pub use crate::patch::Patching;
use core::sync::atomic::{AtomicBool, Ordering};
use spin::Once;

/// What a backend asks of the kernel. The kernel gives it to [`init`].
pub trait Kernel: Sync {
    /// Takes a zeroed 4 KiB frame for the backend's own use. `None`: no memory (or none yet).
    fn alloc_frame(&self) -> Option<PhysAddr>;
    /// Gives back a frame of [`Self::alloc_frame`].
    fn free_frame(&self, frame: PhysAddr);
    /// Where this kernel maps physical memory now. It must answer correctly at any time after [`init`]: from
    /// the boot map first, from the kernel's own tables once it has loaded them.
    fn phys_to_virt(&self, phys: PhysAddr) -> VirtAddr;
}

/// The groups that a backend supplies.
#[derive(Clone, Copy, Default)]
#[allow(missing_docs, reason = "each group's trait documents it")]
pub struct Groups {
    pub irq: Option<&'static dyn irq::IrqOps>,
    pub cpu: Option<&'static dyn cpu::CpuOps>,
    pub mmu: Option<&'static dyn mmu::MmuOps>,
    pub time: Option<&'static dyn time::TimeOps>,
    pub event: Option<&'static dyn event::EventOps>,
    pub console: Option<&'static dyn console::ConsoleOps>,
    pub sched: Option<&'static dyn sched::SchedOps>,
    pub smp: Option<&'static dyn smp::SmpOps>,
}

/// One way to reach a machine.
pub trait Backend: Sync {
    /// A short name, for people. Nothing may depend on it.
    fn name(&self) -> &'static str;
    /// Whether this kernel runs where the backend works. Must not change anything.
    fn probe(&self, boot: &BootContext) -> bool;
    /// Brings the backend up on the boot CPU, interrupts masked, on the boot tables. Called once, before any
    /// of its operations. Starts no other CPU and leaves interrupts masked.
    ///
    /// # Errors
    /// What is missing for it to work.
    fn start(
        &'static self,
        boot: &'static BootContext,
        kernel: &'static dyn Kernel,
    ) -> Result<Groups, InitError>;
}

/// Why [`init`] failed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum InitError {
    /// [`init`] was called before.
    AlreadyDone,
    /// No candidate supplies this group.
    MissingGroup(&'static str),
    /// A backend found something missing that it needs.
    Backend {
        /// The backend's name.
        name: &'static str,
        /// What is missing.
        reason: &'static str,
    },
}

/// The table: one implementation per group.
#[derive(Clone, Copy)]
#[allow(missing_docs, reason = "each group's trait documents it")]
pub struct Ops {
    pub irq: &'static dyn irq::IrqOps,
    pub cpu: &'static dyn cpu::CpuOps,
    pub mmu: &'static dyn mmu::MmuOps,
    pub time: &'static dyn time::TimeOps,
    pub event: &'static dyn event::EventOps,
    pub console: &'static dyn console::ConsoleOps,
    pub sched: &'static dyn sched::SchedOps,
    pub smp: &'static dyn smp::SmpOps,
    /// Name of the first backend chosen.
    pub backend_name: &'static str,
    /// What became of the call sites.
    pub patching: patch::Status,
}

static TAKEN: AtomicBool = AtomicBool::new(false);
static TABLE: Once<Ops> = Once::new();

/// Chooses the backends and brings them up. Call once, on the boot CPU, first of all: on the boot tables, with
/// interrupts masked.
///
/// Each candidate that probes is started, in order; each group is taken from the first that supplies it. Then
/// the call sites are rewritten for the groups chosen, where that can be done: [`patching`] tells.
///
/// # Errors
/// [`InitError`]; no operation may be used then.
pub fn init(
    boot: &'static BootContext,
    kernel: &'static dyn Kernel,
    candidates: &[&'static dyn Backend],
) -> Result<(), InitError> {
    init_with(boot, kernel, candidates, Patching::On)
}

/// [`init`] that leaves call sites alone if asked to.
///
/// # Errors
/// As [`init`].
pub fn init_with(
    boot: &'static BootContext,
    kernel: &'static dyn Kernel,
    candidates: &[&'static dyn Backend],
    patching: Patching,
) -> Result<(), InitError> {
    if TAKEN.swap(true, Ordering::AcqRel) {
        return Err(InitError::AlreadyDone);
    }
    let mut chosen = Groups::default();
    let mut backend_name = "";
    for backend in candidates.iter().filter(|backend| backend.probe(boot)) {
        let groups = backend.start(boot, kernel)?;
        if backend_name.is_empty() {
            backend_name = backend.name();
        }
        chosen = chosen.or(groups);
    }
    let mut ops = chosen.complete(backend_name)?;
    if patching == Patching::On {
        // Before anybody has the table: no other CPU can be running yet.
        ops.patching = apply(boot, &ops);
    }
    TABLE.call_once(|| ops);
    Ok(())
}

#[cfg(target_os = "none")]
use patch::apply;

/// On a host there are no sites.
#[cfg(not(target_os = "none"))]
fn apply(_: &BootContext, _: &Ops) -> patch::Status {
    patch::Status::NotAsked
}

/// What [`init`] made of the call sites. Whatever it says, all operations work.
///
/// # Panics
/// As [`ops`].
#[must_use]
pub fn patching() -> patch::Status {
    ops().patching
}

/// The table.
///
/// # Panics
/// Before [`init`] succeeded.
#[must_use]
pub fn ops() -> &'static Ops {
    TABLE.get().expect("pvops: ops used before init")
}

/// Whether [`init`] has succeeded: a panic handler asks before it prints.
#[must_use]
pub fn is_ready() -> bool {
    TABLE.is_completed()
}

impl Groups {
    fn or(self, other: Self) -> Self {
        Self {
            irq: self.irq.or(other.irq),
            cpu: self.cpu.or(other.cpu),
            mmu: self.mmu.or(other.mmu),
            time: self.time.or(other.time),
            event: self.event.or(other.event),
            console: self.console.or(other.console),
            sched: self.sched.or(other.sched),
            smp: self.smp.or(other.smp),
        }
    }

    fn complete(self, backend_name: &'static str) -> Result<Ops, InitError> {
        Ok(Ops {
            irq: self.irq.ok_or(InitError::MissingGroup("irq"))?,
            cpu: self.cpu.ok_or(InitError::MissingGroup("cpu"))?,
            mmu: self.mmu.ok_or(InitError::MissingGroup("mmu"))?,
            time: self.time.ok_or(InitError::MissingGroup("time"))?,
            event: self.event.ok_or(InitError::MissingGroup("event"))?,
            console: self.console.ok_or(InitError::MissingGroup("console"))?,
            sched: self.sched.ok_or(InitError::MissingGroup("sched"))?,
            smp: self.smp.ok_or(InitError::MissingGroup("smp"))?,
            backend_name,
            patching: patch::Status::NotAsked,
        })
    }
}

/// A set of CPUs (vCPUs, in a guest), by number.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct CpuSet(u64);

impl CpuSet {
    /// Most CPUs in a set.
    pub const CAPACITY: usize = 64;
    /// No CPU.
    pub const EMPTY: Self = Self(0);
    /// Every CPU.
    pub const ALL: Self = Self(u64::MAX);
    /// One CPU.
    #[must_use]
    pub const fn single(cpu: usize) -> Self {
        Self(1 << cpu)
    }
    /// This set and `cpu`.
    #[must_use]
    pub const fn with(self, cpu: usize) -> Self {
        Self(self.0 | 1 << cpu)
    }
    /// Whether `cpu` is in it.
    #[must_use]
    pub const fn contains(self, cpu: usize) -> bool {
        self.0 & (1 << cpu) != 0
    }
    /// The set of a mask, bit = number.
    #[must_use]
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }
    /// As a mask, bit = number.
    #[must_use]
    pub const fn bits(self) -> u64 {
        self.0
    }
}
