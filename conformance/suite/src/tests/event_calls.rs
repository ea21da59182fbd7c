//! Behaviour: calls on ports check kind, argument, vCPU and port number, and the state of the port.
//! Reason: port numbers index the hypervisor's own tables.
//! Method: every bad argument, bound and unbound ports, and as many ports as there are.

use crate::harness::Needs::{Abi, Ops};
use crate::harness::abi::call;
use crate::harness::{Report, Test, events, world};
use pvops_abi::call::{CallId, Event};
use pvops_abi::error::Error;
use pvops_abi::hyper::Reply;
use pvops_abi::layout::{MAX_PORTS, PortKind};
use pvops_abi::ops::event::{BindError, EventSource, Port};

pub(super) const TESTS: &[Test] = &[
    Test { name: "event.bind_busy", requirement_ids: &[], needs: Ops, run: bind_busy },
    Test { name: "event.bind_errors", requirement_ids: &["ERR-002"], needs: Abi, run: bind_errors },
    Test { name: "event.bind_vcpu", requirement_ids: &[], needs: Abi, run: bind_vcpu },
    Test { name: "event.port_numbers", requirement_ids: &["ERR-002"], needs: Abi, run: port_numbers },
    Test { name: "event.unbound_ports", requirement_ids: &["ERR-002"], needs: Abi, run: unbound_ports },
    Test { name: "event.send_kinds", requirement_ids: &[], needs: Abi, run: send_kinds },
    Test { name: "event.limits", requirement_ids: &["EVT-010"], needs: Abi, run: limits },
];

/// Calls that take a port.
const ON_PORTS: [(&str, CallId); 4] = [
    ("EVT.unbind", Event::Unbind.id()),
    ("EVT.send", Event::Send.id()),
    ("EVT.unmask", Event::Unmask.id()),
    ("EVT.eoi", Event::Eoi.id()),
];

fn bind(kind: u64, argument: u64, vcpu: u64) -> Reply {
    let reply = call(Event::Bind.id(), &[kind, argument, vcpu]);
    if let Ok(port) = reply.result() {
        events::note(Port(port as u32));
    }
    reply
}

fn bind_busy(report: &mut Report) {
    let source = EventSource::Timer { cpu: 0 };
    let first = events::bind(source);
    report.check(first.is_ok(), "the timer can be bound");
    report.equal("once", events::bind(source), Err(BindError::Busy));
    if let Ok(port) = first {
        events::unbind(port);
        report.check(events::bind(source).is_ok(), "and again after it was unbound");
    }
    let nobody = EventSource::Ipi { cpu: world::boot().cpu_count };
    report.equal("a CPU that does not exist", events::bind(nobody), Err(BindError::NoSuchSource));
}

fn bind_errors(report: &mut Report) {
    for kind in [5, 6, 1 << 32, u64::MAX] {
        report.refused(format_args!("kind {kind:#x}"), bind(kind, 0, 0), Error::InvalidArgument);
    }
    for kind in [PortKind::Timer, PortKind::Console, PortKind::Ipi] {
        for argument in [1, 1 << 63, u64::MAX] {
            let reply = bind(kind as u64, argument, 0);
            report.refused(
                format_args!("{kind:?} with argument {argument:#x}"),
                reply,
                Error::InvalidArgument,
            );
        }
    }
    for kind in [PortKind::Device, PortKind::Doorbell] {
        let reply = bind(kind as u64, u64::MAX, 0);
        report.refused(format_args!("{kind:?} that is not assigned"), reply, Error::InvalidArgument);
    }
    for kind in [PortKind::Timer, PortKind::Console] {
        report.accepted("the first of its kind", bind(kind as u64, 0, 0));
        report.refused(format_args!("a second {kind:?}"), bind(kind as u64, 0, 0), Error::WrongState);
    }
}

fn bind_vcpu(report: &mut Report) {
    let count = u64::from(world::hypervisor().vcpu_count);
    for vcpu in [count, count + 1, 1 << 32, u64::MAX] {
        let reply = bind(PortKind::Ipi as u64, 0, vcpu);
        report.refused(format_args!("vCPU {vcpu:#x} of {count}"), reply, Error::InvalidArgument);
    }
}

fn port_numbers(report: &mut Report) {
    for (name, id) in ON_PORTS {
        for port in [0, MAX_PORTS as u64, 1 << 32 | 1, 1 << 63 | 1, u64::MAX] {
            report.refused(
                format_args!("{name} of port {port:#x}"),
                call(id, &[port]),
                Error::InvalidArgument,
            );
        }
    }
}

fn unbound_ports(report: &mut Report) {
    let port = report.accepted("bind", bind(PortKind::Ipi as u64, 0, 0));
    events::unbind(Port(port as u32));
    for (name, id) in ON_PORTS {
        for port in [port, MAX_PORTS as u64 - 1, MAX_PORTS as u64 / 2] {
            report.refused(
                format_args!("{name} of unbound port {port}"),
                call(id, &[port]),
                Error::WrongState,
            );
        }
    }
}

/// Only a port that stands for a sender can be sent; `eoi` is harmless everywhere.
fn send_kinds(report: &mut Report) {
    let timer = report.accepted("bind the timer", bind(PortKind::Timer as u64, 0, 0));
    report.refused(format_args!("EVT.send of the timer"), call(Event::Send.id(), &[timer]), Error::Denied);
    let console = report.accepted("bind the console", bind(PortKind::Console as u64, 0, 0));
    report.refused(
        format_args!("EVT.send of the console"),
        call(Event::Send.id(), &[console]),
        Error::Denied,
    );
    report.accepted("EVT.eoi of the timer", call(Event::Eoi.id(), &[timer]));
}

fn limits(report: &mut Report) {
    let mut bound = 0;
    let mut seen = [0u64; MAX_PORTS / 64];
    let last = loop {
        let reply = bind(PortKind::Ipi as u64, 0, 0);
        let Ok(port) = reply.result() else { break reply };
        let (word, bit) = (port as usize / 64 % seen.len(), 1 << (port % 64));
        report.check(port != 0 && port < MAX_PORTS as u64 && seen[word] & bit == 0, "a port of its own");
        seen[word] |= bit;
        bound += 1;
        if bound > MAX_PORTS {
            report.check(false, "the number of ports has a bound");
            return;
        }
    };
    report.refused(format_args!("one more than there are"), last, Error::NoResources);
    report.check(bound >= 63, "at least 63 ports");
    events::unbind_all();
    report.accepted("bind after all were unbound", bind(PortKind::Ipi as u64, 0, 0));
    report.remark(format_args!("{bound} ports"));
}
