//! Against the other domains: their memory by every name that this guest can give it, their roots, and channels that
//! nobody declared. A channel that is declared (`channels=` says how many) is rung until everybody has had enough.

use super::memory::read;
use crate::harness::attempt::{self, BOTH, Mode, code};
use crate::harness::tables::{self, P, PS, U, W};
use crate::harness::{call, check, check_trap, check_vector, events, option, println, world};
use pvops_abi::call::{Base, Cpu, Event, Mmu};
use pvops_abi::layout::PortKind;

const INVALID_ARGUMENT: i64 = -2;
const BAD_ADDRESS: i64 = -3;
const WRONG_STATE: i64 = -4;
const DENIED: i64 = -5;
/// All memory of the machines that the tests boot lies below it.
const MACHINE_BYTES: u64 = 1 << 30;
const RINGS: u64 = 5000;
/// How long a domain looks at how often it is rung.
const RUNG_NS: u64 = 50_000_000;
/// The peer rings by then.
const FIRST_RING_NS: u64 = 10_000_000_000;

pub(super) fn run() {
    frames();
    windows();
    arguments();
    undeclared();
    senders();
    rings();
}

/// Each 2 MiB of the machine, as a large page and as a small one, each GiB, and tables there: frames of a guest are
/// its own numbers, so none of this is anybody's memory.
fn frames() {
    let root = tables::base_root();
    let address = tables::WINDOW + 11 * tables::SLOT_BYTES;
    for (level, step) in [(1, 2 << 20), (2, 2 << 20), (3, 1 << 30)] {
        let place = tables::entry(root, address, level);
        let old = world::get(place);
        let large = if level == 1 { 0 } else { PS };
        for frame in (0..MACHINE_BYTES).step_by(step).skip_while(|frame| *frame < world::memory_end()) {
            for (entry, what) in [(frame | large | P | W | U, "page"), (frame | P | W | U, "table")] {
                if level == 1 && what == "table" {
                    continue;
                }
                world::put(place, entry);
                tables::flush(address);
                let trap = read(Mode::User, address);
                check_trap(&trap, 14, 1 | 8 | 4, format_args!("{what} at {frame:#x}, level {level}"));
            }
        }
        world::put(place, old);
    }
    tables::flush_everything();
}

/// The slots where the hypervisor keeps what is the running domain's: whoever's they are at the moment.
fn windows() {
    let start = world::start_info().reserved_ranges[0].start;
    let jump = code!("jmp rdi");
    for slot in 1..8 {
        for place in (0..MACHINE_BYTES).step_by(8 << 20) {
            let address = start + slot * tables::SLOT_BYTES + place;
            for mode in BOTH {
                check_vector(&read(mode, address), &[14], format_args!("read of window {address:#x}"));
            }
            let mut state = attempt::snippet(Mode::Kernel, jump);
            state.rdi = address;
            check_vector(&attempt::run(&state), &[14], format_args!("jump into window {address:#x}"));
        }
    }
}

/// Guest-physical addresses behind this domain's memory, in calls that read or write there, and as roots.
fn arguments() {
    let end = world::memory_end();
    for address in (end..MACHINE_BYTES).step_by(1 << 20).chain([end, end + 4096, 1 << 40, !0xfff]) {
        for (id, arguments) in [
            (Mmu::LoadRoot.id(), [address, 0, 0]),
            (Mmu::LoadRoot.id(), [address, 1, 0]),
            (Mmu::ReleaseRoot.id(), [address, 0, 0]),
            (Mmu::SetCommonSlots.id(), [address, 0, 0]),
            (Cpu::Cpuid.id(), [0, 0, address]),
            (Cpu::RegisterArea.id(), [address, 0, 0]),
            (Cpu::SetTrapTable.id(), [address, 256, 0]),
            (Base::Batch.id(), [address, 1, 0]),
        ] {
            let status = call(id, &arguments).status;
            check(status == BAD_ADDRESS, format_args!("{:#x} of {address:#x}: status {status}", id.0));
        }
    }
}

