//! The writer: a description in, the bytes of an image out.
//!
//! It knows the layout only; whether the result keeps all rules is decided by the one place that knows them,
//! [`SystemImage::parse`], which every written image must pass.

use crate::checksum::crc32;
use crate::layout::{self, entry, header};
use crate::{ChannelEnd, CrashPolicy, Device, ImageError, SystemImage, VcpuPlacement};

/// What to write.
#[derive(Clone, Debug)]
pub struct SystemDescription {
    /// The system's name.
    pub name: String,
    /// The port of the debug-exit device, if any.
    pub debug_exit_port: Option<u16>,
    /// The domains, at least one.
    pub domains: Vec<DomainDescription>,
    /// The channels, each by the places of its two domains in `domains`. A domain's channels are numbered from 0 in
    /// this order.
    pub channels: Vec<[u16; 2]>,
}

/// One domain to write.
#[derive(Clone, Debug)]
pub struct DomainDescription {
    /// Unique, at most 32 bytes.
    pub name: String,
    /// The guest ELF.
    pub image: Vec<u8>,
    /// The command line, at most 4096 bytes.
    pub cmdline: String,
    /// Memory in bytes.
    pub memory_bytes: u64,
    /// Placements, one per virtual CPU, at most 8.
    pub vcpus: Vec<VcpuPlacement>,
    /// What happens when it crashes.
    pub crash_policy: CrashPolicy,
    /// Whether it has the machine's console.
    pub has_console: bool,
    /// Assigned devices, at most 8.
    pub devices: Vec<Device>,
}

/// Why a description cannot be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriteError {
    /// A name does not fit its field, or there are too many domains, virtual CPUs, devices or channels.
    DoesNotFit(&'static str),
    /// The written image breaks a rule.
    Refused(ImageError),
}

impl std::fmt::Display for WriteError {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::DoesNotFit(what) => write!(formatter, "too large for a system image: {what}"),
            Self::Refused(error) => formatter.write_str(error.message()),
        }
    }
}

impl std::error::Error for WriteError {}

/// Writes the image and checks it by reading it back.
pub fn write(system: &SystemDescription) -> Result<Vec<u8>, WriteError> {
    if system.domains.len() > layout::MAX_DOMAINS {
        return Err(WriteError::DoesNotFit("the number of domains"));
    }
    let channels = system.channel_ends()?;
    let mut image = vec![0; header::SIZE + system.domains.len() * entry::SIZE];
    for (index, domain) in system.domains.iter().enumerate() {
        let entry = domain.entry(&channels[index], &mut image)?;
        let start = header::SIZE + index * entry::SIZE;
        image[start..start + entry::SIZE].copy_from_slice(&entry);
    }
    system.fill_header(&mut image)?;
    SystemImage::parse(&image).map_err(WriteError::Refused)?;
    Ok(image)
}

/// Recomputes the checksum of an image whose bytes were changed; for tests that alter one field.
pub fn update_checksum(image: &mut [u8]) {
    let checksum = crc32(&image[header::TOTAL_SIZE..]);
    put(image, header::CHECKSUM, &checksum.to_le_bytes());
}

impl SystemDescription {
    /// The ends of channels of each domain.
    fn channel_ends(&self) -> Result<Vec<Vec<ChannelEnd>>, WriteError> {
        let mut ends = vec![Vec::new(); self.domains.len()];
        for &[one, other] in &self.channels {
            let number = |domain: u16| {
                let list = ends.get(usize::from(domain));
                list.map(|list| list.len() as u16).ok_or(WriteError::Refused(ImageError::BadChannelPeer))
            };
            let (one_end, other_end) = (number(one)?, number(other)?);
            ends[usize::from(one)].push(ChannelEnd { peer: other, peer_channel: other_end });
            ends[usize::from(other)].push(ChannelEnd { peer: one, peer_channel: one_end });
        }
        if ends.iter().any(|list| list.len() > layout::MAX_CHANNELS) {
            return Err(WriteError::DoesNotFit("the number of channels"));
        }
        Ok(ends)
    }

    fn fill_header(&self, image: &mut [u8]) -> Result<(), WriteError> {
        let total_size = image.len() as u64;
        put(image, header::MAGIC, &layout::MAGIC);
        put(image, header::VERSION, &layout::FORMAT_VERSION.to_le_bytes());
        put(image, header::TOTAL_SIZE, &total_size.to_le_bytes());
        put(image, header::HEADER_SIZE, &(header::SIZE as u32).to_le_bytes());
        put(image, header::ENTRY_SIZE, &(entry::SIZE as u32).to_le_bytes());
        put(image, header::DOMAIN_COUNT, &(self.domains.len() as u32).to_le_bytes());
        put(image, header::DEBUG_EXIT_PORT, &self.debug_exit_port.unwrap_or(0).to_le_bytes());
        put(image, header::NAME, name_field(&self.name)?);
        update_checksum(image);
        Ok(())
    }
}

