//! How long something took, each time it happened: a histogram written by one thread and read by any.
//!
//! Every sample counts, and adding one is a few plain stores: no lock, no allocation, nothing that would disturb what
//! is measured. Buckets are as fine as 1/64 of their value, so that percentiles are right to 1.6 percent; smallest,
//! largest and mean are exact. The rejected alternative, keeping all samples and sorting them, ends with its memory.

use core::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

/// Buckets per power of two, as a power of two.
const FINENESS: u32 = 6;
const PER_OCTAVE: usize = 1 << FINENESS;
/// Values below `2 * PER_OCTAVE` have buckets of their own; every further octave has [`PER_OCTAVE`].
const BUCKETS: usize = (u64::BITS - FINENESS + 1) as usize * PER_OCTAVE;

/// Ends of the steps in which people see it, in nanoseconds: 1, 2, 5 and so on, from a microsecond to a millisecond.
pub const STEP_ENDS_NS: [u64; 10] =
    [1_000, 2_000, 5_000, 10_000, 20_000, 50_000, 100_000, 200_000, 500_000, 1_000_000];
/// Steps: those that end, and what is longer than all of them.
pub const STEPS: usize = STEP_ENDS_NS.len() + 1;

/// See the module.
#[derive(Debug)]
pub struct Histogram {
    buckets: [AtomicU32; BUCKETS],
    steps: [AtomicU32; STEPS],
    count: AtomicU64,
    sum: AtomicU64,
    min: AtomicU64,
    max: AtomicU64,
}

impl Histogram {
    /// Nothing measured yet.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            buckets: [const { AtomicU32::new(0) }; BUCKETS],
            steps: [const { AtomicU32::new(0) }; STEPS],
            count: AtomicU64::new(0),
            sum: AtomicU64::new(0),
            min: AtomicU64::new(u64::MAX),
            max: AtomicU64::new(0),
        }
    }

    /// Adds a sample. By one thread only.
    pub fn add(&self, value: u64) {
        for counter in [&self.buckets[bucket_of(value)], &self.steps[step_of(value)]] {
            counter.store(counter.load(Relaxed).saturating_add(1), Relaxed);
        }
        self.sum.store(self.sum.load(Relaxed).saturating_add(value), Relaxed);
        self.min.store(self.min.load(Relaxed).min(value), Relaxed);
        self.max.store(self.max.load(Relaxed).max(value), Relaxed);
        self.count.store(self.count.load(Relaxed) + 1, Relaxed);
    }

    /// Samples.
    pub fn count(&self) -> u64 {
        self.count.load(Relaxed)
    }

    /// The smallest sample; 0 when there is none.
    pub fn min(&self) -> u64 {
        if self.count() == 0 { 0 } else { self.min.load(Relaxed) }
    }

    /// The largest sample; 0 when there is none.
    pub fn max(&self) -> u64 {
        self.max.load(Relaxed)
    }

    /// The mean.
    pub fn mean(&self) -> u64 {
        self.sum.load(Relaxed).checked_div(self.count()).unwrap_or(0)
    }

    /// A value that `percent` of all samples do not exceed, and the others do by no more than a bucket.
    pub fn percentile(&self, percent: u64) -> u64 {
        let wanted = (self.count() * percent).div_ceil(100).max(1);
        let mut seen = 0;
        let found = self.buckets.iter().position(|bucket| {
            seen += u64::from(bucket.load(Relaxed));
            seen >= wanted
        });
        found.map_or(self.max(), |bucket| last_of(bucket).min(self.max()))
    }

    /// Samples in each step: below 1 µs, from there below 2 µs, and so on.
    pub fn steps(&self) -> [u32; STEPS] {
        core::array::from_fn(|step| self.steps[step].load(Relaxed))
    }
}

impl Default for Histogram {
    fn default() -> Self {
        Self::new()
    }
}

fn bucket_of(value: u64) -> usize {
    let octaves = (u64::BITS - value.leading_zeros()).saturating_sub(FINENESS + 1);
    octaves as usize * PER_OCTAVE + (value >> octaves) as usize
}

/// The largest value of a bucket.
fn last_of(bucket: usize) -> u64 {
    let octaves = (bucket / PER_OCTAVE).saturating_sub(1);
    let next = (bucket - octaves * PER_OCTAVE) as u128 + 1;
    ((next << octaves) - 1) as u64
}

fn step_of(value: u64) -> usize {
    STEP_ENDS_NS.iter().position(|end| value < *end).unwrap_or(STEP_ENDS_NS.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    #[test]
    fn buckets_are_in_order_narrow_and_without_holes() {
        let mut values: Vec<u64> = (0..1000).collect();
        values.extend((10..64).flat_map(|bit| [(1 << bit) - 1, 1 << bit, (1 << bit) + (1 << (bit - 2))]));
        values.push(u64::MAX);
        for value in values {
            let bucket = bucket_of(value);
            let last = last_of(bucket);
            assert!(bucket < BUCKETS && last >= value, "{value} is in {bucket}, which ends at {last}");
            assert!(last - value <= value / PER_OCTAVE as u64, "{value} is in a bucket up to {last}");
            assert!(last == u64::MAX || bucket_of(last + 1) == bucket + 1);
        }
        assert_eq!(bucket_of(u64::MAX), BUCKETS - 1);
    }

    #[test]
    fn percentiles_are_those_of_the_samples() {
        let histogram = Histogram::new();
        (1..=100).rev().for_each(|value| histogram.add(value));
        assert_eq!([1, 50, 99, 100].map(|percent| histogram.percentile(percent)), [1, 50, 99, 100]);
        assert_eq!((histogram.min(), histogram.mean(), histogram.max()), (1, 50, 100));
        histogram.add(1_000_001);
        assert_eq!(histogram.percentile(99), 100);
        assert_eq!(histogram.percentile(100), 1_000_001, "never more than the largest sample");
    }

    #[test]
    fn one_slow_sample_in_many_is_seen_by_the_maximum_only() {
        let histogram = Histogram::new();
        (0..9_999).for_each(|_| histogram.add(1_500));
        histogram.add(700_000);
        assert!((1_500..=1_524).contains(&histogram.percentile(99)));
        assert_eq!(histogram.max(), 700_000);
        let mut expected = [0; STEPS];
        (expected[1], expected[9]) = (9_999, 1);
        assert_eq!(histogram.steps(), expected);
    }

    #[test]
    fn steps_begin_at_their_first_value() {
        let histogram = Histogram::new();
        STEP_ENDS_NS.iter().flat_map(|end| [end - 1, *end]).for_each(|value| histogram.add(value));
        assert_eq!(histogram.steps()[0], 1);
        assert_eq!(histogram.steps()[STEPS - 1], 1);
        assert!(histogram.steps()[1..STEPS - 1].iter().all(|count| *count == 2));
    }

    #[test]
    fn nothing_measured_is_no_measurement() {
        let histogram = Histogram::new();
        let all = (histogram.count(), histogram.min(), histogram.mean(), histogram.max());
        assert_eq!(all, (0, 0, 0, 0));
        assert_eq!(histogram.percentile(99), 0);
    }
}
