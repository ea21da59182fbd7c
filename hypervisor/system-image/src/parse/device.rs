//! Assigned devices: what one consists of, and the rules that it keeps.

use super::domain::Few;
use super::fields::{Fields, to_usize};
use super::reserved;
use crate::error::ImageError;
use crate::layout::{self, entry};

/// What a domain is given of a device; at least one of the three.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Device {
    /// I/O ports.
    pub ports: Option<PortRange>,
    /// Physical memory that is no memory: the device's registers.
    pub mmio: Option<MmioRange>,
    /// Its interrupt: ACPI's global system interrupt number.
    pub interrupt: Option<u32>,
}

/// I/O ports that follow each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortRange {
    /// The first port.
    pub first: u16,
    /// How many, at least 1.
    pub count: u16,
}

/// Physical addresses, in whole pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MmioRange {
    /// The first address, a multiple of 4 KiB. The domain finds the device at the same guest-physical address.
    pub base: u64,
    /// How many bytes, a multiple of 4 KiB and not 0.
    pub bytes: u64,
}

impl PortRange {
    /// The port after the last; 0x1_0000 if that was the highest of all.
    pub const fn end(self) -> u32 {
        self.first as u32 + self.count as u32
    }

    /// Whether both have a port in common.
    pub fn overlaps(self, other: Self) -> bool {
        u32::from(self.first) < other.end() && u32::from(other.first) < self.end()
    }

    fn is_valid(self) -> bool {
        self.count != 0 && self.end() <= 0x1_0000
    }
}

impl MmioRange {
    /// The address after the last.
    pub const fn end(self) -> u64 {
        self.base.saturating_add(self.bytes)
    }

    /// Whether both have an address in common.
    pub fn overlaps(self, other: Self) -> bool {
        self.base < other.end() && other.base < self.end()
    }

    fn is_valid(self) -> bool {
        let whole_pages = (self.base | self.bytes).is_multiple_of(layout::MMIO_UNIT);
        whole_pages && self.bytes != 0 && self.end() <= layout::MAX_MMIO_END
    }
}

impl Device {
    /// Checks the device by itself, for a domain with this much memory. The image's other devices and its
    /// debug-exit port are the business of [`SystemImage::parse`](crate::SystemImage::parse).
    pub fn check(&self, memory_bytes: u64) -> Result<(), ImageError> {
        if *self == Self::default() {
            return Err(ImageError::EmptyDevice);
        }
        if let Some(ports) = self.ports {
            refuse_if(!ports.is_valid(), ImageError::BadPorts)?;
            refuse_if(reserved::ports_row(ports).is_some(), ImageError::ReservedPorts)?;
        }
        if let Some(mmio) = self.mmio {
            refuse_if(!mmio.is_valid(), ImageError::BadMmio)?;
            // It is mapped at its own address, where the domain already has memory.
            refuse_if(mmio.base < memory_bytes, ImageError::MmioInMemory)?;
            refuse_if(reserved::mmio_row(mmio).is_some(), ImageError::ReservedMmio)?;
        }
        if let Some(interrupt) = self.interrupt {
            refuse_if(interrupt >= layout::MAX_INTERRUPTS, ImageError::BadInterrupt)?;
            refuse_if(reserved::interrupt_row(interrupt).is_some(), ImageError::ReservedInterrupt)?;
        }
        Ok(())
    }

    /// Refuses two devices that have something in common.
    pub(super) fn check_apart(&self, other: &Self) -> Result<(), ImageError> {
        if let (Some(one), Some(other)) = (self.ports, other.ports) {
            refuse_if(one.overlaps(other), ImageError::PortsOverlap)?;
        }
        if let (Some(one), Some(other)) = (self.mmio, other.mmio) {
            refuse_if(one.overlaps(other), ImageError::MmioOverlap)?;
        }
        refuse_if(self.interrupt.is_some() && self.interrupt == other.interrupt, ImageError::SharedInterrupt)
    }
}

impl Fields<'_> {
    pub(super) fn devices(&self) -> Result<Few<Device, { layout::MAX_DEVICES }>, ImageError> {
        let count = to_usize(self.u32(entry::DEVICE_COUNT)?.into());
        refuse_if(count > layout::MAX_DEVICES, ImageError::BadDeviceCount)?;
        Few::read(self, count, (entry::DEVICES, entry::DEVICE_SIZE), |record| self.device(record))
    }

    /// Fields of a part that the device does not have are zero.
    fn device(&self, record: usize) -> Result<Device, ImageError> {
        let ports = PortRange {
            first: self.u16(record + entry::DEVICE_PORT_FIRST)?,
            count: self.u16(record + entry::DEVICE_PORT_COUNT)?,
        };
        let mmio = MmioRange {
            base: self.u64(record + entry::DEVICE_MMIO_BASE)?,
            bytes: self.u64(record + entry::DEVICE_MMIO_BYTES)?,
        };
        let interrupt = self.u32(record + entry::DEVICE_INTERRUPT)?;
        self.expect_zero(record + entry::DEVICE_RESERVED, record + entry::DEVICE_MMIO_BASE)?;

        let parts = self.u32(record + entry::DEVICE_PARTS)?;
        let has = |part: u32| parts & part != 0;
        let known = entry::PART_PORTS | entry::PART_MMIO | entry::PART_INTERRUPT;
        let unused = !has(entry::PART_PORTS) && ports != PortRange { first: 0, count: 0 }
            || !has(entry::PART_MMIO) && mmio != MmioRange { base: 0, bytes: 0 }
            || !has(entry::PART_INTERRUPT) && interrupt != 0;
        refuse_if(unused || parts & !known != 0, ImageError::ReservedNotZero)?;
        Ok(Device {
            ports: has(entry::PART_PORTS).then_some(ports),
            mmio: has(entry::PART_MMIO).then_some(mmio),
            interrupt: has(entry::PART_INTERRUPT).then_some(interrupt),
        })
    }
}

fn refuse_if(condition: bool, error: ImageError) -> Result<(), ImageError> {
    if condition { Err(error) } else { Ok(()) }
}
