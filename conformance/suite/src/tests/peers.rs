//! Behaviour: two domains ring each other, and share nothing else: neither registers nor memory nor fate.
//! Reason: this is what a hypervisor is for.
//! Method: a second domain with the same image plays the other part, see `harness::peer`. With two CPUs it has one of
//! its own.

use crate::harness::Needs::Peer;
use crate::harness::abi::call;
use crate::harness::faults::GENERAL_PROTECTION;
use crate::harness::peer::{self, Channel};
use crate::harness::{Report, Test, events};
use pvops_abi::call::Event;
use pvops_abi::error::Error;
use pvops_abi::layout::PortKind;
use pvops_abi::ops::event::{Port, mask, send, unmask};
use pvops_abi::ops::time::now_ns;
use pvops_abi::ops::{irq, sched};

pub(super) const TESTS: &[Test] = &[
    Test {
        name: "peers.doorbell",
        requirement_ids: &["EVT-001", "EVT-005", "EVT-011", "SCHED-001"],
        needs: Peer,
        run: doorbell,
    },
    Test { name: "peers.masked", requirement_ids: &["EVT-005"], needs: Peer, run: masked },
    Test { name: "peers.channels", requirement_ids: &["ERR-002", "EVT-005"], needs: Peer, run: channels },
    Test { name: "peers.registers", requirement_ids: &["CPU-021", "SEC-001"], needs: Peer, run: registers },
    Test {
        name: "peers.ports",
        requirement_ids: &["CPU-002", "DEV-001", "DEV-002", "SEC-002"],
        needs: Peer,
        run: ports,
    },
    Test {
        name: "peers.anew",
        requirement_ids: &["SCHED-004", "BOOT-004", "ERR-003"],
        needs: Peer,
        run: anew,
    },
];

/// The longest that an answer may take: the peer may be waiting for a CPU.
const PATIENCE_NS: u64 = 300_000_000;

/// This end of a channel, events enabled, the peer there.
fn channel(report: &mut Report, channel: Channel) -> Option<Port> {
    report.check(peer::find(), "the peer answers");
    let port = peer::open(channel).ok();
    report.check(port.is_some(), "a channel can be bound");
    irq::enable();
    port
}

/// Waits until `port` was rung `count` times; yielding, since the peer may share the CPU.
fn rung(port: Port, count: u32) -> bool {
    let end = now_ns() + PATIENCE_NS;
    while events::deliveries(port) < count && now_ns() < end {
        sched::yield_now();
    }
    events::deliveries(port) >= count
}

fn doorbell(report: &mut Report) {
    const ROUNDS: u32 = 100;
    let Some(port) = channel(report, Channel::Echo) else { return };
    for round in 1..=ROUNDS {
        send(port);
        if !rung(port, round) {
            return report.equal("answers", events::deliveries(port), round);
        }
    }
    events::stay_silent();
    report.equal("answers, one to each ring", events::deliveries(port), ROUNDS);
}

/// A ring that finds the port masked waits.
fn masked(report: &mut Report) {
    let Some(port) = channel(report, Channel::Echo) else { return };
    mask(port);
    send(port);
    let end = now_ns() + 20_000_000;
    while now_ns() < end {
        sched::yield_now();
    }
    report.equal("while masked", events::deliveries(port), 0);
    unmask(port);
    report.check(rung(port, 1), "after unmasking");
}

/// A channel has one port, and a ring goes to its own.
fn channels(report: &mut Report) {
    let Some(port) = channel(report, Channel::Echo) else { return };
    let again = call(Event::Bind.id(), &[PortKind::Doorbell as u64, Channel::Echo as u64, 0]);
    report.refused(format_args!("a second port of a channel"), again, Error::WrongState);
    for number in [16, 1 << 32, u64::MAX] {
        let reply = call(Event::Bind.id(), &[PortKind::Doorbell as u64, number, 0]);
        report.refused(format_args!("channel {number:#x}"), reply, Error::InvalidArgument);
    }
    let Ok(other) = peer::open(Channel::Registers) else { return report.error("no second channel") };
    send(port);
    report.check(rung(port, 1), "the peer answers");
    report.equal("deliveries by another channel", events::deliveries(other), 0);
}

/// The peer fills its registers with something else meanwhile; both find what they had put there.
fn registers(report: &mut Report) {
    const TURNS: u32 = 40;
    let Some(port) = channel(report, Channel::Registers) else { return };
    for round in 1..=3 {
        send(port);
        report.check(peer::keeps_registers(peer::PATTERN, TURNS), "registers while another domain runs");
        report.check(rung(port, round), "the peer found its registers as well");
    }
}

/// I/O ports of the peer's are its kernel's alone.
fn ports(report: &mut Report) {
    let Some(first) = peer::assigned_port("peer_ports") else {
        return report.skip("this target assigns no I/O ports");
    };
    let Some(port) = channel(report, Channel::Ports) else { return };
    report.faults("another domain's port", peer::read_port(first), GENERAL_PROTECTION, 0);
    for round in 1..=2 {
        send(port);
        report.check(rung(port, round), "the peer's kernel reaches its ports, its program does not");
        report.faults("the port afterwards", peer::read_port(first), GENERAL_PROTECTION, 0);
    }
}

/// The peer starts anew, twice: it finds clean memory, and this domain does not notice but by a ring.
fn anew(report: &mut Report) {
    let Some(port) = channel(report, Channel::Anew) else { return };
    for round in 1..=2 {
        send(port);
        report.check(rung(port, round), "the peer started anew, in clean memory");
    }
    events::unbind(port);
    report.check(peer::find(), "and it is there again");
}
