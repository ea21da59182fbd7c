//! The HPET's main counter as a reference (IA-PC HPET specification 1.0a, 2.3).

use super::calibration::{Sample, count};
use crate::machine::machine;
use crate::mmio::Registers;

const CAPABILITIES: usize = 0x000;
const CONFIGURATION: usize = 0x010;
const COUNTER: usize = 0x0f0;
const ENABLE: u64 = 1;
const COUNTER_64_BITS: u64 = 1 << 13;
const FEMTOSECONDS: u64 = 1_000_000_000_000_000;

/// Counts for one window. `None`: there is no HPET.
pub(super) fn sample() -> Option<Sample> {
    let base = machine().firmware.hpet?;
    // SAFETY: firmware names this block as the HPET's; it is among the required mappings.
    let registers = unsafe { Registers::new(base) };
    let capabilities = registers.read64(CAPABILITIES);
    let period = capabilities >> 32;
    if period == 0 {
        return None;
    }
    registers.write64(CONFIGURATION, registers.read64(CONFIGURATION) | ENABLE);
    let mask = if capabilities & COUNTER_64_BITS != 0 { u64::MAX } else { u32::MAX.into() };
    count(|| registers.read64(COUNTER), mask, FEMTOSECONDS / period)
}
