//! Why an image is refused.

/// The first rule that the image breaks.
///
/// There is no `Display`: the hypervisor prints [`message`](ImageError::message) without formatting code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ImageError {
    /// Shorter than its header, or than the total size that the header states.
    Truncated,
    /// It does not begin with the magic number.
    BadMagic,
    /// A format version that this reader does not know.
    UnsupportedVersion,
    /// The checksum does not match.
    BadChecksum,
    /// Header or entry smaller than in format version 1, or larger than the image.
    BadHeaderSize,
    /// No domain, more than [`MAX_DOMAINS`](crate::layout::MAX_DOMAINS), or more than the file holds.
    BadDomainCount,
    /// A reserved field, an unknown flag or the padding after a name is not zero.
    ReservedNotZero,
    /// A name is empty, not UTF-8, or has control characters.
    BadName,
    /// Two domains have the same name.
    DuplicateName,
    /// A guest ELF is empty, misaligned, or reaches outside the image.
    BadImageRange,
    /// A command line is too long, not UTF-8, or reaches outside the image.
    BadCmdline,
    /// Two blobs overlap without being the same one.
    Overlap,
    /// A domain's memory is not a multiple of 2 MiB between 8 MiB and 64 GiB.
    BadMemory,
    /// A domain has no virtual CPU or more than [`MAX_VCPUS`](crate::layout::MAX_VCPUS).
    BadVcpuCount,
    /// A virtual CPU is placed on CPU 64 or above.
    BadCpu,
    /// A priority above 31.
    BadPriority,
    /// An unknown crash action, or restart limits that do not go with it.
    BadCrashPolicy,
    /// A domain has more than [`MAX_DEVICES`](crate::layout::MAX_DEVICES) devices.
    BadDeviceCount,
    /// A device without ports, MMIO and interrupt.
    EmptyDevice,
    /// No port, or ports beyond 0xffff.
    BadPorts,
    /// MMIO that is not made of whole pages, is empty, or ends beyond
    /// [`MAX_MMIO_END`](crate::layout::MAX_MMIO_END).
    BadMmio,
    /// MMIO where the domain has its memory.
    MmioInMemory,
    /// An interrupt of [`MAX_INTERRUPTS`](crate::layout::MAX_INTERRUPTS) or above.
    BadInterrupt,
    /// Ports of [`RESERVED_PORTS`](crate::RESERVED_PORTS), or those of the debug-exit device.
    ReservedPorts,
    /// Addresses of [`RESERVED_MMIO`](crate::RESERVED_MMIO).
    ReservedMmio,
    /// An interrupt of [`RESERVED_INTERRUPTS`](crate::RESERVED_INTERRUPTS).
    ReservedInterrupt,
    /// Two devices have a port in common.
    PortsOverlap,
    /// Two devices have an address in common.
    MmioOverlap,
    /// Two devices have the same interrupt.
    SharedInterrupt,
    /// A domain has more than [`MAX_CHANNELS`](crate::layout::MAX_CHANNELS) channels.
    BadChannelCount,
    /// A channel to a domain that does not exist.
    BadChannelPeer,
    /// A channel between a domain and itself.
    ChannelToItself,
    /// The other end of a channel does not exist or belongs to another channel.
    OneSidedChannel,
}

impl ImageError {
    /// One line for the console.
    pub fn message(self) -> &'static str {
        match self {
            Self::Truncated => boot_text!("truncated"),
            Self::BadMagic => boot_text!("not a system image (bad magic number)"),
            Self::UnsupportedVersion => boot_text!("unsupported format version"),
            Self::BadChecksum => boot_text!("checksum mismatch"),
            Self::BadHeaderSize => boot_text!("header or entry size out of range"),
            Self::BadDomainCount => boot_text!("number of domains out of range"),
            Self::ReservedNotZero => boot_text!("reserved field is not zero"),
            Self::BadName => boot_text!("name is empty or not printable UTF-8"),
            Self::DuplicateName => boot_text!("two domains have the same name"),
            Self::BadImageRange => boot_text!("guest image outside the system image or misaligned"),
            Self::BadCmdline => boot_text!("command line too long, not UTF-8 or outside the system image"),
            Self::Overlap => boot_text!("guest images or command lines overlap"),
            Self::BadMemory => boot_text!("memory is not a multiple of 2 MiB between 8 MiB and 64 GiB"),
            Self::BadVcpuCount => boot_text!("number of virtual CPUs out of range"),
            Self::BadCpu => boot_text!("virtual CPU placed on a CPU number out of range"),
            Self::BadPriority => boot_text!("priority out of range"),
            Self::BadCrashPolicy => boot_text!("crash policy unknown or out of range"),
            Self::BadDeviceCount => boot_text!("number of devices out of range"),
            Self::EmptyDevice => boot_text!("device without ports, MMIO and interrupt"),
            Self::BadPorts => boot_text!("device's ports out of range"),
            Self::BadMmio => boot_text!("device's MMIO out of range or not in whole pages"),
            Self::MmioInMemory => boot_text!("device's MMIO lies in its domain's memory"),
            Self::BadInterrupt => boot_text!("device's interrupt out of range"),
            Self::ReservedPorts => boot_text!("device's ports are not assignable"),
            Self::ReservedMmio => boot_text!("device's MMIO is not assignable"),
            Self::ReservedInterrupt => boot_text!("device's interrupt is not assignable"),
            Self::PortsOverlap => boot_text!("two devices have ports in common"),
            Self::MmioOverlap => boot_text!("two devices have MMIO in common"),
            Self::SharedInterrupt => boot_text!("two devices have the same interrupt"),
            Self::BadChannelCount => boot_text!("number of channels out of range"),
            Self::BadChannelPeer => boot_text!("channel to a domain that does not exist"),
            Self::ChannelToItself => boot_text!("channel between a domain and itself"),
            Self::OneSidedChannel => boot_text!("the two ends of a channel do not match"),
        }
    }
}
