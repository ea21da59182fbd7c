//! Which thread of a CPU runs, and when to ask again.

use super::Thread;
use super::thread::State;
use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use demo_logic::run_queue::RunQueue;
use pvops_abi::ops::time;

/// How long a thread runs while another one of its priority waits.
const SLICE_NS: u64 = 4_000_000;

/// The threads of one CPU.
pub(crate) struct Scheduler {
    current: Option<Arc<Thread>>,
    idle: Option<Arc<Thread>>,
    runnable: RunQueue<Arc<Thread>>,
    /// By the time they wake at; the thread's number makes the key unique.
    sleepers: BTreeMap<(u64, u64), Arc<Thread>>,
    /// Ended, but its stack is in use until the next thread has taken over.
    dead: Option<Arc<Thread>>,
    since_ns: u64,
    slice_end_ns: u64,
    /// What the timer is set to.
    deadline_ns: Option<u64>,
    preempt: bool,
    statistics: Statistics,
}

/// What happened so far.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Statistics {
    /// Switches from one thread to another.
    pub(crate) switches: u64,
    /// Time slices that ended because another thread waited.
    pub(crate) preemptions: u64,
    /// Expiries of the timer.
    pub(crate) expiries: u64,
    /// Expiries before the deadline that was set.
    pub(crate) early: u64,
    /// Sum of the lateness of the others.
    pub(crate) late_ns: u64,
}

impl Scheduler {
    pub(crate) const fn new() -> Self {
        Self {
            current: None,
            idle: None,
            runnable: RunQueue::new(),
            sleepers: BTreeMap::new(),
            dead: None,
            since_ns: 0,
            slice_end_ns: 0,
            deadline_ns: None,
            preempt: false,
            statistics: Statistics { switches: 0, preemptions: 0, expiries: 0, early: 0, late_ns: 0 },
        }
    }

    pub(super) fn begin(&mut self, idle: Arc<Thread>, first: Arc<Thread>, now: u64) {
        self.idle = Some(idle);
        self.current = Some(first);
        self.since_ns = now;
        self.slice_end_ns = now + SLICE_NS;
    }

    pub(super) fn current(&self) -> Arc<Thread> {
        self.current.clone().expect("threads have started")
    }

    pub(crate) fn statistics(&self) -> Statistics {
        self.statistics
    }

    pub(super) fn launch(&mut self, thread: &Arc<Thread>, now: u64) {
        self.enqueue(thread.clone());
        self.set_timer(now);
    }

    pub(super) fn block(&mut self) {
        self.current().set_state(State::Blocked);
    }

    pub(super) fn sleep(&mut self, deadline_ns: u64) {
        let current = self.current();
        current.set_state(State::Blocked);
        self.sleepers.insert((deadline_ns, current.id), current);
    }

    pub(super) fn retire(&mut self) {
        self.current().set_state(State::Dead);
    }

    pub(super) fn wake(&mut self, thread: Arc<Thread>, now: u64) {
        if thread.state() == State::Blocked {
            thread.set_state(State::Runnable);
            // It may not have left the CPU yet.
            if !self.is_current(&thread) {
                self.enqueue(thread);
                self.set_timer(now);
            }
        }
    }

    /// Moves what is due to the run queue. Exercises `time::set_deadline`, as it sets the next one.
    pub(super) fn timer_expired(&mut self, now: u64) {
        self.account(now);
        while let Some(entry) = self.sleepers.first_entry()
            && entry.key().0 <= now
        {
            let thread = entry.remove();
            thread.set_state(State::Runnable);
            if !self.is_current(&thread) {
                self.enqueue(thread);
            }
        }
        if now >= self.slice_end_ns && self.has_rival() {
            self.statistics.preemptions += 1;
            self.preempt = true;
        }
        self.set_timer(now);
    }

    pub(super) fn take_preemption(&mut self) -> bool {
        core::mem::take(&mut self.preempt)
    }

    pub(super) fn is_work_waiting(&self) -> bool {
        self.runnable.highest().is_some()
    }

    /// The current thread got the CPU: its slice begins now, not before the switch, which may take long when a
    /// backend has much to do for a new root. Returns the one before it if that has ended.
    pub(super) fn taken_over(&mut self, now: u64) -> Option<Arc<Thread>> {
        self.slice_end_ns = now + SLICE_NS;
        self.set_timer(now);
        self.dead.take()
    }

    /// Chooses the next thread; nothing when the current one goes on.
    pub(super) fn choose(&mut self, now: u64) -> Option<(Arc<Thread>, Arc<Thread>)> {
        self.preempt = false;
        let previous = self.current();
        let goes_on = previous.state() == State::Runnable && !self.is_idle(&previous);
        if goes_on && !self.has_rival() {
            self.slice_end_ns = now + SLICE_NS;
            return None;
        }
        if goes_on {
            self.runnable.push(previous.priority, previous.clone());
        }
        let next = self.runnable.pop().or_else(|| self.idle.clone()).expect("there is an idle thread");
        self.current = Some(next.clone());
        previous.add_run_ns(now - self.since_ns);
        self.since_ns = now;
        if Arc::ptr_eq(&previous, &next) {
            return None;
        }
        self.statistics.switches += 1;
        if previous.state() == State::Dead {
            self.dead = Some(previous.clone());
        }
        Some((previous, next))
    }

    fn enqueue(&mut self, thread: Arc<Thread>) {
        self.preempt |= self.current.as_ref().is_none_or(|current| thread.priority > current.priority);
        self.runnable.push(thread.priority, thread);
    }

    fn is_current(&self, thread: &Arc<Thread>) -> bool {
        self.current.as_ref().is_some_and(|current| Arc::ptr_eq(current, thread))
    }

    fn is_idle(&self, thread: &Arc<Thread>) -> bool {
        self.idle.as_ref().is_some_and(|idle| Arc::ptr_eq(idle, thread))
    }

    /// Whether a runnable thread has at least the current one's priority.
    fn has_rival(&self) -> bool {
        let current = self.current.as_ref().map_or(0, |current| current.priority);
        self.runnable.highest().is_some_and(|highest| highest >= current)
    }

    fn account(&mut self, now: u64) {
        if let Some(deadline) = self.deadline_ns.take() {
            self.statistics.expiries += 1;
            match now.checked_sub(deadline) {
                Some(late) => self.statistics.late_ns += late,
                None => self.statistics.early += 1,
            }
        }
    }

    /// Sets the timer to the next thing that depends on it, if that is sooner than what it is set to. A slice that
    /// is over needs no timer: the switch is due already, and sets it for the next slice.
    fn set_timer(&mut self, now: u64) {
        if self.slice_end_ns <= now {
            // It ran alone until now: the slice begins when a rival appears.
            self.slice_end_ns = now + SLICE_NS;
        }
        let slice = (!self.preempt && self.has_rival()).then_some(self.slice_end_ns);
        let wake = self.sleepers.first_key_value().map(|((deadline, _), _)| *deadline);
        let wanted = slice.into_iter().chain(wake).min();
        if let Some(wanted) = wanted
            && self.deadline_ns.is_none_or(|deadline| wanted < deadline)
        {
            self.deadline_ns = Some(wanted);
            time::set_deadline(Some(wanted));
        }
    }
}
