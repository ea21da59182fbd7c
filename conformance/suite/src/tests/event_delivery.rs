//! Behaviour: an event is delivered exactly once: at once when it may be, and when the port is unmasked or the
//! flag is set again when it may not.
//! Reason: a lost event is a machine that hangs, one that comes while masked a data race.
//! Method: the CPU sends events to itself in each state of mask and flag and counts deliveries.

use crate::harness::Needs::{Abi, Ops};
use crate::harness::abi::call;
use crate::harness::events::{await_deliveries, bind_own, deliveries, stay_silent};
use crate::harness::{Report, Test, events, world};
use core::sync::atomic::Ordering;
use pvops_abi::call::Event;
use pvops_abi::ops::event::{Port, mask, send, unmask};
use pvops_abi::ops::irq;

pub(super) const TESTS: &[Test] = &[
    Test {
        name: "event.immediate",
        requirement_ids: &["EVT-001", "EVT-005", "EVT-011", "OPS-013"],
        needs: Ops,
        run: immediate,
    },
    Test {
        name: "event.masked_port",
        requirement_ids: &["EVT-005", "OPS-012"],
        needs: Ops,
        run: masked_port,
    },
    Test { name: "event.masked_unnoticed", requirement_ids: &["EVT-005"], needs: Abi, run: masked_unnoticed },
    Test { name: "event.masked_again", requirement_ids: &["EVT-005"], needs: Ops, run: masked_again },
    Test {
        name: "event.disabled",
        requirement_ids: &["EVT-001", "EVT-002", "OPS-012"],
        needs: Ops,
        run: disabled,
    },
    Test { name: "event.restored", requirement_ids: &["EVT-001", "EVT-002"], needs: Ops, run: restored },
    Test { name: "event.merged", requirement_ids: &["EVT-005", "OPS-012"], needs: Ops, run: merged },
    Test { name: "event.two_ports", requirement_ids: &["EVT-005"], needs: Ops, run: two_ports },
    Test { name: "event.unbind_forgets", requirement_ids: &["EVT-009"], needs: Ops, run: unbind_forgets },
    Test { name: "event.bound_masked", requirement_ids: &["EVT-009"], needs: Ops, run: bound_masked },
    Test { name: "event.burst", requirement_ids: &["EVT-005", "OPS-012"], needs: Ops, run: burst },
    Test { name: "event.deliver_call", requirement_ids: &["EVT-001"], needs: Abi, run: deliver_call },
    Test {
        name: "event.handler_flags",
        requirement_ids: &["CPU-013", "OPS-005"],
        needs: Ops,
        run: handler_flags,
    },
];

/// A port of this CPU's own; the test ends when there is none.
fn own_port(report: &mut Report) -> Option<Port> {
    let port = bind_own().ok();
    report.check(port.is_some(), "a port for events to oneself can be bound");
    port
}

/// Exactly `count` deliveries, and no more.
fn exactly(report: &mut Report, port: Port, count: u32, what: &str) {
    report.check(await_deliveries(port, count), what);
    stay_silent();
    report.equal(what, deliveries(port), count);
}

fn immediate(report: &mut Report) {
    let Some(port) = own_port(report) else { return };
    unmask(port);
    irq::enable();
    stay_silent();
    report.equal("deliveries before", deliveries(port), 0);
    for count in 1..=3 {
        events::STORED.store(count.into(), Ordering::Relaxed);
        send(port);
        exactly(report, port, count, "an event to oneself");
        report.equal("what was stored before it", events::seen(), count.into());
    }
}

fn masked_port(report: &mut Report) {
    let Some(port) = own_port(report) else { return };
    mask(port);
    irq::enable();
    send(port);
    stay_silent();
    report.equal("deliveries while masked", deliveries(port), 0);
    unmask(port);
    exactly(report, port, 1, "after unmasking");
}

/// A sender that finds the port masked stops there: its vCPU is not told.
fn masked_unnoticed(report: &mut Report) {
    let Some(port) = own_port(report) else { return };
    irq::disable();
    // What may be pending from before is taken.
    world::BLOCK.area.events_pending.store(0, Ordering::SeqCst);
    world::BLOCK.area.selector.store(0, Ordering::SeqCst);
    report.accepted("EVT.SEND", call(Event::Send.id(), &[port.0.into()]));
    report.check(!events::area_is_pending(), "nothing is pending for the vCPU");
    report.equal("selector", world::BLOCK.area.selector.load(Ordering::SeqCst), 0);
    report.accepted("EVT.UNMASK", call(Event::Unmask.id(), &[port.0.into()]));
    report.check(events::area_is_pending(), "once it is unmasked, something is");
}

