//! The ACPI power-management timer as a reference (ACPI 6.5, 4.8.3.3).

use super::calibration::{Sample, count};
use crate::machine::machine;

const HZ: u64 = 3_579_545;
/// 24 bits are there in every machine.
const MASK: u64 = 0xff_ffff;

/// Counts for one window. `None`: there is no such timer.
pub(super) fn sample() -> Option<Sample> {
    let port = machine().firmware.pm_timer?;
    // SAFETY: the timer's port as firmware names it; reading has no side effects.
    count(|| unsafe { x86::io::inl(port) }.into(), MASK, HZ)
}
