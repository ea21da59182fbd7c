//! Event ports: the two-level bitmap that a domain shares with the hypervisor.
//!
//! A sender sets the port's pending bit, then the word's bit in the receiving vCPU's
//! [`selector`](super::VcpuArea::selector), then exchanges
//! [`events_pending`](super::VcpuArea::events_pending); only who found it clear wakes the vCPU. A masked port
//! keeps its pending bit; EVT.unmask looks at it. So no event is ever lost.

use super::assert_layout;
use core::sync::atomic::AtomicU64;

/// Ports per domain. Port 0 is never bound.
pub const MAX_PORTS: usize = 4096;
const WORDS: usize = MAX_PORTS / 64;

/// Version of [`EventPage`] described here.
pub const EVENT_PAGE_VERSION: u16 = 1;

/// The domain's ports, in a page of guest memory registered by EVT.register_page.
#[derive(Debug)]
#[repr(C, align(4096))]
pub struct EventPage {
    /// Bytes of this structure; set by the guest.
    pub size: u32,
    /// [`EVENT_PAGE_VERSION`]; set by the guest.
    pub version: u16,
    /// Zero.
    pub reserved: [u16; 29],
    /// Set by the hypervisor, cleared by the guest when it handles the port.
    pub pending: [AtomicU64; WORDS],
    /// Set and cleared by the guest (clearing: by EVT.unmask, or atomically with a look at `pending` after it).
    pub mask: [AtomicU64; WORDS],
    /// Zero.
    pub reserved_tail: [u64; 376],
}
assert_layout!(EventPage, 4096, { size: 0, version: 4, reserved: 6, pending: 64, mask: 576, reserved_tail: 1088 });

impl EventPage {
    /// A page with no event pending and every port masked.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            size: size_of::<Self>() as u32,
            version: EVENT_PAGE_VERSION,
            reserved: [0; 29],
            pending: [const { AtomicU64::new(0) }; WORDS],
            mask: [const { AtomicU64::new(u64::MAX) }; WORDS],
            reserved_tail: [0; 376],
        }
    }
}

impl Default for EventPage {
    fn default() -> Self {
        Self::new()
    }
}

/// What a port is bound to (EVT.bind).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u64)]
pub enum PortKind {
    /// The receiving vCPU's deadline. Argument: zero.
    Timer = 0,
    /// Console input is there. Argument: zero.
    Console = 1,
    /// Sent by EVT.send from a vCPU of the same domain. Argument: zero.
    Ipi = 2,
    /// An assigned device's interrupt. Argument: its number in the system image.
    Device = 3,
    /// A channel from another domain. Argument: its number in the system image.
    Doorbell = 4,
}

impl TryFrom<u64> for PortKind {
    type Error = crate::error::Error;
    fn try_from(value: u64) -> Result<Self, crate::error::Error> {
        Ok(match value {
            0 => Self::Timer,
            1 => Self::Console,
            2 => Self::Ipi,
            3 => Self::Device,
            4 => Self::Doorbell,
            _ => return Err(crate::error::Error::InvalidArgument),
        })
    }
}
