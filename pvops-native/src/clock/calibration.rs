//! Finds the rates of the time-stamp counter and of the local APIC's timer.
//!
//! CPUID is believed where it tells; else the counter runs against the best reference that the machine has.
//! The local APIC's timer is always measured against the counter.

use raw_cpuid::{CpuId, CpuIdReaderNative, Hypervisor};

use super::{counter, hpet, pit, pm_timer};
use crate::arithmetic::frequency;
use crate::local_apic;

/// Rates in ticks per second.
pub(super) struct Measured {
    pub(super) tsc_hz: u64,
    pub(super) timer_hz: u64,
}

/// What a reference counted while the time-stamp counter went on.
pub(super) struct Sample {
    /// Ticks of the time-stamp counter.
    pub(super) tsc_ticks: u64,
    /// Ticks of the reference.
    pub(super) ticks: u64,
    /// The reference's ticks per second.
    pub(super) hz: u64,
}

/// How long one measurement takes, as a part of a second.
pub(super) const WINDOWS_PER_SECOND: u64 = 100;

/// Measures. `None`: this machine has no reference at all.
pub(super) fn run() -> Option<Measured> {
    let tsc_hz = tsc_hz_of_cpuid().or_else(tsc_hz_of_reference).filter(|hz| *hz != 0)?;
    Some(Measured { tsc_hz, timer_hz: timer_hz(tsc_hz).max(1) })
}

/// Leaf 15h (core crystal ratio), a hypervisor's timing leaf, leaf 16h (base frequency, which is the counter's
/// on the CPUs that have it).
fn tsc_hz_of_cpuid() -> Option<u64> {
    let cpuid = CpuId::with_cpuid_reader(CpuIdReaderNative);
    let crystal = cpuid.get_tsc_info().and_then(|tsc| tsc.tsc_frequency());
    let hypervisor = || {
        // Others use the number of this leaf for something else.
        let info = cpuid.get_hypervisor_info()?;
        let khz = match info.identify() {
            Hypervisor::KVM | Hypervisor::VMware => info.tsc_frequency()?,
            _ => return None,
        };
        Some(u64::from(khz) * 1000)
    };
    let base = || {
        let mhz = cpuid.get_processor_frequency_info()?.processor_base_frequency();
        Some(u64::from(mhz) * 1_000_000)
    };
    let known = |hz: &u64| *hz != 0;
    crystal.filter(known).or_else(|| hypervisor().filter(known)).or_else(|| base().filter(known))
}

fn tsc_hz_of_reference() -> Option<u64> {
    let sample = hpet::sample().or_else(pm_timer::sample).or_else(pit::sample)?;
    Some(frequency(sample.tsc_ticks, sample.ticks, sample.hz))
}

fn timer_hz(tsc_hz: u64) -> u64 {
    local_apic::set_countdown(u32::MAX);
    let start = counter();
    let start_count = local_apic::countdown();
    while counter() - start < tsc_hz / WINDOWS_PER_SECOND {
        core::hint::spin_loop();
    }
    let ticks = start_count - local_apic::countdown();
    let tsc_ticks = counter() - start;
    local_apic::set_countdown(0);
    frequency(ticks.into(), tsc_ticks, tsc_hz)
}

/// Counts with `read`, a free-running counter of `hz` whose significant bits are `mask`, for one window.
/// `None`: it does not move.
pub(super) fn count(read: impl Fn() -> u64, mask: u64, hz: u64) -> Option<Sample> {
    /// Reads of a counter after which one that never moved is taken for dead.
    const PATIENCE: u32 = 100_000;
    let (start, tsc_start) = (read(), counter());
    let mut idle_reads = 0;
    loop {
        let (now, tsc) = (read(), counter());
        let ticks = now.wrapping_sub(start) & mask;
        if ticks >= hz / WINDOWS_PER_SECOND {
            return Some(Sample { tsc_ticks: tsc - tsc_start, ticks, hz });
        }
        idle_reads += u32::from(ticks == 0);
        if idle_reads > PATIENCE {
            return None;
        }
        core::hint::spin_loop();
    }
}
