//! The second domain: the same image with `part=peer`. The two share nothing but four channels, so each ring is a word:
//! what it means depends on the channel.
//!
//! The suite rings, the peer does what the channel stands for and rings back by the same channel: once it is done, if
//! all was as it should be. What was not, it says by silence.

use super::faults::{self, Fault};
use super::user::{Program, program};
use super::{events, tables, world};
use core::arch::asm;
use core::sync::atomic::Ordering;
use pvops_abi::addr::PhysAddr;
use pvops_abi::layout::{MemoryKind, TrapFrame};
use pvops_abi::ops::event::{BindError, EventSource, Port, send, unmask};
use pvops_abi::ops::sched::{self, ShutdownReason};
use pvops_abi::ops::{irq, time};

/// What a channel stands for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u32)]
pub(crate) enum Channel {
    /// "Are you there?"
    Echo = 0,
    /// "Fill all your registers, let others run, and look whether they kept what you put there."
    Registers = 1,
    /// "Start anew, and find everything as at your first start."
    Anew = 2,
    /// "End." There is no answer.
    End = 3,
    /// "Use your I/O ports, and let a program try."
    Ports = 4,
}

const ALL: [Channel; 5] = [Channel::Echo, Channel::Registers, Channel::Anew, Channel::End, Channel::Ports];

/// How long a new domain may take to come up.
const STARTS_NS: u64 = 1_000_000_000;
/// Between two attempts to find it.
const PAUSE_NS: u64 = 1_000_000;
/// How often the peer lets others run while its registers are filled.
const TURNS: u32 = 8;

/// Whether there is a peer.
pub(crate) fn exists() -> bool {
    world::boot().option("peer") == Some("1")
}

/// This end of a channel, unmasked.
pub(crate) fn open(channel: Channel) -> Result<Port, BindError> {
    let port = events::bind(EventSource::Doorbell { channel: channel as u32 })?;
    unmask(port);
    Ok(port)
}

/// Waits, with events enabled, until the peer answers; it may still be starting. False: it does not.
pub(crate) fn find() -> bool {
    let Ok(port) = open(Channel::Echo) else { return false };
    irq::enable();
    let end = time::now_ns() + STARTS_NS;
    while events::deliveries(port) == 0 && time::now_ns() < end {
        send(port);
        let until = time::now_ns() + PAUSE_NS;
        while events::deliveries(port) == 0 && time::now_ns() < until {
            sched::yield_now();
        }
    }
    let answered = events::deliveries(port) != 0;
    // An answer to a ring before the last may be on its way.
    events::stay_silent();
    events::unbind(port);
    answered
}

/// Ends the peer, when the suite has ended.
pub(crate) fn end() {
    if exists() && find() {
        irq::disable();
        if let Ok(port) = open(Channel::End) {
            send(port);
        }
    }
}

/// The peer's part, to its end.
pub(crate) fn play() -> ! {
    let ports = ALL.map(|channel| open(channel).ok());
    let heard = |channel: Channel| ports[channel as usize].map_or(0, events::deliveries);
    let answer = |channel: Channel| ports[channel as usize].into_iter().for_each(send);
    if is_clean() {
        answer(Channel::Anew);
    }
    let mut done = [0; ALL.len()];
    loop {
        irq::disable();
        let next = ALL.into_iter().find(|channel| heard(*channel) != done[*channel as usize]);
        match next {
            None => irq::enable_and_wait(),
            Some(Channel::Anew) => sched::shutdown(ShutdownReason::Reboot, 0),
            Some(Channel::End) => sched::shutdown(ShutdownReason::PowerOff, 0),
            Some(channel) => {
                done[channel as usize] = heard(channel);
                let is_well = match channel {
                    Channel::Registers => keeps_registers(OTHER_PATTERN, TURNS),
                    Channel::Ports => has_ports_for_itself(),
                    _ => true,
                };
                if is_well {
                    answer(channel);
                }
            }
        }
    }
}

/// Number of the first I/O port that the command line assigns to a domain by `option`.
pub(crate) fn assigned_port(option: &str) -> Option<u16> {
    world::boot().option(option)?.parse().ok()
}

/// Whether the kernel reaches its own I/O ports, and neither others nor a program any.
fn has_ports_for_itself() -> bool {
    let Some(port) = assigned_port("ports") else { return false };
    let program = Program::new();
    let state = TrapFrame { rdx: port.into(), ..program.state() };
    let trap = program.run_from(program!("in al, dx"), &state);
    tables::load_base_root();
    let is_refused = |trap: u64| trap == faults::GENERAL_PROTECTION;
    is_refused(trap.vector)
        && read_port(port).is_ok()
        && read_port(port + ASSIGNED_PORTS).is_err_and(|fault| is_refused(fault.vector))
}

/// Ports that a target assigns to the peer.
const ASSIGNED_PORTS: u16 = 8;

/// Reads an I/O port.
pub(crate) fn read_port(port: u16) -> Result<u8, Fault> {
    // SAFETY: a fault is caught; the port is assigned for this, or the read has to fault.
    faults::catch(|| unsafe {
        let value: u8;
        asm!("in al, dx", in("dx") port, out("al") value, options(nomem, nostack));
        value
    })
}

/// Whether all free memory is zero that this run has not used, as at every start.
fn is_clean() -> bool {
    let used = super::world::used_frames();
    let free = world::boot().regions().iter().filter(|region| region.kind == MemoryKind::Usable);
    // The last megabyte of each region: reading all of it would take the suite's time.
    let mut ends = free.map(|region| (region.start.0.max(used.end), region.start.0 + region.bytes));
    ends.all(|(start, end)| {
        let start = start.max(end.saturating_sub(1 << 20)).min(end);
        (start..end).step_by(8).all(|phys| world::word(PhysAddr(phys)).swap(DIRT, Ordering::Relaxed) == 0)
    })
}

/// Left in free memory, for the next start to find if it is not cleaned.
const DIRT: u64 = 0x6469_7274_6469_7274;

/// What the suite and the peer put into their registers.
pub(crate) const PATTERN: u64 = 0x1111_2222_3333_4444;
const OTHER_PATTERN: u64 = 0x9999_aaaa_bbbb_cccc;

/// Fills x87, SSE and segment bases, lets others run `turns` times, and looks whether all is as it was.
pub(crate) fn keeps_registers(pattern: u64, turns: u32) -> bool {
    let bases = pvops_abi::ops::cpu::user_bases();
    pvops_abi::ops::cpu::set_user_bases(pattern & 0x7fff_ffff_ffff, bases.1);
    // SAFETY: x87 and SSE registers are used by nobody in a kernel without floating point.
    unsafe {
        asm!(
            "movq xmm0, {0}", "movq xmm7, {0}", "movq xmm15, {0}", "fninit", "push {0}", "fild qword ptr [rsp]", "pop {1}",
            in(reg) pattern, out(reg) _,
        );
    }
    (0..turns).for_each(|_| sched::yield_now());
    let (low, middle, high, x87): (u64, u64, u64, u64);
    // SAFETY: as above.
    unsafe {
        asm!(
            "movq {0}, xmm0", "movq {1}, xmm7", "movq {2}, xmm15", "push 0", "fistp qword ptr [rsp]", "pop {3}",
            out(reg) low, out(reg) middle, out(reg) high, out(reg) x87,
        );
    }
    let fs = pvops_abi::ops::cpu::user_bases().0;
    pvops_abi::ops::cpu::set_user_bases(bases.0, bases.1);
    [low, middle, high, x87] == [pattern; 4] && fs == pattern & 0x7fff_ffff_ffff
}
