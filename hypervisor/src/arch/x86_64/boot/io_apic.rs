//! The IOAPIC's routes, made once.

use super::super::io_apic::{LEVEL, LOW_ACTIVE, Line, MASKED, entry_of, read, write};

/// Register with the number of the last line in its bits 23..16.
const VERSION: u32 = 0x01;

/// How a line signals.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Signal {
    /// By staying active until its cause is removed, not by a change.
    pub level: bool,
    /// Low, or the falling edge.
    pub low: bool,
}

/// How many lines there are.
#[must_use]
pub fn lines() -> u32 {
    (read(VERSION) >> 16 & 0xff) + 1
}

/// Masks all lines.
pub fn mask_all() {
    (0..lines()).for_each(|input| write(entry_of(input as u8), MASKED));
}

/// Routes `input` to `vector` of the CPU with local APIC id `target`, masked.
#[must_use]
pub fn route(input: u8, vector: u8, target: u8, signal: Signal) -> Line {
    let mut entry = u32::from(vector);
    if signal.level {
        entry |= LEVEL;
    }
    if signal.low {
        entry |= LOW_ACTIVE;
    }
    write(entry_of(input) + 1, u32::from(target) << 24);
    write(entry_of(input), entry | MASKED);
    Line::new(input, entry)
}