/// Channels are numbered from 0; those behind the last do not exist, whatever the other arguments are.
fn undeclared() {
    let declared = option("channels", 0);
    for channel in (declared..declared + 300).chain([1 << 8, 1 << 16, 1 << 32, 1 << 63, u64::MAX, !0xff]) {
        let status = call(Event::Bind.id(), &[PortKind::Doorbell as u64, channel, 0]).status;
        check(status == INVALID_ARGUMENT, format_args!("channel {channel:#x}: status {status}"));
    }
    for vcpu in [1, 7, 8, 1 << 32, u64::MAX] {
        let status = call(Event::Bind.id(), &[PortKind::Doorbell as u64, 0, vcpu]).status;
        check(status == INVALID_ARGUMENT, format_args!("a channel for vCPU {vcpu:#x}: status {status}"));
    }
}

/// Who may be sent to: own IPIs and declared channels.
fn senders() {
    let send = |port| call(Event::Send.id(), &[port]).status;
    for kind in [PortKind::Timer, PortKind::Console] {
        let port = events::bind(kind);
        check(send(port) == DENIED, format_args!("SEND to {kind:?}: status {}", send(port)));
        events::unbind(port);
        check(send(port) == WRONG_STATE, format_args!("SEND to nobody: status {}", send(port)));
    }
    for port in [0, 4096, 1 << 16, 1 << 32 | 1, 1 << 63, u64::MAX] {
        check(send(port) == INVALID_ARGUMENT, format_args!("SEND to {port:#x}: status {}", send(port)));
    }
}

/// A declared peer is rung as fast as it goes.
fn rings() {
    for channel in 0..option("channels", 0) {
        let reply = call(Event::Bind.id(), &[PortKind::Doorbell as u64, channel, 0]);
        check(reply.status == 0, format_args!("channel {channel}: status {}", reply.status));
        let again = call(Event::Bind.id(), &[PortKind::Doorbell as u64, channel, 0]).status;
        check(again == WRONG_STATE, format_args!("channel {channel} twice: status {again}"));
        for ring in 0..RINGS {
            let status = call(Event::Send.id(), &[reply.value]).status;
            check(status == 0, format_args!("ring {ring} of channel {channel}: status {status}"));
        }
        events::unbind(reply.value);
    }
}

/// The other end of that: a peer on another CPU rings as fast as it goes. How often this domain hears of it within a time
/// is bounded, and in between it goes on. The bound is the hypervisor's, eight within 128 microseconds.
pub(super) fn rung() {
    let reply = call(Event::Bind.id(), &[PortKind::Doorbell as u64, 0, 0]);
    check(reply.status == 0, format_args!("the channel: status {}", reply.status));
    check(call(Event::Unmask.id(), &[reply.value]).status == 0, format_args!("the port"));
    // The clock by a call would be an exit, and on that a ring is found too.
    let spin = || {
        let mut state = attempt::snippet(Mode::Kernel, code!("2: pause", "dec ecx", "jnz 2b"));
        state.rcx = 20_000;
        state.rflags = 1 << 9 | 2;
        attempt::run(&state);
    };
    let before = events::count();
    let latest = events::now_ns() + FIRST_RING_NS;
    while events::count() == before && events::now_ns() < latest {
        spin();
    }
    check(events::count() > before, format_args!("nobody rings"));
    let (began, before) = (events::now_ns(), events::count());
    let mut elapsed = 0;
    while elapsed < RUNG_NS {
        spin();
        elapsed = events::now_ns() - began;
    }
    let (count, most) = (events::count() - before, (elapsed / 128_000 + 2) * 8);
    println!("rung: {count} upcalls in {elapsed} ns, at most {most}");
    check(count <= most, format_args!("{count} upcalls in {elapsed} ns"));
    events::unbind(reply.value);
}

/// Rings the peer for as long as `for_ms=` says.
pub(super) fn ring() {
    let reply = call(Event::Bind.id(), &[PortKind::Doorbell as u64, 0, 0]);
    check(reply.status == 0, format_args!("the channel: status {}", reply.status));
    let end = events::now_ns() + option("for_ms", 0) * 1_000_000;
    while events::now_ns() < end {
        (0..100).for_each(|_| {
            call(Event::Send.id(), &[reply.value]);
        });
    }
    events::unbind(reply.value);
}
