//! Event ports: the bitmaps are scanned here, in the guest; calls are needed only to bind, send and wake.

use super::cpu::block;
use super::hypercall::{call, call2};
use super::physical;
use crate::addr::VirtAddr;
use crate::call::Event as Call;
use crate::error::Error;
use crate::layout::{EventPage, MAX_PORTS, PortKind};
use crate::ops::event::{BindError, EventOps, EventSource, Port};
use core::ptr::from_ref;
use core::sync::atomic::Ordering;

static PAGE: EventPage = EventPage::new();

pub(super) struct Events;

/// Tells the hypervisor where the page is.
pub(super) fn register_page() -> Result<u64, Error> {
    let page = physical(VirtAddr(from_ref(&PAGE) as u64)).ok_or(Error::BadAddress)?;
    call2(Call::RegisterPage.id(), page.0, 0).result()
}

/// Word and bit of a port.
fn position(port: Port) -> (usize, u64) {
    let number = port.0 as usize % MAX_PORTS;
    (number / 64, 1 << (number % 64))
}

impl EventOps for Events {
    fn bind(&self, source: EventSource) -> Result<Port, BindError> {
        let (kind, argument, vcpu) = match source {
            EventSource::Timer { cpu } => (PortKind::Timer, 0, cpu),
            EventSource::Console => (PortKind::Console, 0, 0),
            EventSource::Ipi { cpu } => (PortKind::Ipi, 0, cpu),
            EventSource::Device { line } => (PortKind::Device, line, 0),
            EventSource::Doorbell { channel } => (PortKind::Doorbell, channel, 0),
        };
        let arguments = [kind as u64, argument.into(), vcpu as u64, 0, 0, 0];
        let number = call(Call::Bind.id(), arguments).result().map_err(|error| match error {
            Error::NoResources => BindError::NoPorts,
            Error::WrongState => BindError::Busy,
            _ => BindError::NoSuchSource,
        })?;
        let port = Port(number as u32);
        let (word, bit) = position(port);
        // One vCPU: the binder receives. With more, the receiver's block is named by `vcpu`.
        block().owned_ports[word].fetch_or(bit, Ordering::Relaxed);
        Ok(port)
    }

    fn unbind(&self, port: Port) {
        let (word, bit) = position(port);
        block().owned_ports[word].fetch_and(!bit, Ordering::Relaxed);
        call2(Call::Unbind.id(), port.0.into(), 0);
    }

    fn mask(&self, port: Port) {
        let (word, bit) = position(port);
        PAGE.mask[word].fetch_or(bit, Ordering::SeqCst);
    }

    fn unmask(&self, port: Port) {
        let (word, bit) = position(port);
        PAGE.mask[word].fetch_and(!bit, Ordering::SeqCst);
        // Whoever made the port pending before saw it masked and left it to us (EVT-006).
        if PAGE.pending[word].load(Ordering::SeqCst) & bit != 0 {
            call2(Call::Unmask.id(), port.0.into(), 0);
        }
    }

    fn send(&self, port: Port) {
        call2(Call::Send.id(), port.0.into(), 0);
    }

    fn next_pending(&self) -> Option<Port> {
        let block = block();
        // Cleared before we look: what becomes pending later sets it again and wakes us (EVT-003).
        block.area.events_pending.store(0, Ordering::SeqCst);
        loop {
            let selector = block.area.selector.load(Ordering::SeqCst);
            if selector == 0 {
                return None;
            }
            let word = selector.trailing_zeros() as usize;
            let ready = || {
                let owned = block.owned_ports[word].load(Ordering::Relaxed);
                PAGE.pending[word].load(Ordering::SeqCst) & !PAGE.mask[word].load(Ordering::SeqCst) & owned
            };
            let bits = ready();
            if bits != 0 {
                let bit = bits & bits.wrapping_neg();
                PAGE.pending[word].fetch_and(!bit, Ordering::SeqCst);
                return Some(Port(word as u32 * 64 + bit.trailing_zeros()));
            }
            block.area.selector.fetch_and(!(1 << word), Ordering::SeqCst);
            if ready() != 0 {
                block.area.selector.fetch_or(1 << word, Ordering::SeqCst);
            }
        }
    }

    fn end_of_interrupt(&self, port: Port) {
        call2(Call::Eoi.id(), port.0.into(), 0);
    }
}
