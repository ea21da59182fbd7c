//! Ports: bound through here so that the harness can unbind what a test leaves, counted when delivered.

use super::world;
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use pvops_abi::layout::{MAX_PORTS, TrapFrame};
use pvops_abi::ops::event::{self, BindError, EventSource, Port};
use pvops_abi::ops::{self, time};

/// How often each port was delivered.
static DELIVERIES: [AtomicU32; MAX_PORTS] = [const { AtomicU32::new(0) }; MAX_PORTS];
/// Ports that are bound.
static BOUND: [AtomicBool; MAX_PORTS] = [const { AtomicBool::new(false) }; MAX_PORTS];
/// Clock at the last delivery.
static DELIVERED_NS: AtomicU64 = AtomicU64::new(0);
/// Whether every handler ran masked, having interrupted code that was not.
static FLAGS_WERE_RIGHT: AtomicBool = AtomicBool::new(true);

/// Stored by tests before they send, and what the last handler saw of it.
pub(crate) static STORED: AtomicU64 = AtomicU64::new(0);
static SEEN: AtomicU64 = AtomicU64::new(0);

/// Longest time that a test waits for an event that must come.
pub(crate) const PATIENCE_NS: u64 = 2_000_000_000;
/// How long a test waits for an event that must not come.
pub(crate) const SILENCE_NS: u64 = 3_000_000;

/// The event entry.
pub(crate) fn on_event(frame: &mut TrapFrame) {
    DELIVERED_NS.store(time::now_ns(), Ordering::Relaxed);
    SEEN.store(STORED.load(Ordering::Relaxed), Ordering::Relaxed);
    if ops::irq::are_enabled() || !frame.interrupts_enabled() {
        FLAGS_WERE_RIGHT.store(false, Ordering::Relaxed);
    }
    while let Some(port) = event::next_pending() {
        DELIVERIES[port.0 as usize % MAX_PORTS].fetch_add(1, Ordering::Relaxed);
        event::end_of_interrupt(port);
    }
}

/// Binds a source; its port is masked and has no deliveries.
pub(crate) fn bind(source: EventSource) -> Result<Port, BindError> {
    let port = event::bind(source)?;
    note(port);
    Ok(port)
}

/// Has the harness unbind a port that a test bound by a raw call.
pub(crate) fn note(port: Port) {
    let index = port.0 as usize % MAX_PORTS;
    DELIVERIES[index].store(0, Ordering::Relaxed);
    BOUND[index].store(true, Ordering::Relaxed);
}

/// Unbinds a port.
pub(crate) fn unbind(port: Port) {
    BOUND[port.0 as usize % MAX_PORTS].store(false, Ordering::Relaxed);
    event::unbind(port);
}

/// Unbinds every port.
pub(crate) fn unbind_all() {
    for (number, bound) in BOUND.iter().enumerate() {
        if bound.load(Ordering::Relaxed) {
            unbind(Port(number as u32));
        }
    }
}

/// A port of this CPU's own, for events that it sends to itself.
pub(crate) fn bind_own() -> Result<Port, BindError> {
    bind(EventSource::Ipi { cpu: ops::cpu::current() })
}

/// A port for this CPU's deadline, unmasked.
pub(crate) fn bind_timer() -> Result<Port, BindError> {
    let port = bind(EventSource::Timer { cpu: ops::cpu::current() })?;
    event::unmask(port);
    Ok(port)
}

/// How often `port` was delivered since it was bound.
pub(crate) fn deliveries(port: Port) -> u32 {
    DELIVERIES[port.0 as usize % MAX_PORTS].load(Ordering::Relaxed)
}

/// Clock at the last delivery of any port.
pub(crate) fn delivered_ns() -> u64 {
    DELIVERED_NS.load(Ordering::Relaxed)
}

/// [`STORED`] as the last handler saw it.
pub(crate) fn seen() -> u64 {
    SEEN.load(Ordering::Relaxed)
}

/// Whether all handlers so far found the interrupt flags as promised.
pub(crate) fn flags_were_right() -> bool {
    FLAGS_WERE_RIGHT.load(Ordering::Relaxed)
}

/// Waits, interrupts as they are, until `port` was delivered `count` times. False: it was not.
pub(crate) fn await_deliveries(port: Port, count: u32) -> bool {
    let end = time::now_ns() + PATIENCE_NS;
    while deliveries(port) < count {
        if time::now_ns() > end {
            return false;
        }
        core::hint::spin_loop();
    }
    true
}

/// Waits long enough for an event that must not come.
pub(crate) fn stay_silent() {
    let end = time::now_ns() + SILENCE_NS;
    while time::now_ns() < end {
        core::hint::spin_loop();
    }
}

/// Whether the vCPU area says that an event is pending.
pub(crate) fn area_is_pending() -> bool {
    world::BLOCK.area.events_pending.load(Ordering::SeqCst) != 0
}
