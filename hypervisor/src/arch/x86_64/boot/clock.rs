//! Measuring the time-stamp counter, reading the wall clock, silencing the legacy interrupt controllers.

use super::super::cpu::{cpuid, timestamp};
use system_image::boot_text;
use x86::io::{inb, outb};

/// Ticks per second of the counter, and nanoseconds since 1970.
#[must_use]
pub fn measure() -> (u64, u64) {
    (counter_hz(), wall_ns())
}

/// CPUID states the frequency on newer CPUs (leaf 15h); elsewhere the PIT's channel 2 is the measure.
fn counter_hz() -> u64 {
    let [highest, ..] = cpuid(0, 0);
    if highest >= 0x15 {
        let [denominator, numerator, crystal_hz, _] = cpuid(0x15, 0);
        if denominator != 0 && numerator != 0 && crystal_hz != 0 {
            return u64::from(crystal_hz) * u64::from(numerator) / u64::from(denominator);
        }
    }
    measure_by_pit()
}

const PIT_HZ: u64 = 1_193_182;
/// 20 ms.
const PIT_COUNT: u64 = PIT_HZ / 50;

fn measure_by_pit() -> u64 {
    /// Polls after which a machine without the PIT's output is given up.
    const MOST_POLLS: u32 = 50_000_000;
    // SAFETY: the PIT and its gate are the hypervisor's; channel 2 drives nothing but the speaker, which stays off.
    unsafe {
        outb(0x61, inb(0x61) & !2 | 1);
        outb(0x43, 0b1011_0000);
        outb(0x42, PIT_COUNT as u8);
        outb(0x42, (PIT_COUNT >> 8) as u8);
        let start = timestamp();
        for _ in 0..MOST_POLLS {
            if inb(0x61) & 1 << 5 != 0 {
                let ticks = timestamp() - start;
                return (ticks * PIT_HZ / PIT_COUNT).max(1_000_000);
            }
            core::hint::spin_loop();
        }
    }
    crate::boot::refuse_machine(boot_text!("neither CPUID nor the PIT tells the counter's frequency"))
}

/// Masks the two 8259s for good, with vectors where a spurious interrupt does no harm.
pub fn silence_legacy_interrupts() {
    // A constant would stand among the resident ones.
    static COMMANDS: [(u16, u8); 10] = [
        (0x20, 0x11),
        (0xa0, 0x11),
        (0x21, 0x20),
        (0xa1, 0x28),
        (0x21, 4),
        (0xa1, 2),
        (0x21, 1),
        (0xa1, 1),
        (0x21, 0xff),
        (0xa1, 0xff),
    ];
    for (port, value) in COMMANDS {
        // SAFETY: the 8259s are the hypervisor's; the sequence is their initialization.
        unsafe { outb(port, value) };
    }
}

fn cmos(register: u8) -> u8 {
    // SAFETY: the CMOS ports are the hypervisor's; reading changes nothing (NMI stays enabled).
    unsafe {
        outb(0x70, register);
        inb(0x71)
    }
}

/// Seconds, minutes, hours, day, month, year, raw.
fn clock_registers() -> [u8; 6] {
    [0, 2, 4, 7, 8, 9].map(cmos)
}

fn wall_ns() -> u64 {
    const UPDATE_IN_PROGRESS: u8 = 1 << 7;
    let mut time = clock_registers();
    // Two equal readings outside an update; bounded, because a broken clock must not stop the boot.
    for _ in 0..100_000 {
        if cmos(0x0a) & UPDATE_IN_PROGRESS == 0 {
            let again = clock_registers();
            if again == time {
                break;
            }
            time = again;
        }
    }
    let mode = cmos(0x0b);
    let is_afternoon = mode & 2 == 0 && time[2] & 0x80 != 0;
    time[2] &= 0x7f;
    if mode & 4 == 0 {
        time = time.map(|value| (value >> 4) * 10 + (value & 15));
    }
    if mode & 2 == 0 {
        time[2] = time[2] % 12 + if is_afternoon { 12 } else { 0 };
    }
    let [second, minute, hour, day, month, year] = time.map(u64::from);
    let days = days_since_1970(2000 + year, month.clamp(1, 12), day.clamp(1, 31));
    (((days * 24 + hour) * 60 + minute) * 60 + second) * 1_000_000_000
}

/// Days of the Gregorian calendar, for years from 1970.
#[must_use]
pub fn days_since_1970(year: u64, month: u64, day: u64) -> u64 {
    // Years that start in March put the leap day last.
    let (year, month) = if month <= 2 { (year - 1, month + 9) } else { (year, month - 3) };
    let leap_days = year / 4 - year / 100 + year / 400;
    // 719_468: days from 0000-03-01 to 1970-01-01.
    year * 365 + leap_days + (month * 153 + 2) / 5 + day - 1 - 719_468
}

#[cfg(test)]
mod tests {
    use super::days_since_1970;

    #[test]
    fn known_days() {
        assert_eq!(days_since_1970(1970, 1, 1), 0);
        assert_eq!(days_since_1970(2000, 3, 1), 11_017);
        assert_eq!(days_since_1970(2024, 2, 29), 19_782);
        assert_eq!(days_since_1970(2026, 11, 21), 20_778);
    }
}
