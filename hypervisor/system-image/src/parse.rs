//! The reader: untrusted bytes in, a checked [`SystemImage`] out.
//!
//! Parsing runs the same decoder for every entry that [`SystemImage::domains`] runs later; nothing is
//! allocated, nothing is cached, and no input makes it panic (see `tests.rs`: every byte altered, every
//! length cut).

use crate::checksum::crc32;
use crate::error::ImageError;
use crate::layout::{self, entry, header};

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

/// One domain of a checked image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Domain<'a> {
    /// Unique in the image, not empty, without control characters.
    pub name: &'a str,
    /// The guest ELF, unchecked.
    pub image: &'a [u8],
    /// The guest's command line.
    pub cmdline: &'a str,
    /// Memory in bytes: a multiple of 2 MiB, at least 8 MiB.
    pub memory_bytes: u64,
    /// What happens when it crashes.
    pub crash_policy: CrashPolicy,
    /// Whether it has the machine's console.
    pub has_console: bool,
    vcpu_count: usize,
    vcpus: [VcpuPlacement; layout::MAX_VCPUS],
}

/// Where a virtual CPU runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct VcpuPlacement {
    /// The physical CPU's number, below 64; the machine may have fewer.
    pub cpu: u32,
    /// 0 (lowest) to 31.
    pub priority: u8,
}

/// What happens to a domain that crashed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CrashPolicy {
    /// It stays stopped, the others go on.
    Stop,
    /// It is started anew, unless that was done `times` times in the last `within_seconds`; then it stops.
    Restart {
        /// Restarts allowed, at least 1.
        times: u32,
        /// The window in which they are counted, at least 1.
        within_seconds: u32,
    },
    /// The whole system halts.
    HaltSystem,
}

impl<'a> SystemImage<'a> {
    /// Checks everything that can be checked without knowing the machine or the ELF format.
    ///
    /// `bytes` may be longer than the image: boot loaders pad ramdisks.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, ImageError> {
        let image = Self::parse_header(bytes)?;
        for index in 0..image.domain_count {
            let domain = image.domain(index)?;
            for earlier in 0..index {
                if image.domain(earlier)?.name == domain.name {
                    return Err(ImageError::DuplicateName);
                }
            }
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
        let (vcpu_count, vcpus) = fields.vcpus()?;
        Ok(Domain {
            name: fields.name(entry::NAME)?,
            image: self.guest_image(&fields)?,
            cmdline: self.cmdline(&fields)?,
            memory_bytes,
            crash_policy: fields.crash_policy()?,
            has_console: flags & entry::FLAG_CONSOLE != 0,
            vcpu_count,
            vcpus,
        })
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

impl Domain<'_> {
    /// Its virtual CPUs' placements, at least one, in order of their numbers.
    pub fn vcpus(&self) -> &[VcpuPlacement] {
        self.vcpus.get(..self.vcpu_count).unwrap_or(&[])
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

/// Little-endian fields at given offsets; reading past the end is an error, never a panic.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn array<const N: usize>(&self, offset: usize) -> Result<[u8; N], ImageError> {
        self.0.get(offset..).and_then(|rest| rest.first_chunk()).copied().ok_or(ImageError::Truncated)
    }

    fn u16(&self, offset: usize) -> Result<u16, ImageError> {
        Ok(u16::from_le_bytes(self.array(offset)?))
    }

    fn u32(&self, offset: usize) -> Result<u32, ImageError> {
        Ok(u32::from_le_bytes(self.array(offset)?))
    }

    fn u64(&self, offset: usize) -> Result<u64, ImageError> {
        Ok(u64::from_le_bytes(self.array(offset)?))
    }

    fn expect_zero(&self, from: usize, to: usize) -> Result<(), ImageError> {
        let bytes = self.0.get(from..to).ok_or(ImageError::Truncated)?;
        if bytes.iter().any(|&byte| byte != 0) { Err(ImageError::ReservedNotZero) } else { Ok(()) }
    }

    fn name(&self, offset: usize) -> Result<&'a str, ImageError> {
        let field = self
            .0
            .get(offset..)
            .and_then(|rest| rest.get(..layout::NAME_SIZE))
            .ok_or(ImageError::Truncated)?;
        let size = field.iter().position(|&byte| byte == 0).unwrap_or(field.len());
        let (name, padding) = field.split_at(size);
        if padding.iter().any(|&byte| byte != 0) {
            return Err(ImageError::ReservedNotZero);
        }
        printable(name).filter(|name| !name.is_empty()).ok_or(ImageError::BadName)
    }

    fn vcpus(&self) -> Result<(usize, [VcpuPlacement; layout::MAX_VCPUS]), ImageError> {
        let count = to_usize(self.u32(entry::VCPU_COUNT)?.into());
        if count == 0 || count > layout::MAX_VCPUS {
            return Err(ImageError::BadVcpuCount);
        }
        let mut vcpus = [VcpuPlacement::default(); layout::MAX_VCPUS];
        for (index, vcpu) in vcpus.iter_mut().enumerate() {
            let record = entry::VCPUS + index * entry::VCPU_SIZE;
            if index >= count {
                self.expect_zero(record, record + entry::VCPU_SIZE)?;
                continue;
            }
            let [priority] = self.array(record + entry::VCPU_PRIORITY)?;
            *vcpu = VcpuPlacement { cpu: self.u32(record + entry::VCPU_CPU)?, priority };
            self.expect_zero(record + entry::VCPU_RESERVED, record + entry::VCPU_SIZE)?;
            if vcpu.cpu >= layout::MAX_CPUS {
                return Err(ImageError::BadCpu);
            }
            if vcpu.priority > layout::MAX_PRIORITY {
                return Err(ImageError::BadPriority);
            }
        }
        Ok((count, vcpus))
    }

    fn crash_policy(&self) -> Result<CrashPolicy, ImageError> {
        let times = self.u32(entry::RESTART_TIMES)?;
        let within_seconds = self.u32(entry::RESTART_WITHIN_SECONDS)?;
        match (self.u32(entry::CRASH_ACTION)?, times, within_seconds) {
            (entry::CRASH_STOP, 0, 0) => Ok(CrashPolicy::Stop),
            (entry::CRASH_RESTART, 1.., 1..) => Ok(CrashPolicy::Restart { times, within_seconds }),
            (entry::CRASH_HALT_SYSTEM, 0, 0) => Ok(CrashPolicy::HaltSystem),
            _ => Err(ImageError::BadCrashPolicy),
        }
    }
}

/// UTF-8 without control characters, so that printing it cannot upset a terminal.
fn printable(bytes: &[u8]) -> Option<&str> {
    if bytes.iter().any(u8::is_ascii_control) {
        return None;
    }
    core::str::from_utf8(bytes).ok()
}

/// Saturates on hosts with narrower pointers; the ranges checked afterwards then do not fit.
fn to_usize(value: u64) -> usize {
    usize::try_from(value).unwrap_or(usize::MAX)
}
