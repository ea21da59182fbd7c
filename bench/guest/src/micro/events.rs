//! An event that a CPU sends to itself: on the bare machine an interrupt by the local APIC.

use super::Mark;
use crate::entry;
use crate::measure::{timed, two_figures};
use crate::world;
use pvops_abi::call::Event;
use pvops_abi::layout::PortKind;
use pvops_abi::ops::irq;

/// Offset of the interrupt command's low half.
const COMMAND: u64 = 0x300;
/// A fixed interrupt to the sender itself, on a vector that nothing else has.
const TO_SELF: u64 = 1 << 18 | 1 << 14 | 0xf0;

pub(super) fn to_self() {
    let names = ["event_to_self.entry", "event_to_self.round_trip"];
    irq::enable();
    if world::start_info().is_some() {
        let port = super::call(Event::Bind.id(), &[PortKind::Ipi as u64, 0, 0]);
        super::call(Event::Unmask.id(), &[port]);
        let arguments = [0, 0, port, 0, 0, Event::Send.id().0, world::call_stub(), 0, 0];
        two_figures(names, Mark::EventToSelf as u16, |_| {
            // SAFETY: the event's entry changes no registers but those that `timed!` gives up.
            unsafe { timed!(Mark::EventToSelf, arguments, "mov eax, r14d", "mov rdi, r8", "call r15") }
        });
        super::call(Event::Unbind.id(), &[port]);
    } else {
        let arguments = [0, 0, entry::local_apic() + COMMAND, TO_SELF, 0, 0, 0, 0, 0];
        two_figures(names, Mark::EventToSelf as u16, |_| {
            // SAFETY: the interrupt's entry ends it, and changes no registers but those that `timed!` gives up.
            unsafe { timed!(Mark::EventToSelf, arguments, "mov dword ptr [r8], r9d") }
        });
    }
    irq::disable();
}
