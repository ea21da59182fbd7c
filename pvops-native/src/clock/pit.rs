//! Channel 2 of the 8254 as the last reference: it counts down once, and its output says when it is done.

use x86::io::{inb, outb};

use super::calibration::{Sample, WINDOWS_PER_SECOND};
use super::counter;

const HZ: u64 = 1_193_182;
const CHANNEL_2: u16 = 0x42;
const COMMAND: u16 = 0x43;
const GATE: u16 = 0x61;
/// Channel 2, both bytes, mode 0 (8254 data sheet).
const ONE_SHOT: u8 = 0b1011_0000;
const GATE_ON: u8 = 1;
const SPEAKER_ON: u8 = 2;
const OUTPUT: u8 = 1 << 5;
/// Reads of the output after which there is no such device.
const PATIENCE: u32 = 10_000_000;

/// Counts for one window. `None`: there is no such device.
pub(super) fn sample() -> Option<Sample> {
    let ticks = HZ / WINDOWS_PER_SECOND;
    let start = start_count(ticks as u16);
    for _ in 0..PATIENCE {
        // SAFETY: the PC's fixed port; reading has no side effects.
        if unsafe { inb(GATE) } & OUTPUT != 0 {
            return Some(Sample { tsc_ticks: counter() - start, ticks, hz: HZ });
        }
        core::hint::spin_loop();
    }
    None
}

/// Starts the countdown and returns the time-stamp counter at that instant.
fn start_count(ticks: u16) -> u64 {
    // SAFETY: the PC's fixed ports; nobody else uses channel 2, and the speaker is off.
    unsafe {
        outb(GATE, inb(GATE) & !SPEAKER_ON | GATE_ON);
        outb(COMMAND, ONE_SHOT);
        outb(CHANNEL_2, ticks as u8);
        outb(CHANNEL_2, (ticks >> 8) as u8);
    }
    counter()
}
