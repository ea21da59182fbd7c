//! Processes: a user program in an address space of its own, run by one thread.

pub(crate) mod address_space;
mod image;

use crate::arch;
use crate::memory::kernel_space;
use crate::sync::{IrqLock, Mutex, MutexGuard, WaitQueue};
use crate::threads::{self, Builder};
use address_space::{AddressSpace, Refused};
use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use core::sync::atomic::{AtomicU64, Ordering};
use demo_programs::Program;
use pvops_abi::layout::TrapFrame;
use pvops_abi::layout::frame::RFLAGS_IF;
use pvops_abi::ops;
use pvops_abi::ops::mmu::Retain;

/// Bit 1 of RFLAGS is always set.
const RFLAGS_FIXED: u64 = 2;

static NEXT_ID: AtomicU64 = AtomicU64::new(1);
/// Children whose parent has not asked for their status yet. The kernel keeps hold of those it starts itself.
static CHILDREN: IrqLock<BTreeMap<u64, Arc<Process>>> = IrqLock::new(BTreeMap::new());

/// See the module.
pub(crate) struct Process {
    pub(crate) id: u64,
    pub(crate) program: Program,
    parent: Option<u64>,
    /// Where to go on after a fault; 0: nowhere.
    pub(crate) fault_landing: AtomicU64,
    memory: Mutex<Option<AddressSpace>>,
    status: IrqLock<Option<u64>>,
    ended: WaitQueue,
}

/// Starts a program.
pub(crate) fn spawn(program: Program, argument: u64, parent: Option<u64>) -> Result<Arc<Process>, Refused> {
    let memory = AddressSpace::new()?;
    let selectors = ops::cpu::selectors();
    let frame = TrapFrame {
        rdi: program as u64,
        rsi: argument,
        rip: memory.entry(),
        cs: selectors.user_cs.into(),
        rflags: RFLAGS_FIXED | RFLAGS_IF,
        rsp: memory.stack_top(),
        ss: selectors.user_ss.into(),
        ..TrapFrame::default()
    };
    let process = Process::new(program, parent, memory);
    let thread = thread_of(&process, frame, (0, 0))?;
    if parent.is_some() {
        CHILDREN.lock().insert(process.id, process.clone());
    }
    threads::launch(&thread);
    Ok(process)
}

/// Copies the calling process, whose state in user mode is `frame`; returns the child's number.
pub(crate) fn fork(frame: &TrapFrame) -> Result<u64, Refused> {
    let parent = current();
    let memory = parent.memory().as_mut().ok_or(Refused::NotAllowed)?.fork()?;
    let child = Process::new(parent.program, Some(parent.id), memory);
    let frame = TrapFrame { rax: 0, ..*frame };
    let thread = thread_of(&child, frame, ops::cpu::user_bases())?;
    thread.inherit_vectors();
    CHILDREN.lock().insert(child.id, child.clone());
    threads::launch(&thread);
    Ok(child.id)
}

/// Ends the calling process. Callers hold nothing that must be dropped.
pub(crate) fn exit(status: u64) -> ! {
    ops::irq::enable();
    threads::adopt_root(kernel_space::root(), Retain::Keep);
    finish(status);
    threads::exit()
}

fn finish(status: u64) {
    let process = current();
    let memory = process.memory().take();
    drop(memory);
    // Nobody will ask for the status of its children any more. They are dropped when the lock is not held.
    let orphans: BTreeMap<_, _> =
        CHILDREN.lock().extract_if(.., |_, child| child.parent == Some(process.id)).collect();
    drop(orphans);
    *process.status.lock() = Some(status);
    process.ended.wake_all();
}

/// Waits for a process to end; returns its status.
pub(crate) fn wait(process: &Process) -> u64 {
    process.ended.wait_until(|| *process.status.lock())
}

/// Waits for the caller's child of this number.
pub(crate) fn wait_for_child(id: u64) -> Option<u64> {
    let caller = current().id;
    let child = CHILDREN.lock().get(&id).filter(|child| child.parent == Some(caller)).cloned()?;
    let status = wait(&child);
    CHILDREN.lock().remove(&id);
    Some(status)
}

/// The process whose thread runs.
///
/// # Panics
/// In a thread that has none.
pub(crate) fn current() -> Arc<Process> {
    threads::with_current(|thread| thread.process.clone()).expect("called for user mode")
}

impl Process {
    fn new(program: Program, parent: Option<u64>, memory: AddressSpace) -> Arc<Self> {
        Arc::new(Self {
            id: NEXT_ID.fetch_add(1, Ordering::Relaxed),
            program,
            parent,
            fault_landing: AtomicU64::new(0),
            memory: Mutex::new(Some(memory)),
            status: IrqLock::new(None),
            ended: WaitQueue::new(),
        })
    }

    /// Its memory; gone when it has ended.
    pub(crate) fn memory(&self) -> MutexGuard<'_, Option<AddressSpace>> {
        self.memory.lock()
    }

    fn root(&self) -> pvops_abi::addr::PhysAddr {
        self.memory().as_ref().map_or_else(kernel_space::root, |memory| memory.root)
    }
}

/// A thread that begins in user mode of `process`, at `frame`, with these FS and GS bases.
fn thread_of(
    process: &Arc<Process>,
    frame: TrapFrame,
    bases: (u64, u64),
) -> Result<Arc<threads::Thread>, Refused> {
    let builder = Builder::new(process.program.name(), threads::NORMAL);
    let builder = builder.user(process.clone(), process.root(), bases);
    builder.build(move || arch::enter_user(&frame)).ok_or(Refused::NoMemory)
}
