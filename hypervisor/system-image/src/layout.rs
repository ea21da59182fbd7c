//! What lies where in a system image, format version 1, and the limits it keeps.
//!
//! ```text
//! header            HEADER_SIZE bytes, or more in a later revision
//! domain entries    `domain count` times `domain entry size` bytes
//! blobs             guest ELFs (page-aligned, so that a ROM may hold them) and command lines
//! ```
//!
//! Integers are little-endian, offsets count from the start of the file. Header and entry carry their sizes:
//! a later revision appends fields, and a reader that does not know them accepts the file only if they are
//! zero. A change that old readers must not survive gets a new [`FORMAT_VERSION`].

/// The first eight bytes of the file.
pub const MAGIC: [u8; 8] = *b"PVOPSIMG";
/// The version of the format described here.
pub const FORMAT_VERSION: u32 = 1;

/// Most domains in one image.
pub const MAX_DOMAINS: usize = 32;
/// Most virtual CPUs of one domain.
pub const MAX_VCPUS: usize = 8;
/// Physical CPU numbers are below this.
pub const MAX_CPUS: u32 = 64;
/// Highest scheduling priority (0 is the lowest).
pub const MAX_PRIORITY: u8 = 31;
/// Longest name of a system or domain, in bytes.
pub const NAME_SIZE: usize = 32;
/// Longest command line, in bytes.
pub const MAX_CMDLINE_SIZE: u64 = 4096;
/// A domain's memory is a multiple of this: shadow tables map it by large pages.
pub const MEMORY_UNIT: u64 = 2 << 20;
/// The least memory of a domain.
pub const MIN_MEMORY: u64 = 8 << 20;
/// The most memory of a domain.
pub const MAX_MEMORY: u64 = 64 << 30;
/// Most devices of one domain.
pub const MAX_DEVICES: usize = 8;
/// Most channels of one domain.
pub const MAX_CHANNELS: usize = 16;
/// Most restarts that a crash policy allows: as many crashes are remembered.
pub const MAX_RESTARTS: u32 = 16;
/// A device's MMIO is a multiple of this, in size and place: what page tables can map.
pub const MMIO_UNIT: u64 = 4096;
/// A device's MMIO ends here at the latest: the most physical address bits that x86_64 machines commonly have.
pub const MAX_MMIO_END: u64 = 1 << 46;
/// Numbers of interrupts are below this: what ten IOAPICs of 24 inputs have, more than there are vectors for.
pub const MAX_INTERRUPTS: u32 = 240;
/// Guest ELFs begin at a multiple of this.
pub const IMAGE_ALIGN: u64 = 4096;

/// Where QEMU users put the debug-exit device; part of the FPU's legacy range, unused on real machines.
pub const CUSTOMARY_DEBUG_EXIT_PORT: u16 = 0xf4;
/// Ports of a debug-exit device.
pub const DEBUG_EXIT_PORTS: u16 = 4;

/// Offsets in the header.
pub mod header {
    /// [`MAGIC`](super::MAGIC).
    pub const MAGIC: usize = 0;
    /// `u32`: the format version.
    pub const VERSION: usize = 8;
    /// `u32`: CRC-32 (IEEE) of everything from [`TOTAL_SIZE`] to the end of the image.
    pub const CHECKSUM: usize = 12;
    /// `u64`: size of the image in bytes; a ramdisk may be padded beyond it.
    pub const TOTAL_SIZE: usize = 16;
    /// `u32`: size of the header in bytes.
    pub const HEADER_SIZE: usize = 24;
    /// `u32`: size of one domain entry in bytes.
    pub const ENTRY_SIZE: usize = 28;
    /// `u32`: number of domain entries.
    pub const DOMAIN_COUNT: usize = 32;
    /// `u32`: no flag is defined yet.
    pub const FLAGS: usize = 36;
    /// `u16`: I/O port of a debug-exit device that takes the exit status, 0 if there is none.
    pub const DEBUG_EXIT_PORT: usize = 40;
    /// Zeroes up to [`NAME`].
    pub const RESERVED: usize = 42;
    /// The system's name, UTF-8, padded with zeroes.
    pub const NAME: usize = 48;
    /// Zeroes up to [`SIZE`].
    pub const RESERVED_TAIL: usize = 80;
    /// Size of the header in this revision.
    pub const SIZE: usize = 96;
}

