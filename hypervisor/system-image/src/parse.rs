//! The reader: untrusted bytes in, a checked [`SystemImage`] out.
//!
//! Parsing runs the same decoder for every entry that [`SystemImage::domains`] runs later; nothing is
//! allocated, nothing is cached, and no input makes it panic (see `tests.rs`: every byte altered, every
//! length cut).

mod channel;
mod device;
mod domain;
mod fields;
mod reserved;

use crate::checksum::crc32;
use crate::error::ImageError;
use crate::layout::{self, entry, header};
pub use channel::ChannelEnd;
pub use device::{Device, MmioRange, PortRange};
pub use domain::{CrashPolicy, Domain, VcpuPlacement};
use fields::{Fields, printable, to_usize};
pub use reserved::{
    RESERVED_INTERRUPTS, RESERVED_MMIO, RESERVED_PORTS, Reserved, reserved_interrupt, reserved_mmio,
    reserved_ports,
};

/// A checked image.
#[derive(Clone, Copy, Debug)]
pub struct SystemImage<'a> {
    /// Exactly `total size` bytes.
    bytes: &'a [u8],
    name: &'a str,
    header_size: usize,
    entry_size: usize,
    domain_count: usize,
    debug_exit_port: u16,
}

impl<'a> SystemImage<'a> {
    /// Checks everything that can be checked without knowing the machine or the ELF format.
    ///
    /// `bytes` may be longer than the image: boot loaders pad ramdisks.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, ImageError> {
        let image = Self::parse_header(bytes)?;
        for index in 0..image.domain_count {
            image.check_domain(index)?;
        }
        for index in 0..image.domain_count {
            image.check_ends(index)?;
        }
        image.check_overlaps()?;
        Ok(image)
    }

    /// The system's name.
    pub fn name(&self) -> &'a str {
        self.name
    }

    /// The port of the debug-exit device, if the machine has one.
    pub fn debug_exit_port(&self) -> Option<u16> {
        (self.debug_exit_port != 0).then_some(self.debug_exit_port)
    }

    /// The domains, in the order of the manifest; there is at least one.
    pub fn domains(&self) -> Domains<'a> {
        Domains { image: *self, next: 0 }
    }

    /// A domain by itself, and apart from those before it.
    fn check_domain(&self, index: usize) -> Result<(), ImageError> {
        let domain = self.domain(index)?;
        let devices = domain.devices();
        for (number, device) in devices.iter().enumerate() {
            devices.iter().take(number).try_for_each(|other| device.check_apart(other))?;
        }
        for earlier in 0..index {
            let earlier = self.domain(earlier)?;
            if earlier.name == domain.name {
                return Err(ImageError::DuplicateName);
            }
            for device in devices {
                earlier.devices().iter().try_for_each(|other| device.check_apart(other))?;
            }
        }
        Ok(())
    }

    fn parse_header(bytes: &'a [u8]) -> Result<Self, ImageError> {
        let magic = bytes.get(..layout::MAGIC.len()).ok_or(ImageError::Truncated)?;
        if magic != layout::MAGIC {
            return Err(ImageError::BadMagic);
        }
        let whole = Fields(bytes);
        if whole.u32(header::VERSION)? != layout::FORMAT_VERSION {
            return Err(ImageError::UnsupportedVersion);
        }
        let total_size = to_usize(whole.u64(header::TOTAL_SIZE)?);
        let bytes = bytes.get(..total_size).ok_or(ImageError::Truncated)?;
        let checked = bytes.get(header::TOTAL_SIZE..).ok_or(ImageError::Truncated)?;
        if whole.u32(header::CHECKSUM)? != crc32(checked) {
            return Err(ImageError::BadChecksum);
        }

        let fields = Fields(bytes);
        let header_size = to_usize(fields.u32(header::HEADER_SIZE)?.into());
        let entry_size = to_usize(fields.u32(header::ENTRY_SIZE)?.into());
        let domain_count = to_usize(fields.u32(header::DOMAIN_COUNT)?.into());
        if header_size < header::SIZE || header_size > total_size || entry_size < entry::SIZE {
            return Err(ImageError::BadHeaderSize);
        }
        if domain_count == 0 || domain_count > layout::MAX_DOMAINS {
            return Err(ImageError::BadDomainCount);
        }
        if fields.u32(header::FLAGS)? != 0 {
            return Err(ImageError::ReservedNotZero);
        }
        fields.expect_zero(header::RESERVED, header::NAME)?;
        fields.expect_zero(header::RESERVED_TAIL, header_size)?;
        let image = Self {
            bytes,
            name: fields.name(header::NAME)?,
            header_size,
            entry_size,
            domain_count,
            debug_exit_port: fields.u16(header::DEBUG_EXIT_PORT)?,
        };
        match image.blobs_start() {
            Some(start) if start <= total_size => Ok(image),
            _ => Err(ImageError::BadDomainCount),
        }
    }

    /// The first byte after the entries, `None` on overflow.
    fn blobs_start(&self) -> Option<usize> {
        self.entry_size.checked_mul(self.domain_count)?.checked_add(self.header_size)
    }

    fn entry(&self, index: usize) -> Result<Fields<'a>, ImageError> {
        let bytes = self
            .entry_size
            .checked_mul(index)
            .and_then(|offset| offset.checked_add(self.header_size))
            .and_then(|start| self.bytes.get(start..start.checked_add(self.entry_size)?))
            .ok_or(ImageError::BadDomainCount)?;
        Ok(Fields(bytes))
    }

    fn domain(&self, index: usize) -> Result<Domain<'a>, ImageError> {
        let fields = self.entry(index)?;
        fields.expect_zero(entry::RESERVED, entry::VCPUS)?;
        fields.expect_zero(entry::RESERVED_TAIL, self.entry_size)?;
        let flags = fields.u32(entry::FLAGS)?;
        if flags & !entry::FLAG_CONSOLE != 0 {
            return Err(ImageError::ReservedNotZero);
        }
        let memory_bytes = fields.u64(entry::MEMORY)?;
        if !(layout::MIN_MEMORY..=layout::MAX_MEMORY).contains(&memory_bytes)
            || !memory_bytes.is_multiple_of(layout::MEMORY_UNIT)
        {
            return Err(ImageError::BadMemory);
        }
        let (devices, channels) = (fields.devices()?, fields.channels()?);
        self.check_devices(devices.as_slice(), memory_bytes)?;
        self.check_peers(index, channels.as_slice())?;
        Ok(Domain {
            name: fields.name(entry::NAME)?,
            image: self.guest_image(&fields)?,
            cmdline: self.cmdline(&fields)?,
            memory_bytes,
            crash_policy: fields.crash_policy()?,
            has_console: flags & entry::FLAG_CONSOLE != 0,
            vcpus: fields.vcpus()?,
            devices,
            channels,
        })
    }

    fn check_devices(&self, devices: &[Device], memory_bytes: u64) -> Result<(), ImageError> {
        let debug_exit = PortRange { first: self.debug_exit_port, count: layout::DEBUG_EXIT_PORTS };
        for device in devices {
            device.check(memory_bytes)?;
            let takes_exit = device.ports.is_some_and(|ports| ports.overlaps(debug_exit));
            if self.debug_exit_port != 0 && takes_exit {
                return Err(ImageError::ReservedPorts);
            }
        }
        Ok(())
    }

    fn guest_image(&self, fields: &Fields<'a>) -> Result<&'a [u8], ImageError> {
        let range = Range::read(fields, entry::IMAGE_OFFSET, entry::IMAGE_SIZE)?;
        if range.size == 0 || !range.offset.is_multiple_of(layout::IMAGE_ALIGN) {
            return Err(ImageError::BadImageRange);
        }
        self.blob(range).ok_or(ImageError::BadImageRange)
    }

    fn cmdline(&self, fields: &Fields<'a>) -> Result<&'a str, ImageError> {
        let range = Range::read(fields, entry::CMDLINE_OFFSET, entry::CMDLINE_SIZE)?;
        match range {
            Range { offset: 0, size: 0 } => return Ok(""),
            Range { size: 0, .. } => return Err(ImageError::BadCmdline),
            _ if range.size > layout::MAX_CMDLINE_SIZE => return Err(ImageError::BadCmdline),
            _ => {}
        }
        let bytes = self.blob(range).ok_or(ImageError::BadCmdline)?;
        printable(bytes).ok_or(ImageError::BadCmdline)
    }

    /// The bytes of a range that lies wholly behind the entries.
    fn blob(&self, range: Range) -> Option<&'a [u8]> {
        let start = usize::try_from(range.offset).ok()?;
        let end = usize::try_from(range.offset.checked_add(range.size)?).ok()?;
        if start < self.blobs_start()? {
            return None;
        }
        self.bytes.get(start..end)
    }

    /// Any two blobs are disjoint or the same one (two domains may run the same ELF).
    fn check_overlaps(&self) -> Result<(), ImageError> {
        for one in 0..2 * self.domain_count {
            for other in 0..one {
                let (one, other) = (self.blob_range(one)?, self.blob_range(other)?);
                if one != other && one.overlaps(other) {
                    return Err(ImageError::Overlap);
                }
            }
        }
        Ok(())
    }

    /// Blobs counted through: each domain's ELF, then its command line.
    fn blob_range(&self, index: usize) -> Result<Range, ImageError> {
        let fields = self.entry(index / 2)?;
        if index.is_multiple_of(2) {
            Range::read(&fields, entry::IMAGE_OFFSET, entry::IMAGE_SIZE)
        } else {
            Range::read(&fields, entry::CMDLINE_OFFSET, entry::CMDLINE_SIZE)
        }
    }
}

