//! Arithmetic of clocks: ticks to nanoseconds and back, and calendar time.

/// Nanoseconds in a second.
pub(crate) const NANOSECONDS: u64 = 1_000_000_000;

/// Converts a count of ticks to another unit by one multiplication: a fraction of 2^32.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Scale(u64);

impl Scale {
    /// From ticks of `from_hz` to ticks of `to_hz`. `from_hz` is not 0 and the ratio is below 2^32.
    pub(crate) const fn new(from_hz: u64, to_hz: u64) -> Self {
        Self((((to_hz as u128) << 32) / from_hz as u128) as u64)
    }

    /// The fraction of 2^32 itself, to be kept in a word.
    pub(crate) const fn fraction(self) -> u64 {
        self.0
    }

    /// From what [`Self::fraction`] gave.
    pub(crate) const fn from_fraction(fraction: u64) -> Self {
        Self(fraction)
    }

    /// Converts, rounding down; the error is below one part in 2^32 of the ratio.
    pub(crate) const fn apply(self, ticks: u64) -> u64 {
        ((ticks as u128 * self.0 as u128) >> 32) as u64
    }
}

/// Ticks per second, from a number of ticks counted while a reference of `reference_hz` advanced by
/// `reference_ticks` (not 0).
pub(crate) const fn frequency(ticks: u64, reference_ticks: u64, reference_hz: u64) -> u64 {
    (ticks as u128 * reference_hz as u128 / reference_ticks as u128) as u64
}

/// Registers of the real-time clock as read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct RtcRegisters {
    pub(crate) second: u8,
    pub(crate) minute: u8,
    pub(crate) hour: u8,
    pub(crate) day: u8,
    pub(crate) month: u8,
    pub(crate) year: u8,
    /// The century register, where firmware names one.
    pub(crate) century: Option<u8>,
    /// Status register B: bit 1 24-hour mode, bit 2 binary mode (MC146818 data sheet).
    pub(crate) status_b: u8,
}

impl RtcRegisters {
    /// Seconds since 1970-01-01T00:00:00Z; the clock is taken to run in UTC.
    pub(crate) fn unix_seconds(&self) -> u64 {
        let binary = self.status_b & 4 != 0;
        let number = |value: u8| {
            if binary { u64::from(value) } else { u64::from(value >> 4) * 10 + u64::from(value & 15) }
        };
        let hour = if self.status_b & 2 != 0 {
            number(self.hour)
        } else {
            number(self.hour & 0x7f) % 12 + if self.hour & 0x80 != 0 { 12 } else { 0 }
        };
        let century = self.century.map(number).filter(|century| (19..=29).contains(century)).unwrap_or(20);
        let days = days_since_1970(century * 100 + number(self.year), number(self.month), number(self.day));
        ((days * 24 + hour) * 60 + number(self.minute)) * 60 + number(self.second)
    }
}

/// Days from 1970-01-01 to a date of the Gregorian calendar, from 1970 on. Counts years from March, so that
/// the leap day is the last of its year.
fn days_since_1970(year: u64, month: u64, day: u64) -> u64 {
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = year * 365 + year / 4 - year / 100 + year / 400 + (month * 153 + 2) / 5 + day;
    days.saturating_sub(719_469)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scale_can_be_kept_in_a_word() {
        let scale = Scale::new(2_500_000_000, NANOSECONDS);
        assert_eq!(Scale::from_fraction(scale.fraction()), scale);
        assert_eq!(Scale::from_fraction(0).apply(u64::MAX), 0);
    }

    #[test]
    fn scales_are_exact_for_whole_ratios_and_close_otherwise() {
        assert_eq!(Scale::new(NANOSECONDS, NANOSECONDS).apply(123_456_789), 123_456_789);
        let hz = 2_893_198_123;
        let ns = Scale::new(hz, NANOSECONDS);
        let hour = ns.apply(hz * 3600);
        assert!(hour.abs_diff(3600 * NANOSECONDS) < 4000, "{hour}");
        let ticks = Scale::new(NANOSECONDS, hz).apply(NANOSECONDS);
        assert!(ticks.abs_diff(hz) <= 1);
        assert!(ns.apply(u64::MAX) > 0, "no overflow");
    }

    #[test]
    fn frequencies() {
        assert_eq!(frequency(30_000_000, 1_000_000, 100_000_000), 3_000_000_000);
    }

    #[test]
    fn dates() {
        let mut clock = RtcRegisters {
            second: 0x59,
            minute: 0x30,
            hour: 0x23,
            day: 0x29,
            month: 0x02,
            year: 0x24,
            century: Some(0x20),
            status_b: 2,
        };
        assert_eq!(clock.unix_seconds(), 1_709_249_459);
        clock = RtcRegisters { hour: 0x81, status_b: 0, century: None, ..clock };
        assert_eq!(clock.unix_seconds(), 1_709_249_459 - 10 * 3600, "1 pm in 12-hour mode");
        let epoch = RtcRegisters {
            second: 0,
            minute: 0,
            hour: 0,
            day: 1,
            month: 1,
            year: 70,
            century: Some(19),
            status_b: 6,
        };
        assert_eq!(epoch.unix_seconds(), 0);
    }
}
