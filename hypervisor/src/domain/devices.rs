//! The devices that a domain drives itself, and their interrupts.
//!
//! A domain's kernel reaches ports and registers without us. Interrupts come here and become mail, as everything
//! does that happens to a domain. How often that can be is bounded:
//!
//! * a *level* line is masked when it interrupts, and unmasked when the guest says that it removed the cause;
//! * an *edge* line is masked when it interrupts while the domain has not looked since the last time, and unmasked
//!   when it looks. So a line interrupts at most twice between two turns of its domain, and no edge is lost: the port
//!   becomes pending after the line is unmasked.

use super::registry::{self, MAIL_DEVICES_SHIFT};
use crate::arch::x86_64::console;
use crate::arch::x86_64::io_apic::Line;
use crate::lock::lock;
use crate::sched::VcpuId;
use spin::{Mutex, MutexGuard};
use system_image::layout::MAX_DEVICES;
use system_image::{Device, PortRange};

/// Vectors for lines, the console's included.
pub const MAX_LINES: usize = 16;
/// In place of a device's number: all of the domain.
const EVERY: u32 = u32::MAX;

/// What the hypervisor keeps of a domain's devices; they are numbered as in the system image. Their registers in
/// memory are [`GuestMemory`](crate::arch::x86_64::guest::GuestMemory)'s.
#[derive(Clone, Copy, Debug)]
pub struct Devices {
    /// Whether any of them has I/O ports.
    pub has_ports: bool,
    /// I/O ports; none for a device without.
    pub ports: [PortRange; MAX_DEVICES],
    /// Those with an interrupt, a bit each.
    with_interrupt: u32,
}

/// A line on its way to a CPU, as the interrupt controller has it.
pub trait Gate {
    /// Whether it is triggered by level.
    fn is_level(&self) -> bool;
    /// Keeps it from interrupting. An interrupt on its way may still arrive.
    fn mask(&mut self);
    /// Lets it interrupt; a level line that is active does so at once.
    fn unmask(&mut self);
}

/// What happened to a line.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Change {
    /// Its port was bound.
    Bound,
    /// Its port was unbound, or its domain stopped.
    Unbound,
    /// The guest removed the cause of an interrupt.
    Ended,
    /// The domain looks at what interrupted.
    Looked,
    /// It interrupted.
    Interrupted,
}

/// What may happen on a line.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Debug)]
enum State {
    /// Its port is not bound: masked.
    Closed,
    /// Masked until the guest ends the interrupt (level), or until the domain looks (edge).
    Held,
    /// It may interrupt.
    Open,
    /// An edge line that interrupted; the domain has not looked since.
    Posted,
}

/// A line that is assigned: index + `vector::LINES` is its vector.
#[derive(Debug)]
struct Assigned<G> {
    gate: G,
    domain: u16,
    /// Number of the device in the domain.
    device: u8,
    state: State,
}

/// Filled at boot; afterwards only states change. Held for an access to the IOAPIC at most.
static LINES: Mutex<[Option<Assigned<Line>>; MAX_LINES]> = Mutex::new([const { None }; MAX_LINES]);

impl Devices {
    /// Without interrupts, as the image describes them, at most [`MAX_DEVICES`]. Boot only.
    #[must_use]
    pub fn new(devices: &[Device]) -> Self {
        let ports = core::array::from_fn(|number| {
            let ports = devices.get(number).and_then(|device| device.ports);
            ports.unwrap_or(PortRange { first: 0, count: 0 })
        });
        Self { has_ports: ports.iter().any(|range| range.count != 0), ports, with_interrupt: 0 }
    }

    /// Gives device `device` of `domain` an interrupt: `route` makes the line for an index. False: there is no
    /// vector left. Boot only.
    pub fn add_interrupt(&mut self, domain: u16, device: usize, route: impl FnOnce(u8) -> Line) -> bool {
        let mut lines = lines();
        let is_free = |index: &usize| *index != usize::from(console::LINE) && lines[*index].is_none();
        let Some(index) = (0..MAX_LINES).find(is_free) else { return false };
        let gate = route(index as u8);
        lines[index] = Some(Assigned { gate, domain, device: device as u8, state: State::Closed });
        self.with_interrupt |= 1 << device;
        true
    }

    /// Whether there is a device `number` with an interrupt.
    #[must_use]
    pub fn has_interrupt(&self, number: u64) -> bool {
        number < MAX_DEVICES as u64 && self.with_interrupt >> number & 1 != 0
    }
}

impl<G: Gate> Assigned<G> {
    /// False: that means nothing now; nobody is to hear of it.
    #[inline(never)]
    fn note(&mut self, change: Change) -> bool {
        let is_level = self.gate.is_level();
        let next = match change {
            Change::Unbound => State::Closed,
            Change::Bound => State::Open,
            // It was on its way when the line was masked.
            Change::Interrupted if self.state.is_masked() => return false,
            Change::Interrupted if is_level || self.state == State::Posted => State::Held,
            Change::Interrupted => State::Posted,
            Change::Ended if is_level && self.state == State::Held => State::Open,
            Change::Looked if !is_level && self.state != State::Closed => State::Open,
            Change::Ended | Change::Looked => return false,
        };
        match (self.state.is_masked(), next.is_masked()) {
            (false, true) => self.gate.mask(),
            (true, false) => self.gate.unmask(),
            _ => {}
        }
        self.state = next;
        true
    }
}

impl State {
    fn is_masked(self) -> bool {
        self <= Self::Held
    }
}

#[inline(never)]
fn lines() -> MutexGuard<'static, [Option<Assigned<Line>>; MAX_LINES]> {
    lock(&LINES)
}

/// Line `index` interrupted this CPU, which has not ended the interrupt at its local APIC yet.
#[inline(never)]
pub fn interrupt(index: u8) {
    let mut lines = lines();
    let Some(assigned) = &mut lines[usize::from(index) % MAX_LINES] else { return };
    if assigned.note(Change::Interrupted) {
        let receiver = VcpuId { domain: assigned.domain, vcpu: 0 };
        registry::post(receiver, 1 << (MAIL_DEVICES_SHIFT + u32::from(assigned.device)));
    }
}

/// Something happened to the interrupt of device `number` of `domain`.
#[inline(never)]
pub fn note(domain: u16, number: u32, change: Change) {
    for assigned in lines().iter_mut().flatten() {
        if assigned.domain == domain && (number == EVERY || u32::from(assigned.device) == number) {
            assigned.note(change);
        }
    }
}

/// Masks all lines of a domain that stops or starts anew, and forgets what was in service.
pub fn silence(domain: u16) {
    note(domain, EVERY, Change::Unbound);
}

#[cfg(test)]
mod tests;
