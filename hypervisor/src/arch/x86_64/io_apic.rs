//! The IOAPIC: a redirection entry per line (82093AA data sheet, 3.1 and 3.2).
//!
//! Boot gives each line in use its entry, once; afterwards lines are only masked and unmasked. Index and window are two
//! accesses, so one CPU at a time: all lines are behind one lock, that of `domain::devices`.

use super::layout::IO_APIC;
use crate::domain::devices::Gate;

const INDEX: u64 = IO_APIC;
const WINDOW: u64 = IO_APIC + 16;
const FIRST_ENTRY: u32 = 0x10;

/// Bit of an entry: active low.
pub const LOW_ACTIVE: u32 = 1 << 13;
/// Bit of an entry: triggered by level.
pub const LEVEL: u32 = 1 << 15;
/// Bit of an entry.
pub const MASKED: u32 = 1 << 16;

/// Register of the low word of a line's entry; the high word follows.
#[must_use]
pub fn entry_of(input: u8) -> u32 {
    FIRST_ENTRY + u32::from(input) * 2
}

/// A line in use. Not `Copy`: whoever reaches it holds the lock.
#[derive(Debug)]
pub struct Line {
    input: u8,
    entry: u32,
}

impl Line {
    /// The line at `input`, for which `entry` is what its low word is when it may interrupt. Boot only.
    #[must_use]
    pub fn new(input: u8, entry: u32) -> Self {
        Self { input, entry }
    }
}

impl Gate for Line {
    fn is_level(&self) -> bool {
        self.entry & LEVEL != 0
    }

    fn mask(&mut self) {
        write(entry_of(self.input), self.entry | MASKED);
    }

    fn unmask(&mut self) {
        write(entry_of(self.input), self.entry);
    }
}

/// Reads a register. Boot only: one CPU.
#[must_use]
pub fn read(register: u32) -> u32 {
    // SAFETY: boot mapped the IOAPIC there, uncached; it is the hypervisor's alone. Out of order, the two accesses reach
    // another of its registers, and no memory.
    unsafe {
        (INDEX as *mut u32).write_volatile(register);
        (WINDOW as *const u32).read_volatile()
    }
}

/// Writes a register. The lock of all lines is held, or one CPU runs.
pub fn write(register: u32, value: u32) {
    // SAFETY: as in `read`; vectors and targets of entries are boot's, and valid.
    unsafe {
        (INDEX as *mut u32).write_volatile(register);
        (WINDOW as *mut u32).write_volatile(value);
    }
}
