//! Event ports: timer, console, inter-processor and device interrupts, the same in every world.

/// A bound port.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Port(pub u32);

/// What a port stands for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum EventSource {
    /// The deadline of CPU `cpu`.
    Timer {
        /// Whose deadline.
        cpu: usize,
    },
    /// Console input is there.
    Console,
    /// Sent by [`EventOps::send`], received by `cpu`. A kernel that needs several kinds shares one port among
    /// them: a backend may refuse a second for the same CPU.
    Ipi {
        /// Who receives.
        cpu: usize,
    },
    /// A device interrupt: on the metal a global system interrupt number, in a guest the device's number.
    Device {
        /// The number.
        line: u32,
    },
    /// A channel from another domain.
    Doorbell {
        /// The channel's number.
        channel: u32,
    },
}

/// Why binding failed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BindError {
    /// There is no such source here.
    NoSuchSource,
    /// The source is bound already.
    Busy,
    /// No port is free.
    NoPorts,
}

/// Operations on ports. A port is made pending by its source and is delivered to one CPU; while pending, a
/// further occurrence is merged into it. No occurrence is lost while a port is masked.
pub trait EventOps: Sync {
    /// Binds a source to a new port, masked, nothing pending.
    ///
    /// # Errors
    /// [`BindError`].
    fn bind(&self, source: EventSource) -> Result<Port, BindError>;
    /// Unbinds a port; its number may be reused. The source is silenced.
    fn unbind(&self, port: Port);
    /// No delivery of `port` starts after this returns.
    fn mask(&self, port: Port);
    /// Allows delivery; what occurred meanwhile is delivered.
    fn unmask(&self, port: Port);
    /// Sends an IPI or rings a doorbell.
    fn send(&self, port: Port);
    /// Takes the next pending, unmasked port of the calling CPU and clears its pending state. Interrupts masked.
    fn next_pending(&self) -> Option<Port>;
    /// Tells a level-triggered source that its cause was handled; until then it is not delivered again.
    /// Harmless for other ports.
    fn end_of_interrupt(&self, port: Port);
}

use super::ops;

/// See [`EventOps::bind`].
///
/// # Errors
/// [`BindError`].
pub fn bind(source: EventSource) -> Result<Port, BindError> {
    ops().event.bind(source)
}
/// See [`EventOps::unbind`].
pub fn unbind(port: Port) {
    ops().event.unbind(port);
}
/// See [`EventOps::mask`].
pub fn mask(port: Port) {
    ops().event.mask(port);
}
/// See [`EventOps::unmask`].
pub fn unmask(port: Port) {
    ops().event.unmask(port);
}
/// See [`EventOps::send`].
pub fn send(port: Port) {
    ops().event.send(port);
}
/// See [`EventOps::next_pending`].
#[must_use]
pub fn next_pending() -> Option<Port> {
    ops().event.next_pending()
}
/// See [`EventOps::end_of_interrupt`].
pub fn end_of_interrupt(port: Port) {
    ops().event.end_of_interrupt(port);
}
