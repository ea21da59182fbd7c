//! A domain as the reader gives it, and what of it is decoded from its entry alone.

use super::channel::ChannelEnd;
use super::device::Device;
use super::fields::{Fields, to_usize};
use crate::error::ImageError;
use crate::layout::{self, entry};

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
    pub(super) vcpus: Few<VcpuPlacement, { layout::MAX_VCPUS }>,
    pub(super) devices: Few<Device, { layout::MAX_DEVICES }>,
    pub(super) channels: Few<ChannelEnd, { layout::MAX_CHANNELS }>,
}

impl Domain<'_> {
    /// Its virtual CPUs' placements, at least one, in order of their numbers.
    pub fn vcpus(&self) -> &[VcpuPlacement] {
        self.vcpus.as_slice()
    }

    /// The devices assigned to it. No two devices of an image have a port, an address or an interrupt in common.
    pub fn devices(&self) -> &[Device] {
        self.devices.as_slice()
    }

    /// Its ends of channels, in order of their numbers. The other end of each names this one.
    pub fn channels(&self) -> &[ChannelEnd] {
        self.channels.as_slice()
    }
}

/// Up to `MAX` values, the unused ones at their defaults.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Few<T, const MAX: usize> {
    count: usize,
    values: [T; MAX],
}

impl<T: Copy + Default, const MAX: usize> Few<T, MAX> {
    /// The first `count` of `MAX` records of `size` bytes from `start` on, the rest of which is zero. `count` was
    /// checked to be `MAX` at most.
    pub(super) fn read(
        fields: &Fields<'_>,
        count: usize,
        (start, size): (usize, usize),
        read_one: impl Fn(usize) -> Result<T, ImageError>,
    ) -> Result<Self, ImageError> {
        let mut values = [T::default(); MAX];
        for (index, value) in values.iter_mut().enumerate() {
            let record = start + index * size;
            if index < count {
                *value = read_one(record)?;
            } else {
                fields.expect_zero(record, record + size)?;
            }
        }
        Ok(Self { count, values })
    }

    pub(super) fn as_slice(&self) -> &[T] {
        self.values.get(..self.count).unwrap_or(&[])
    }
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
        /// Restarts allowed, 1 to 16.
        times: u32,
        /// The window in which they are counted, at least 1.
        within_seconds: u32,
    },
    /// The whole system halts.
    HaltSystem,
}

impl Fields<'_> {
    pub(super) fn vcpus(&self) -> Result<Few<VcpuPlacement, { layout::MAX_VCPUS }>, ImageError> {
        let count = to_usize(self.u32(entry::VCPU_COUNT)?.into());
        if count == 0 || count > layout::MAX_VCPUS {
            return Err(ImageError::BadVcpuCount);
        }
        Few::read(self, count, (entry::VCPUS, entry::VCPU_SIZE), |record| self.vcpu(record))
    }

    fn vcpu(&self, record: usize) -> Result<VcpuPlacement, ImageError> {
        let [priority] = self.array(record + entry::VCPU_PRIORITY)?;
        let vcpu = VcpuPlacement { cpu: self.u32(record + entry::VCPU_CPU)?, priority };
        self.expect_zero(record + entry::VCPU_RESERVED, record + entry::VCPU_SIZE)?;
        if vcpu.cpu >= layout::MAX_CPUS {
            return Err(ImageError::BadCpu);
        }
        if vcpu.priority > layout::MAX_PRIORITY {
            return Err(ImageError::BadPriority);
        }
        Ok(vcpu)
    }

    pub(super) fn crash_policy(&self) -> Result<CrashPolicy, ImageError> {
        let times = self.u32(entry::RESTART_TIMES)?;
        let within_seconds = self.u32(entry::RESTART_WITHIN_SECONDS)?;
        match (self.u32(entry::CRASH_ACTION)?, times, within_seconds) {
            (entry::CRASH_STOP, 0, 0) => Ok(CrashPolicy::Stop),
            (entry::CRASH_RESTART, 1..=layout::MAX_RESTARTS, 1..) => {
                Ok(CrashPolicy::Restart { times, within_seconds })
            }
            (entry::CRASH_HALT_SYSTEM, 0, 0) => Ok(CrashPolicy::HaltSystem),
            _ => Err(ImageError::BadCrashPolicy),
        }
    }
}
