//! The devices that a domain drives itself.

use system_image::layout::MAX_DEVICES;
use system_image::{Device, PortRange};

/// What the hypervisor keeps of a domain's devices; they are numbered as in the system image. Their registers in
/// memory are [`GuestMemory`](crate::arch::x86_64::guest::GuestMemory)'s.
#[derive(Clone, Copy, Debug)]
pub struct Devices {
    /// Whether any of them has I/O ports.
    pub has_ports: bool,
    /// I/O ports.
    pub ports: [Option<PortRange>; MAX_DEVICES],
}

impl Devices {
    /// As the image describes them, at most [`MAX_DEVICES`]. Boot only.
    #[must_use]
    pub fn new(devices: &[Device]) -> Self {
        let ports = core::array::from_fn(|number| devices.get(number)?.ports);
        Self { has_ports: ports.iter().any(Option::is_some), ports }
    }
}