/// Offsets in a domain entry.
pub mod entry {
    /// The domain's name, UTF-8, padded with zeroes.
    pub const NAME: usize = 0;
    /// `u64`: where the guest ELF begins.
    pub const IMAGE_OFFSET: usize = 32;
    /// `u64`: size of the guest ELF in bytes.
    pub const IMAGE_SIZE: usize = 40;
    /// `u64`: where the command line begins; 0 if it is empty.
    pub const CMDLINE_OFFSET: usize = 48;
    /// `u64`: size of the command line in bytes.
    pub const CMDLINE_SIZE: usize = 56;
    /// `u64`: memory in bytes.
    pub const MEMORY: usize = 64;
    /// `u32`: number of virtual CPUs.
    pub const VCPU_COUNT: usize = 72;
    /// `u32`: see the `FLAG_` constants.
    pub const FLAGS: usize = 76;
    /// `u32`: one of the `CRASH_` constants.
    pub const CRASH_ACTION: usize = 80;
    /// `u32`: restarts allowed, with [`CRASH_RESTART`] only.
    pub const RESTART_TIMES: usize = 84;
    /// `u32`: the seconds in which they are counted, with [`CRASH_RESTART`] only.
    pub const RESTART_WITHIN_SECONDS: usize = 88;
    /// Zeroes up to [`VCPUS`].
    pub const RESERVED: usize = 92;
    /// [`MAX_VCPUS`](super::MAX_VCPUS) records of [`VCPU_SIZE`] bytes, unused ones zero.
    pub const VCPUS: usize = 96;
    /// `u32`: number of devices.
    pub const DEVICE_COUNT: usize = VCPUS + super::MAX_VCPUS * VCPU_SIZE;
    /// `u32`: number of channels.
    pub const CHANNEL_COUNT: usize = DEVICE_COUNT + 4;
    /// [`MAX_DEVICES`](super::MAX_DEVICES) records of [`DEVICE_SIZE`] bytes, unused ones zero.
    pub const DEVICES: usize = CHANNEL_COUNT + 4;
    /// [`MAX_CHANNELS`](super::MAX_CHANNELS) records of [`CHANNEL_SIZE`] bytes, unused ones zero.
    pub const CHANNELS: usize = DEVICES + super::MAX_DEVICES * DEVICE_SIZE;
    /// Zeroes up to [`SIZE`].
    pub const RESERVED_TAIL: usize = CHANNELS + super::MAX_CHANNELS * CHANNEL_SIZE;
    /// Size of the entry in this revision.
    pub const SIZE: usize = 512;

    /// Size of one virtual CPU's record.
    pub const VCPU_SIZE: usize = 8;
    /// `u32` in a record: the physical CPU.
    pub const VCPU_CPU: usize = 0;
    /// `u8` in a record: the priority.
    pub const VCPU_PRIORITY: usize = 4;
    /// Zeroes up to the end of the record.
    pub const VCPU_RESERVED: usize = 5;

    /// Size of one device's record.
    pub const DEVICE_SIZE: usize = 32;
    /// `u32` in a record: which of the three parts the device has, see the `PART_` constants. Fields of the others
    /// are zero.
    pub const DEVICE_PARTS: usize = 0;
    /// `u32` in a record: the global system interrupt.
    pub const DEVICE_INTERRUPT: usize = 4;
    /// `u16` in a record: the first I/O port.
    pub const DEVICE_PORT_FIRST: usize = 8;
    /// `u16` in a record: the number of I/O ports.
    pub const DEVICE_PORT_COUNT: usize = 10;
    /// Zeroes up to [`DEVICE_MMIO_BASE`].
    pub const DEVICE_RESERVED: usize = 12;
    /// `u64` in a record: the first physical address.
    pub const DEVICE_MMIO_BASE: usize = 16;
    /// `u64` in a record: the number of bytes.
    pub const DEVICE_MMIO_BYTES: usize = 24;

    /// The device has I/O ports.
    pub const PART_PORTS: u32 = 1;
    /// The device has MMIO.
    pub const PART_MMIO: u32 = 2;
    /// The device has an interrupt.
    pub const PART_INTERRUPT: u32 = 4;

    /// Size of one channel's record.
    pub const CHANNEL_SIZE: usize = 4;
    /// `u16` in a record: the other domain, by its place in the image.
    pub const CHANNEL_PEER: usize = 0;
    /// `u16` in a record: the place of this channel's other end among that domain's channels.
    pub const CHANNEL_PEER_CHANNEL: usize = 2;

    /// Flag: the domain has the machine's console.
    pub const FLAG_CONSOLE: u32 = 1;

    /// A domain that crashed stays stopped.
    pub const CRASH_STOP: u32 = 0;
    /// A domain that crashed is started anew, within limits.
    pub const CRASH_RESTART: u32 = 1;
    /// A crash of the domain ends the whole system.
    pub const CRASH_HALT_SYSTEM: u32 = 2;
}
