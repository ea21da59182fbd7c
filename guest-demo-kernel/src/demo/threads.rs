//! Threads: order, preemption, and the cost of a switch.

use crate::arch;
use crate::cpu;
use crate::report::Report;
use crate::sync::IrqLock;
use crate::threads::{self, Builder, Thread};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicU64, Ordering};
use demo_programs::{CHECKSUM_START, checksum};
use pvops_abi::ops::{irq, time};

pub(super) fn run(report: &mut Report) {
    order(report);
    preemption(report);
    switching(report);
}

/// Six threads become runnable at once; they must run by priority, then in order of arrival.
fn order(report: &mut Report) {
    static LOG: IrqLock<Vec<u64>> = IrqLock::new(Vec::new());
    LOG.lock().clear();
    let priorities = [1, 4, 2, 4, 1, 2];
    let workers: Vec<_> = (0..)
        .zip(priorities)
        .map(|(index, priority)| worker(priority, move || LOG.lock().push(index)))
        .collect();
    irq::without(|| workers.iter().for_each(threads::launch));
    workers.iter().for_each(|worker| threads::join(worker));
    let log = core::mem::take(&mut *LOG.lock());
    report.check("threads run by priority", log == [1, 3, 2, 5, 0, 4]);
    report.count("thread_order_checksum", log.into_iter().fold(CHECKSUM_START, checksum));
}

/// Two threads that never give way must both get on.
fn preemption(report: &mut Report) {
    const WORK_NS: u64 = 15_000_000;
    // Others may have the CPU for all of that time; a thread that is never preempted keeps it even longer.
    const PATIENCE_NS: u64 = 5_000_000_000;
    static ROUNDS: [AtomicU64; 2] = [AtomicU64::new(0), AtomicU64::new(0)];
    /// Threads that ended when the other had made a round too.
    static MET: AtomicU64 = AtomicU64::new(0);
    let before = statistics().preemptions;
    [&ROUNDS[0], &ROUNDS[1], &MET].into_iter().for_each(|count| count.store(0, Ordering::Relaxed));
    let start = time::now_ns();
    let is_alone = |index: usize| ROUNDS[1 - index].load(Ordering::Relaxed) == 0;
    let goes_on = move |index: usize| {
        let passed = time::now_ns() - start;
        passed < 2 * WORK_NS || (is_alone(index) && passed < PATIENCE_NS)
    };
    // One that gets the CPU late still makes a round, for which the other waits.
    let compute = move |index: usize| {
        loop {
            ROUNDS[index].fetch_add(1, Ordering::Relaxed);
            if !goes_on(index) {
                break;
            }
        }
        MET.fetch_add(u64::from(!is_alone(index)), Ordering::Relaxed);
    };
    let workers = [0, 1].map(|index| worker(threads::NORMAL, move || compute(index)));
    workers.iter().for_each(threads::launch);
    workers.iter().for_each(|worker| threads::join(worker));
    let preemptions = statistics().preemptions - before;
    report.check("threads are preempted", preemptions > 0);
    report.check("both threads got on", MET.load(Ordering::Relaxed) == 2);
    report.measured("preemptions", preemptions, "switches");
}

/// Two threads hand the CPU to each other.
fn switching(report: &mut Report) {
    const TIMES: u64 = 500;
    let hand_over = || (0..TIMES).for_each(|_| threads::yield_now());
    let workers = [(), ()].map(|()| worker(threads::NORMAL + 1, hand_over));
    let before = statistics().switches;
    let (begin, begin_ns) = (arch::ticks(), time::now_ns());
    irq::without(|| workers.iter().for_each(threads::launch));
    workers.iter().for_each(|worker| threads::join(worker));
    let (ticks, ns) = (arch::ticks() - begin, time::now_ns() - begin_ns);
    let switches = statistics().switches - before;
    report.check("each yield switches", switches >= 2 * TIMES);
    report.measured("context_switch", ticks / switches.max(1), "ticks");
    report.measured("context_switch_time", ns / switches.max(1), "ns");
}

fn statistics() -> threads::Statistics {
    cpu::current().scheduler.lock().statistics()
}

fn worker(priority: usize, body: impl FnOnce() + Send + 'static) -> Arc<Thread> {
    Builder::new("worker", priority).build(body).expect("memory for a worker")
}
