//! Threads: preemptive, with fixed priorities, round robin within one; idle without a tick.
//!
//! The timer is set only when something depends on it: a sleeper, or another runnable thread of the running
//! one's priority. It is never moved to a later time, so that a stale expiry can only be early by our own
//! choice, and costs one look.

mod scheduler;
mod thread;

pub(crate) use scheduler::{Scheduler, Statistics};
pub(crate) use thread::{Builder, State, Thread, all};

use crate::arch;
use crate::cpu;
use crate::events;
use crate::memory::kernel_space;
use crate::sync::IrqGuard;
use alloc::sync::Arc;
use core::sync::atomic::Ordering;
use demo_logic::run_queue::PRIORITIES;
use pvops_abi::addr::PhysAddr;
use pvops_abi::ops::event::{EventSource, Port};
use pvops_abi::ops::mmu::{Retain, mmu};
use pvops_abi::ops::{self, time};

/// Priority of the idle thread only.
const IDLE: usize = 0;
/// User programs and most kernel threads.
pub(crate) const NORMAL: usize = 3;
/// What must not wait for them: the shell.
pub(crate) const HIGH: usize = 5;
/// What nothing else in this kernel may delay.
pub(crate) const REALTIME: usize = PRIORITIES - 1;

/// Turns the boot flow into threads: `first` is the first one. Exercises `event::bind` of the timer.
pub(crate) fn start(first: impl FnOnce() + Send + 'static) -> ! {
    events::bind(EventSource::Timer { cpu: 0 }, on_timer).expect("every CPU has a timer");
    let idle = Builder::new("idle", IDLE).build(idle).expect("memory for the idle thread");
    let first = Builder::new("main", NORMAL).build(first).expect("memory for the first thread");
    let load = first.stack.saved.load(Ordering::Relaxed);
    ops::cpu::set_kernel_stack(first.stack.top);
    cpu::current().scheduler.lock().begin(idle, first, time::now_ns());
    arch::abandon_stack_for(load)
}

/// The running thread.
pub(crate) fn current() -> Arc<Thread> {
    cpu::current().scheduler.lock().current()
}

/// Asks something of the running thread; keeps no reference to it, so that it may end meanwhile.
pub(crate) fn with_current<R>(ask: impl FnOnce(&Thread) -> R) -> R {
    ask(&current())
}

/// Makes a new thread runnable.
pub(crate) fn launch(thread: &Arc<Thread>) {
    cpu::current().scheduler.lock().launch(thread, time::now_ns());
    preempt();
}

/// Lets others of the same priority run.
pub(crate) fn yield_now() {
    ops::irq::without(schedule);
}

/// Sleeps until the clock says `deadline_ns`.
pub(crate) fn sleep_until(deadline_ns: u64) {
    ops::irq::without(|| {
        cpu::current().scheduler.lock().sleep(deadline_ns);
        schedule();
    });
}

/// Sleeps.
pub(crate) fn sleep(nanoseconds: u64) {
    sleep_until(time::now_ns().saturating_add(nanoseconds));
}

/// Stops until [`wake`]; the caller has put this thread where its waker finds it, under the lock given.
pub(crate) fn block<T>(lock: IrqGuard<'_, T>) {
    cpu::current().scheduler.lock().block();
    let state = lock.unlock_masked();
    schedule();
    if let Some(state) = state {
        ops::irq::restore(state);
    }
}

/// Makes a blocked thread runnable; nothing if it is.
pub(crate) fn wake(thread: Arc<Thread>) {
    cpu::current().scheduler.lock().wake(thread, time::now_ns());
    preempt();
}

/// Ends the running thread. Nothing on its stack is dropped any more: callers hold nothing.
pub(crate) fn exit() -> ! {
    with_current(Thread::finish);
    ops::irq::disable();
    cpu::current().scheduler.lock().retire();
    schedule();
    unreachable!("a finished thread ran again")
}

/// Waits until `thread` has ended.
pub(crate) fn join(thread: &Thread) {
    thread.wait_finished();
}

/// Makes `root` the running thread's address space, now and whenever it runs. [`Retain::Drop`] for a root that
/// was changed while it was not loaded.
pub(crate) fn adopt_root(root: PhysAddr, retain: Retain) {
    ops::irq::without(|| {
        with_current(|thread| thread.root.store(root.0, Ordering::Relaxed));
        arch::load_root(root, retain);
    });
}

/// The event entry: hands each pending port to its handler, then gives way to a more urgent thread. Exercises
/// `event::next_pending` and `event::end_of_interrupt`.
pub(crate) fn on_event() {
    let cpu = cpu::current();
    cpu.end_idle();
    cpu.in_event.fetch_add(1, Ordering::Relaxed);
    events::handle_pending();
    cpu.in_event.fetch_sub(1, Ordering::Relaxed);
    if cpu.scheduler.lock().take_preemption() {
        schedule();
    }
}

fn on_timer(_: Port) {
    cpu::current().scheduler.lock().timer_expired(time::now_ns());
}

/// Switches now if a more urgent thread became runnable, unless an event handler or a lock is in the way; both
/// look again when they are done.
fn preempt() {
    let cpu = cpu::current();
    if ops::irq::are_enabled()
        && cpu.in_event.load(Ordering::Relaxed) == 0
        && cpu.scheduler.lock().take_preemption()
    {
        ops::irq::without(schedule);
    }
}

/// Goes on with the most urgent thread, which may be this one. Interrupts masked.
fn schedule() {
    let Some((previous, next)) = cpu::current().scheduler.lock().choose(time::now_ns()) else { return };
    switch_to(previous, next);
    // Another thread's call returns here, on its own stack.
    finish_switch();
}

/// First thing that a thread does when it gets the CPU. Drops the one before it, if that has ended.
fn finish_switch() {
    let dead = cpu::current().scheduler.lock().taken_over(time::now_ns());
    drop(dead);
}

/// Exercises `cpu::set_kernel_stack`, `cpu::user_bases` and `cpu::set_user_bases`.
fn switch_to(previous: Arc<Thread>, next: Arc<Thread>) {
    previous.leave();
    ops::cpu::set_kernel_stack(next.stack.top);
    let root = PhysAddr(next.root.load(Ordering::Relaxed));
    if mmu().current_root() != root {
        arch::load_root(root, next.retain());
    }
    next.enter();
    let (save, load) = (previous.stack.saved, next.stack.saved.load(Ordering::Relaxed));
    // A reference kept on the stack of a thread that ended would never be dropped.
    drop(previous);
    drop(next);
    arch::switch_stacks(save, load);
}

/// Where every thread begins.
extern "C" fn begin() -> ! {
    finish_switch();
    let body = current().take_body();
    ops::irq::enable();
    if let Some(body) = body {
        body();
    }
    exit()
}

/// Waits for events when nothing else is to be done. Exercises `irq::enable_and_wait`.
fn idle() {
    loop {
        ops::irq::disable();
        // An event that arrives after this look ends the wait at once.
        if cpu::current().scheduler.lock().is_work_waiting() {
            schedule();
        } else {
            cpu::current().idle_since.store(arch::ticks(), Ordering::Relaxed);
            ops::irq::enable_and_wait();
        }
    }
}

/// The kernel's root, for threads without a process.
fn kernel_root() -> PhysAddr {
    kernel_space::root()
}