impl DomainDescription {
    /// Appends this domain's blobs to `image` and returns its entry.
    fn entry(&self, channels: &[ChannelEnd], image: &mut Vec<u8>) -> Result<[u8; entry::SIZE], WriteError> {
        if self.vcpus.len() > layout::MAX_VCPUS {
            return Err(WriteError::DoesNotFit("the number of virtual CPUs"));
        }
        if self.devices.len() > layout::MAX_DEVICES {
            return Err(WriteError::DoesNotFit("the number of devices"));
        }
        let (action, times, within_seconds) = match self.crash_policy {
            CrashPolicy::Stop => (entry::CRASH_STOP, 0, 0),
            CrashPolicy::Restart { times, within_seconds } => (entry::CRASH_RESTART, times, within_seconds),
            CrashPolicy::HaltSystem => (entry::CRASH_HALT_SYSTEM, 0, 0),
        };
        let flags = if self.has_console { entry::FLAG_CONSOLE } else { 0 };
        let image_offset = append(image, &self.image, layout::IMAGE_ALIGN as usize);
        let cmdline_offset =
            if self.cmdline.is_empty() { 0 } else { append(image, self.cmdline.as_bytes(), 1) };

        let mut bytes = [0; entry::SIZE];
        put(&mut bytes, entry::NAME, name_field(&self.name)?);
        put(&mut bytes, entry::IMAGE_OFFSET, &image_offset.to_le_bytes());
        put(&mut bytes, entry::IMAGE_SIZE, &(self.image.len() as u64).to_le_bytes());
        put(&mut bytes, entry::CMDLINE_OFFSET, &cmdline_offset.to_le_bytes());
        put(&mut bytes, entry::CMDLINE_SIZE, &(self.cmdline.len() as u64).to_le_bytes());
        put(&mut bytes, entry::MEMORY, &self.memory_bytes.to_le_bytes());
        put(&mut bytes, entry::VCPU_COUNT, &(self.vcpus.len() as u32).to_le_bytes());
        put(&mut bytes, entry::FLAGS, &flags.to_le_bytes());
        put(&mut bytes, entry::CRASH_ACTION, &action.to_le_bytes());
        put(&mut bytes, entry::RESTART_TIMES, &times.to_le_bytes());
        put(&mut bytes, entry::RESTART_WITHIN_SECONDS, &within_seconds.to_le_bytes());
        for (index, vcpu) in self.vcpus.iter().enumerate() {
            let record = entry::VCPUS + index * entry::VCPU_SIZE;
            put(&mut bytes, record + entry::VCPU_CPU, &vcpu.cpu.to_le_bytes());
            put(&mut bytes, record + entry::VCPU_PRIORITY, &[vcpu.priority]);
        }
        self.put_devices(&mut bytes);
        put_channels(&mut bytes, channels);
        Ok(bytes)
    }

    fn put_devices(&self, bytes: &mut [u8]) {
        put(bytes, entry::DEVICE_COUNT, &(self.devices.len() as u32).to_le_bytes());
        for (index, device) in self.devices.iter().enumerate() {
            let record = entry::DEVICES + index * entry::DEVICE_SIZE;
            let mut parts = 0;
            if let Some(ports) = device.ports {
                parts |= entry::PART_PORTS;
                put(bytes, record + entry::DEVICE_PORT_FIRST, &ports.first.to_le_bytes());
                put(bytes, record + entry::DEVICE_PORT_COUNT, &ports.count.to_le_bytes());
            }
            if let Some(mmio) = device.mmio {
                parts |= entry::PART_MMIO;
                put(bytes, record + entry::DEVICE_MMIO_BASE, &mmio.base.to_le_bytes());
                put(bytes, record + entry::DEVICE_MMIO_BYTES, &mmio.bytes.to_le_bytes());
            }
            if let Some(interrupt) = device.interrupt {
                parts |= entry::PART_INTERRUPT;
                put(bytes, record + entry::DEVICE_INTERRUPT, &interrupt.to_le_bytes());
            }
            put(bytes, record + entry::DEVICE_PARTS, &parts.to_le_bytes());
        }
    }
}

fn put_channels(bytes: &mut [u8], channels: &[ChannelEnd]) {
    put(bytes, entry::CHANNEL_COUNT, &(channels.len() as u32).to_le_bytes());
    for (index, end) in channels.iter().enumerate() {
        let record = entry::CHANNELS + index * entry::CHANNEL_SIZE;
        put(bytes, record + entry::CHANNEL_PEER, &end.peer.to_le_bytes());
        put(bytes, record + entry::CHANNEL_PEER_CHANNEL, &end.peer_channel.to_le_bytes());
    }
}

fn name_field(name: &str) -> Result<&[u8], WriteError> {
    if name.len() > layout::NAME_SIZE {
        return Err(WriteError::DoesNotFit("a name"));
    }
    Ok(name.as_bytes())
}

fn put(bytes: &mut [u8], offset: usize, value: &[u8]) {
    bytes[offset..offset + value.len()].copy_from_slice(value);
}

/// Appends `blob` at the next multiple of `align` and returns its offset.
fn append(image: &mut Vec<u8>, blob: &[u8], align: usize) -> u64 {
    image.resize(image.len().next_multiple_of(align), 0);
    let offset = image.len() as u64;
    image.extend_from_slice(blob);
    offset
}