/// The debug-exit port that a refused image names, if it is the customary one.
///
/// Refusing an image is worth a status too, but its fields are not to be trusted: only [`CUSTOMARY_DEBUG_EXIT_PORT`]
/// is accepted, where a real machine has nothing, so that altered bytes never make anyone write elsewhere.
///
/// [`CUSTOMARY_DEBUG_EXIT_PORT`]: layout::CUSTOMARY_DEBUG_EXIT_PORT
pub fn debug_exit_port_of_refused(bytes: &[u8]) -> Option<u16> {
    let port = Fields(bytes).u16(header::DEBUG_EXIT_PORT).ok()?;
    (port == layout::CUSTOMARY_DEBUG_EXIT_PORT).then_some(port)
}

/// Iterator over the domains of a checked image.
#[derive(Clone, Debug)]
pub struct Domains<'a> {
    image: SystemImage<'a>,
    next: usize,
}

impl<'a> Iterator for Domains<'a> {
    type Item = Domain<'a>;

    fn next(&mut self) -> Option<Domain<'a>> {
        if self.next >= self.image.domain_count {
            return None;
        }
        // Cannot fail: `parse` decoded the same bytes.
        let domain = self.image.domain(self.next).ok()?;
        self.next += 1;
        Some(domain)
    }
}

/// A claimed range of the file.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Range {
    offset: u64,
    size: u64,
}

impl Range {
    fn read(fields: &Fields<'_>, offset: usize, size: usize) -> Result<Self, ImageError> {
        Ok(Self { offset: fields.u64(offset)?, size: fields.u64(size)? })
    }

    /// Both ranges were found to lie inside the file, so the sums cannot overflow.
    fn overlaps(self, other: Self) -> bool {
        self.offset < other.offset.saturating_add(other.size)
            && other.offset < self.offset.saturating_add(self.size)
    }
}