fn masked_again(report: &mut Report) {
    let Some(port) = own_port(report) else { return };
    unmask(port);
    irq::enable();
    mask(port);
    send(port);
    stay_silent();
    report.equal("deliveries while masked again", deliveries(port), 0);
    unmask(port);
    exactly(report, port, 1, "after unmasking again");
    unmask(port);
    exactly(report, port, 1, "after unmasking once more");
}

fn disabled(report: &mut Report) {
    let Some(port) = own_port(report) else { return };
    unmask(port);
    irq::disable();
    send(port);
    stay_silent();
    report.equal("deliveries while disabled", deliveries(port), 0);
    irq::enable();
    // What is pending is taken before `enable` returns, or within one instruction.
    core::hint::spin_loop();
    report.equal("deliveries right after enabling", deliveries(port), 1);
    exactly(report, port, 1, "later");
}

fn restored(report: &mut Report) {
    let Some(port) = own_port(report) else { return };
    unmask(port);
    irq::enable();
    let outer = irq::save_and_disable();
    let inner = irq::save_and_disable();
    send(port);
    irq::restore(inner);
    stay_silent();
    report.equal("deliveries after the inner restore", deliveries(port), 0);
    report.check(!irq::are_enabled(), "still disabled");
    irq::restore(outer);
    core::hint::spin_loop();
    report.check(irq::are_enabled(), "enabled again");
    report.equal("deliveries after the outer restore", deliveries(port), 1);
}

fn merged(report: &mut Report) {
    let Some(port) = own_port(report) else { return };
    unmask(port);
    irq::disable();
    (0..5).for_each(|_| send(port));
    irq::enable();
    exactly(report, port, 1, "five events at once");
}

fn two_ports(report: &mut Report) {
    let Some(first) = own_port(report) else { return };
    let Ok(second) = bind_own() else {
        // A backend may refuse a second port for the same CPU.
        report.skip("one port per CPU here");
        return;
    };
    unmask(first);
    irq::enable();
    send(second);
    send(first);
    exactly(report, first, 1, "the port that is open");
    report.equal("the masked one", deliveries(second), 0);
    irq::disable();
    unmask(second);
    send(first);
    irq::enable();
    exactly(report, first, 2, "both: the first");
    exactly(report, second, 1, "both: the second");
}

fn unbind_forgets(report: &mut Report) {
    let Some(port) = own_port(report) else { return };
    irq::enable();
    send(port);
    events::unbind(port);
    let Some(again) = own_port(report) else { return };
    unmask(again);
    stay_silent();
    report.equal("deliveries of what was sent before", deliveries(again), 0);
    send(again);
    exactly(report, again, 1, "an event of its own");
}

/// A port is masked when it is bound, whatever its number stood for before.
fn bound_masked(report: &mut Report) {
    let Some(port) = own_port(report) else { return };
    unmask(port);
    events::unbind(port);
    let Some(again) = own_port(report) else { return };
    irq::enable();
    send(again);
    stay_silent();
    report.equal("deliveries of a port that was just bound", deliveries(again), 0);
}

fn burst(report: &mut Report) {
    let Some(port) = own_port(report) else { return };
    unmask(port);
    irq::enable();
    for count in 1..=200 {
        send(port);
        if !await_deliveries(port, count) {
            report.equal("events delivered of a burst", deliveries(port), count);
            return;
        }
    }
    exactly(report, port, 200, "a burst");
}

/// The flag alone is a plain store; EVT.deliver then delivers before it returns.
fn deliver_call(report: &mut Report) {
    let Some(port) = own_port(report) else { return };
    report.accepted("with nothing pending", call(Event::Deliver.id(), &[]));
    unmask(port);
    irq::disable();
    send(port);
    report.check(events::area_is_pending(), "the area says that something is pending");
    report.accepted("while disabled", call(Event::Deliver.id(), &[]));
    report.equal("deliveries while disabled", deliveries(port), 0);
    world::BLOCK.area.events_enabled.store(1, Ordering::SeqCst);
    report.accepted("when enabled", call(Event::Deliver.id(), &[]));
    report.equal("deliveries when it returns", deliveries(port), 1);
    report.check(!events::area_is_pending(), "nothing is pending any more");
}

fn handler_flags(report: &mut Report) {
    let Some(port) = own_port(report) else { return };
    unmask(port);
    irq::enable();
    send(port);
    exactly(report, port, 1, "an event");
    report.check(events::flags_were_right(), "handlers run masked, over code that was not");
    report.check(irq::are_enabled(), "and the flag is set again when they return");
}
