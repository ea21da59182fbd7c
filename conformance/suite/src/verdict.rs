//! Verdicts, and how those of single checks make one of a test: the worst wins.

/// What became of a test. The order is from good to bad.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Verdict {
    /// All checks held.
    Pass,
    /// The test does not apply here.
    Skip,
    /// The suite could not do what it wanted: our fault, or a machine too small.
    Error,
    /// The subject broke a promise.
    Fail,
}

impl Verdict {
    /// The word in the report.
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Skip => "skip",
            Self::Error => "error",
            Self::Fail => "fail",
        }
    }
}

/// How many tests came to what.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(crate) struct Totals {
    pub(crate) passed: u32,
    pub(crate) failed: u32,
    pub(crate) errors: u32,
    pub(crate) skipped: u32,
}

impl Totals {
    /// Counts one more test.
    pub(crate) fn add(&mut self, verdict: Verdict) {
        *match verdict {
            Verdict::Pass => &mut self.passed,
            Verdict::Skip => &mut self.skipped,
            Verdict::Error => &mut self.errors,
            Verdict::Fail => &mut self.failed,
        } += 1;
    }

    /// Whether the suite succeeded. A run in which nothing passed proved nothing.
    pub(crate) const fn is_success(&self) -> bool {
        self.failed == 0 && self.errors == 0 && self.passed > 0
    }
}

#[cfg(test)]
mod tests {
    use super::{Totals, Verdict};

    #[test]
    fn the_worst_verdict_wins() {
        let all = [Verdict::Skip, Verdict::Pass, Verdict::Fail, Verdict::Error];
        assert_eq!(all.into_iter().max(), Some(Verdict::Fail));
        assert_eq!(all[..2].iter().max(), Some(&Verdict::Skip));
    }

    #[test]
    fn errors_and_silence_are_no_success() {
        let mut totals = Totals::default();
        assert!(!totals.is_success());
        totals.add(Verdict::Pass);
        totals.add(Verdict::Skip);
        assert!(totals.is_success());
        totals.add(Verdict::Error);
        assert!(!totals.is_success());
        assert_eq!(Verdict::Error.word(), "error");
    }
}
