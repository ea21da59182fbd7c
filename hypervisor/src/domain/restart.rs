//! How often a domain that crashed is started anew.

use core::cell::Cell;
use system_image::CrashPolicy;
use system_image::layout::MAX_RESTARTS;

const NS_PER_SECOND: u64 = 1_000_000_000;

/// When the domain was started anew because of a crash, the latest ones.
#[derive(Debug)]
pub struct RestartLog {
    /// Until when each counts; a ring.
    ends_ns: [Cell<u64>; MAX_RESTARTS as usize],
    next: Cell<usize>,
}

impl RestartLog {
    /// Not started anew yet.
    #[must_use]
    pub const fn new() -> Self {
        Self { ends_ns: [const { Cell::new(0) }; MAX_RESTARTS as usize], next: Cell::new(0) }
    }

    /// Whether `policy` allows one more at `now_ns`; it is noted then.
    pub fn allow(&self, policy: CrashPolicy, now_ns: u64) -> bool {
        let CrashPolicy::Restart { times, within_seconds } = policy else { return false };
        let next = self.next.get();
        let end_ns = |place: usize| &self.ends_ns[place % MAX_RESTARTS as usize];
        // If the one so many times ago does not count any more, there were fewer since.
        if now_ns < end_ns(next.wrapping_sub(times as usize)).get() {
            return false;
        }
        end_ns(next).set(now_ns.saturating_add(u64::from(within_seconds) * NS_PER_SECOND));
        self.next.set(next.wrapping_add(1));
        true
    }
}

impl Default for RestartLog {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const THREE_IN_TEN: CrashPolicy = CrashPolicy::Restart { times: 3, within_seconds: 10 };
    const SECOND: u64 = NS_PER_SECOND;

    #[test]
    fn as_many_as_the_policy_says_then_no_more() {
        let log = RestartLog::new();
        assert!([1, 2, 3].into_iter().all(|second| log.allow(THREE_IN_TEN, second * SECOND)));
        assert!(!log.allow(THREE_IN_TEN, 4 * SECOND));
        assert!(!log.allow(THREE_IN_TEN, 11 * SECOND - 1));
    }

    #[test]
    fn old_ones_do_not_count_and_refused_ones_neither() {
        let log = RestartLog::new();
        assert!([1, 2, 3].into_iter().all(|second| log.allow(THREE_IN_TEN, second * SECOND)));
        assert!(!log.allow(THREE_IN_TEN, 10 * SECOND));
        assert!(log.allow(THREE_IN_TEN, 11 * SECOND));
        assert!(!log.allow(THREE_IN_TEN, 11 * SECOND), "those of seconds 2, 3 and 11");
        assert!(log.allow(THREE_IN_TEN, 12 * SECOND));
    }

    #[test]
    fn the_longest_log_and_the_longest_window() {
        let most = CrashPolicy::Restart { times: MAX_RESTARTS, within_seconds: u32::MAX };
        let log = RestartLog::new();
        assert!((0..u64::from(MAX_RESTARTS)).all(|second| log.allow(most, second * SECOND)));
        assert!(!log.allow(most, 1_000_000 * SECOND));
    }

    #[test]
    fn other_policies_never_restart() {
        let log = RestartLog::new();
        assert!(!log.allow(CrashPolicy::Stop, 0));
        assert!(!log.allow(CrashPolicy::HaltSystem, 0));
    }
}
