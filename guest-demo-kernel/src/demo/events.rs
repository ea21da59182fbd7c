//! Events: what happens while they are masked is delivered afterwards, once.

use crate::events;
use crate::report::Report;
use core::sync::atomic::{AtomicU64, Ordering};
use pvops_abi::ops::event::{self, EventSource, Port};
use pvops_abi::ops::{irq, sched};

static DELIVERED: AtomicU64 = AtomicU64::new(0);

/// Exercises `irq` and `event` with an interrupt that the CPU sends to itself.
pub(super) fn run(report: &mut Report) {
    DELIVERED.store(0, Ordering::Relaxed);
    let Ok(port) = events::bind(EventSource::Ipi { cpu: 0 }, count) else {
        report.check("an inter-processor port can be bound", false);
        return;
    };
    masked_by_the_cpu(report, port);
    masked_at_the_port(report, port);
    report.check("binding the timer twice is refused", event::bind(EventSource::Timer { cpu: 0 }).is_err());
    events::unbind(port);
    report.expect("events_delivered", delivered(), 13);
}

fn masked_by_the_cpu(report: &mut Report, port: Port) {
    for round in 0..10 {
        irq::disable();
        report.check("interrupts are masked", !irq::are_enabled());
        // Two occurrences merge while the port is pending.
        event::send(port);
        event::send(port);
        report.check("nothing is delivered while masked", delivered() == round);
        irq::enable();
        settle();
        report.check("what was pending is delivered once", delivered() == round + 1);
    }
    event::send(port);
    settle();
    report.check("an event interrupts", delivered() == 11);
}

fn masked_at_the_port(report: &mut Report, port: Port) {
    event::mask(port);
    event::send(port);
    settle();
    report.check("a masked port is silent", delivered() == 11);
    event::unmask(port);
    settle();
    report.check("a masked port loses nothing", delivered() == 12);
    irq::without(|| event::send(port));
    settle();
}

/// Delivery is bounded in time, not exact to the instruction. Exercises `sched::yield_now`.
fn settle() {
    (0..2000).for_each(|_| core::hint::spin_loop());
    sched::yield_now();
}

fn delivered() -> u64 {
    DELIVERED.load(Ordering::Relaxed)
}

fn count(_: Port) {
    DELIVERED.fetch_add(1, Ordering::Relaxed);
}
