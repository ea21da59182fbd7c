//! What the real-time thread writes down. It is the only writer, by plain stores, so that anybody may look meanwhile.

use super::plan::Plan;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use demo_logic::histogram::Histogram;
use spin::Once;

/// The record of this kernel's one real-time thread.
pub(super) static RECORD: Record = Record {
    latency: Histogram::new(),
    work: Histogram::new(),
    missed: AtomicU64::new(0),
    early: AtomicU64::new(0),
    changed: AtomicU64::new(0),
    last_began: AtomicU64::new(0),
    longest_gap: AtomicU64::new(0),
    worst_lately: AtomicU64::new(0),
    checksum: AtomicU64::new(0),
    samples: Once::new(),
};

/// All times in nanoseconds.
pub(super) struct Record {
    /// From release to the thread's first instruction.
    pub(super) latency: Histogram,
    /// From there to the end of the work.
    pub(super) work: Histogram,
    /// Runs that ended after the next release.
    pub(super) missed: AtomicU64,
    /// Runs that began before their release.
    pub(super) early: AtomicU64,
    /// Parts of the memory that were not as they were left.
    pub(super) changed: AtomicU64,
    last_began: AtomicU64,
    /// Longest time from the beginning of a run to that of the next.
    pub(super) longest_gap: AtomicU64,
    /// Largest latency since somebody took it.
    worst_lately: AtomicU64,
    /// Of the memory, at the end.
    pub(super) checksum: AtomicU64,
    /// Each latency, in order, if they are to be kept: as many as there is room for.
    samples: Once<Vec<AtomicU32>>,
}

/// Clock values of one run.
pub(super) struct Run {
    pub(super) release: u64,
    pub(super) began: u64,
    pub(super) ended: u64,
    /// The next release, by which the work must be done.
    pub(super) next: u64,
}

impl Record {
    /// Has the first `count` latencies kept. Takes the memory for them now, not while it matters.
    pub(super) fn keep_samples(&self, count: usize) {
        self.samples.call_once(|| (0..count).map(|_| AtomicU32::new(0)).collect());
    }

    /// The latencies that were kept.
    pub(super) fn samples(&self) -> impl Iterator<Item = u32> {
        self.samples.get().into_iter().flatten().map(|sample| sample.load(Relaxed))
    }

    /// Adds a run.
    pub(super) fn add(&self, run: &Run) {
        let latency = run.began.saturating_sub(run.release);
        let number = self.latency.count() as usize;
        if let Some(sample) = self.samples.get().and_then(|samples| samples.get(number)) {
            sample.store(u32::try_from(latency).unwrap_or(u32::MAX), Relaxed);
        }
        self.latency.add(latency);
        self.work.add(run.ended - run.began);
        increase(&self.early, u64::from(run.began < run.release));
        increase(&self.missed, u64::from(run.ended > run.next));
        self.worst_lately.fetch_max(latency, Relaxed);
        let before = self.last_began.load(Relaxed);
        if before != 0 {
            self.longest_gap.fetch_max(run.began - before, Relaxed);
        }
        self.last_began.store(run.began, Relaxed);
    }

    /// Adds parts of the memory that were changed.
    pub(super) fn add_changed(&self, parts: usize) {
        increase(&self.changed, parts as u64);
    }

    /// The largest latency since the last call.
    pub(super) fn take_worst_lately(&self) -> u64 {
        self.worst_lately.swap(0, Relaxed)
    }

    /// Whether something happened that `plan` calls a failure.
    pub(super) fn has_failed(&self, plan: &Plan) -> bool {
        let missed = plan.strict && self.missed.load(Relaxed) != 0;
        missed || self.early.load(Relaxed) != 0 || self.changed.load(Relaxed) != 0
    }
}

fn increase(counter: &AtomicU64, by: u64) {
    counter.store(counter.load(Relaxed) + by, Relaxed);
}
