//! What the command line asks of the real-time role.

use crate::options::{self, Refused};
use pvops_abi::boot::option_of;

const DEFAULT_PERIOD_US: u64 = 1000;
const DEFAULT_PERIODS: u64 = 2000;
const DEFAULT_WORK_KIB: u64 = 16;
/// Memory that is looked at in turn.
const MEMORY_KIB: u64 = 1024;

/// See the module.
#[derive(Clone, Copy, Debug)]
pub(super) struct Plan {
    pub(super) period_ns: u64,
    /// How many; `u64::MAX` for a run without an end.
    pub(super) periods: u64,
    /// Parts of the memory; each period looks at one.
    pub(super) parts: usize,
    /// Pages of each part.
    pub(super) pages: usize,
    /// A missed deadline is a failure.
    pub(super) strict: bool,
    /// Each latency is kept, and printed at the end.
    pub(super) keeps_samples: bool,
}

impl Plan {
    /// `period_us=1000 periods=2000 work_kib=16 strict=0 samples=0`; `seconds=` instead of `periods=`, 0 of which is for ever.
    pub(super) fn from_options(command_line: &str) -> Result<Self, Refused> {
        let number = |option, range| options::number(command_line, option, range);
        let period_us = number("period_us", 50..=1_000_000)?.unwrap_or(DEFAULT_PERIOD_US);
        let seconds = number("seconds", 0..=1_000_000)?.map(|seconds| seconds * 1_000_000 / period_us);
        let periods = number("periods", 0..=1_000_000_000)?.or(seconds).unwrap_or(DEFAULT_PERIODS);
        let work_kib = number("work_kib", 4..=MEMORY_KIB)?.unwrap_or(DEFAULT_WORK_KIB);
        if !work_kib.is_power_of_two() {
            let value = option_of(command_line, "work_kib").unwrap_or_default().into();
            return Err(Refused { option: "work_kib", value, wanted: "a power of two".into() });
        }
        Ok(Self {
            period_ns: period_us * 1000,
            periods: if periods == 0 { u64::MAX } else { periods },
            parts: (MEMORY_KIB / work_kib) as usize,
            pages: work_kib as usize / 4,
            strict: options::flag(command_line, "strict")?,
            keeps_samples: options::flag(command_line, "samples")?,
        })
    }

    /// Whether it ends only by a failure.
    pub(super) fn is_endless(&self) -> bool {
        self.periods == u64::MAX
    }
}
