//! A thread: a kernel stack, a priority, and what must be kept while it does not run.

use crate::arch::{self, VectorState};
use crate::memory::kernel_space::{self, KernelStack};
use crate::process::Process;
use crate::sync::{IrqLock, WaitQueue};
use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use pvops_abi::addr::PhysAddr;
use pvops_abi::ops;
use pvops_abi::ops::mmu::Retain;

/// What a thread runs.
type Body = Box<dyn FnOnce() + Send>;

static NEXT_ID: AtomicU64 = AtomicU64::new(0);
static ALL: IrqLock<BTreeMap<u64, Weak<Thread>>> = IrqLock::new(BTreeMap::new());

/// What a thread is doing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub(crate) enum State {
    /// It runs or could.
    Runnable,
    /// It waits for an event or a time.
    Blocked,
    /// It has ended.
    Dead,
}

/// See the module.
pub(crate) struct Thread {
    pub(crate) id: u64,
    pub(crate) name: String,
    pub(crate) priority: usize,
    pub(crate) stack: KernelStack,
    /// Its address space.
    pub(crate) root: AtomicU64,
    /// The process whose user mode it runs.
    pub(crate) process: Option<Arc<Process>>,
    /// Nanoseconds for which it ran, up to its last switch.
    run_ns: AtomicU64,
    state: AtomicU8,
    /// Whether its address space was loaded before.
    root_is_known: AtomicBool,
    /// State of user mode beyond the frame: absent for threads that never enter it.
    vectors: Option<VectorState>,
    user_fs: AtomicU64,
    user_gs: AtomicU64,
    body: IrqLock<Option<Body>>,
    finished: IrqLock<bool>,
    joiners: WaitQueue,
}

/// Makes threads.
pub(crate) struct Builder {
    name: String,
    priority: usize,
    user: Option<(Arc<Process>, PhysAddr, (u64, u64))>,
}

impl Builder {
    pub(crate) fn new(name: impl Into<String>, priority: usize) -> Self {
        Self { name: name.into(), priority, user: None }
    }

    /// The thread will enter user mode of `process` in `root`, with these FS and GS bases.
    pub(crate) fn user(mut self, process: Arc<Process>, root: PhysAddr, bases: (u64, u64)) -> Self {
        self.user = Some((process, root, bases));
        self
    }

    /// The thread, not launched yet. Nothing when memory has run out.
    pub(crate) fn build(self, body: impl FnOnce() + Send + 'static) -> Option<Arc<Thread>> {
        let stack = kernel_space::allocate_stack()?;
        stack.saved.store(arch::prepare_stack(stack.top, super::begin), Ordering::Relaxed);
        let vectors = self.user.as_ref().map(|_| VectorState::initial(ops::cpu::fpu()));
        let (process, root, (fs, gs)) = match self.user {
            Some((process, root, bases)) => (Some(process), root, bases),
            None => (None, super::kernel_root(), (0, 0)),
        };
        let thread = Arc::new(Thread {
            id: NEXT_ID.fetch_add(1, Ordering::Relaxed),
            name: self.name,
            priority: self.priority,
            stack,
            root: AtomicU64::new(root.0),
            root_is_known: AtomicBool::new(process.is_none()),
            process,
            run_ns: AtomicU64::new(0),
            state: AtomicU8::new(State::Runnable as u8),
            vectors,
            user_fs: AtomicU64::new(fs),
            user_gs: AtomicU64::new(gs),
            body: IrqLock::new(Some(Box::new(body))),
            finished: IrqLock::new(false),
            joiners: WaitQueue::new(),
        });
        ALL.lock().insert(thread.id, Arc::downgrade(&thread));
        Some(thread)
    }
}

/// All threads, for people.
pub(crate) fn all() -> Vec<Arc<Thread>> {
    ALL.lock().values().filter_map(Weak::upgrade).collect()
}

impl Thread {
    /// Nanoseconds for which it ran, up to its last switch.
    pub(crate) fn run_ns(&self) -> u64 {
        self.run_ns.load(Ordering::Relaxed)
    }

    pub(super) fn add_run_ns(&self, nanoseconds: u64) {
        self.run_ns.fetch_add(nanoseconds, Ordering::Relaxed);
    }

    pub(crate) fn state(&self) -> State {
        match self.state.load(Ordering::Relaxed) {
            0 => State::Runnable,
            1 => State::Blocked,
            _ => State::Dead,
        }
    }

    /// Callers hold the scheduler's lock.
    pub(super) fn set_state(&self, state: State) {
        self.state.store(state as u8, Ordering::Relaxed);
    }

    /// Keeps the state of user mode that handlers do not save. Interrupts masked.
    pub(super) fn leave(&self) {
        if let Some(vectors) = &self.vectors {
            vectors.save();
            let (fs, gs) = ops::cpu::user_bases();
            self.user_fs.store(fs, Ordering::Relaxed);
            self.user_gs.store(gs, Ordering::Relaxed);
        }
    }

    /// Brings back what [`Self::leave`] kept. Interrupts masked.
    pub(super) fn enter(&self) {
        if let Some(vectors) = &self.vectors {
            vectors.restore();
            let [fs, gs] = [&self.user_fs, &self.user_gs].map(|base| base.load(Ordering::Relaxed));
            ops::cpu::set_user_bases(fs, gs);
        }
    }

    /// Starts with the vector state that the running thread has now: a forked child's.
    pub(crate) fn inherit_vectors(&self) {
        if let Some(vectors) = &self.vectors {
            ops::irq::without(|| vectors.save());
        }
    }

    /// Whether translations of its address space from before are still right. All flushes happen while a space
    /// is loaded, so they are, but for a root whose frame served another one.
    pub(super) fn retain(&self) -> Retain {
        if self.root_is_known.swap(true, Ordering::Relaxed) { Retain::Keep } else { Retain::Drop }
    }

    pub(super) fn take_body(&self) -> Option<Body> {
        self.body.lock().take()
    }

    pub(super) fn finish(&self) {
        *self.finished.lock() = true;
        self.joiners.wake_all();
    }

    pub(super) fn wait_finished(&self) {
        self.joiners.wait_until(|| self.finished.lock().then_some(()));
    }
}

impl Drop for Thread {
    fn drop(&mut self) {
        ALL.lock().remove(&self.id);
        kernel_space::release_stack(self.stack);
    }
}
