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
use super::{Domain, events};
use crate::arch::x86_64::console;
use crate::arch::x86_64::io_apic::Line;
use crate::sched::VcpuId;
use pvops_abi::layout::PortKind;
use spin::Mutex;
use system_image::layout::MAX_DEVICES;
use system_image::{Device, PortRange};

/// Vectors for lines, the console's included.
pub const MAX_LINES: usize = 16;
/// [`Devices::lines`] of a device without interrupt.
const NO_LINE: u8 = u8::MAX;

/// What the hypervisor keeps of a domain's devices; they are numbered as in the system image. Their registers in
/// memory are [`GuestMemory`](crate::arch::x86_64::guest::GuestMemory)'s.
#[derive(Clone, Copy, Debug)]
pub struct Devices {
    /// Whether any of them has I/O ports.
    pub has_ports: bool,
    /// I/O ports.
    pub ports: [Option<PortRange>; MAX_DEVICES],
    /// Index of the interrupt in [`LINES`], or [`NO_LINE`].
    lines: [u8; MAX_DEVICES],
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

/// What happened to a line, but for an interrupt.
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
}

/// What may happen on a line.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    /// Its port is not bound: masked.
    Closed,
    /// It may interrupt.
    Open,
    /// An edge line that interrupted; the domain has not looked since.
    Posted,
    /// Masked until the guest ends the interrupt (level), or until the domain looks (edge).
    Held,
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
        let ports = core::array::from_fn(|number| devices.get(number)?.ports);
        Self { has_ports: ports.iter().any(Option::is_some), ports, lines: [NO_LINE; MAX_DEVICES] }
    }

    /// Gives device `device` of `domain` an interrupt: `route` makes the line for an index. False: there is no
    /// vector left. Boot only.
    pub fn add_interrupt(&mut self, domain: u16, device: usize, route: impl FnOnce(u8) -> Line) -> bool {
        let mut lines = LINES.lock();
        let is_free = |index: &usize| *index != usize::from(console::LINE) && lines[*index].is_none();
        let Some(index) = (0..MAX_LINES).find(is_free) else { return false };
        let gate = route(index as u8);
        lines[index] = Some(Assigned { gate, domain, device: device as u8, state: State::Closed });
        self.lines[device] = index as u8;
        true
    }

    /// Whether there is a device `number` with an interrupt.
    #[must_use]
    pub fn has_interrupt(&self, number: u64) -> bool {
        usize::try_from(number).is_ok_and(|number| self.line(number) != NO_LINE)
    }

    fn line(&self, device: usize) -> u8 {
        self.lines.get(device).copied().unwrap_or(NO_LINE)
    }

    /// Something happened to the interrupt of device `number`.
    pub fn note(&self, number: u32, change: Change) {
        let index = usize::from(self.line(number as usize));
        if let Some(Some(assigned)) = LINES.lock().get_mut(index) {
            assigned.note(change);
        }
    }
}

impl<G: Gate> Assigned<G> {
    #[inline(never)]
    fn note(&mut self, change: Change) {
        let is_level = self.gate.is_level();
        self.state = match (change, self.state) {
            (Change::Unbound, _) => {
                self.gate.mask();
                State::Closed
            }
            (Change::Bound, _) => {
                self.gate.unmask();
                State::Open
            }
            (Change::Ended, State::Held) if is_level => {
                self.gate.unmask();
                State::Open
            }
            (Change::Looked, State::Held) if !is_level => {
                self.gate.unmask();
                State::Open
            }
            (Change::Looked, State::Posted) => State::Open,
            (_, state) => state,
        };
    }

    /// It interrupted. False: nobody is to hear of it.
    fn interrupt(&mut self) -> bool {
        self.state = match self.state {
            // It was on its way when the line was masked.
            State::Closed | State::Held => return false,
            State::Open if !self.gate.is_level() => State::Posted,
            State::Open | State::Posted => {
                self.gate.mask();
                State::Held
            }
        };
        true
    }
}

/// Line `index` interrupted this CPU, which has not ended the interrupt at its local APIC yet.
pub fn interrupt(index: u8) {
    let mut lines = LINES.lock();
    let Some(Some(assigned)) = lines.get_mut(usize::from(index)) else { return };
    if assigned.interrupt() {
        let receiver = VcpuId { domain: assigned.domain, vcpu: 0 };
        registry::post(receiver, 1 << (MAIL_DEVICES_SHIFT + u32::from(assigned.device)));
    }
}

/// The domain looks at the interrupts of `devices`, a bit each: their ports become pending.
pub fn collect(domain: &Domain, devices: u64) {
    let mut left = devices;
    while left != 0 {
        let number = left.trailing_zeros();
        left &= left - 1;
        domain.devices.note(number, Change::Looked);
        events::raise_source(domain, PortKind::Device, number);
    }
}

/// Masks all lines of a domain that stops or starts anew, and forgets what was in service.
pub fn silence(domain: u16) {
    let mut lines = LINES.lock();
    let of_domain = lines.iter_mut().flatten().filter(|assigned| assigned.domain == domain);
    of_domain.for_each(|assigned| assigned.note(Change::Unbound));
}

#[cfg(test)]
mod tests;
