//! Verdicts, and what those of tests make of a run: the worst wins.

use std::fmt;

use serde::Serialize;

/// What became of a test or of a run. The order is from good to bad.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// Every check held.
    Pass,
    /// It does not apply here, such as a test of an optional extension that is absent.
    Skip,
    /// The suite, the target's description or the machine is at fault: nothing is proved.
    Error,
    /// The target broke a promise.
    Fail,
    /// The target went down, or the suite on it.
    Crash,
    /// The target was silent for too long, or the time was up.
    Timeout,
}

impl Verdict {
    /// All of them, from good to bad.
    pub const ALL: [Self; 6] = [Self::Pass, Self::Skip, Self::Error, Self::Fail, Self::Crash, Self::Timeout];

    /// The word in reports.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Skip => "skip",
            Self::Error => "error",
            Self::Fail => "fail",
            Self::Timeout => "timeout",
            Self::Crash => "crash",
        }
    }

    /// The verdict that the suite writes as `word`; it knows the first four only.
    pub fn of_suite(word: &str) -> Option<Self> {
        Self::ALL[..4].iter().copied().find(|verdict| verdict.word() == word)
    }

    /// Whether somebody has to look at it.
    pub const fn is_bad(self) -> bool {
        !matches!(self, Self::Pass | Self::Skip)
    }

    /// The exit code of a run that came to this.
    pub const fn exit_code(self) -> u8 {
        match self {
            Self::Pass => 0,
            Self::Fail => 110,
            Self::Error => 111,
            Self::Skip => 112,
            Self::Crash => 113,
            Self::Timeout => 114,
        }
    }

    /// The verdict of a whole run. What was skipped does no harm as long as something passed; a run without any
    /// verdict proved nothing.
    pub fn of_run(verdicts: impl IntoIterator<Item = Self>) -> Self {
        let (mut worst, mut passed) = (None, false);
        for verdict in verdicts {
            worst = worst.max(Some(verdict));
            passed |= verdict == Self::Pass;
        }
        match worst {
            Some(Self::Skip) if passed => Self::Pass,
            Some(worst) => worst,
            None => Self::Error,
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.word())
    }
}

#[cfg(test)]
mod tests {
    use super::Verdict::{self, *};

    #[test]
    fn the_worst_verdict_wins() {
        assert_eq!(Verdict::of_run([Pass, Fail, Error]), Fail);
        assert_eq!(Verdict::of_run([Crash, Fail]), Crash);
        assert_eq!(Verdict::of_run([Timeout, Crash, Pass]), Timeout);
    }

    #[test]
    fn skipped_tests_do_no_harm_but_prove_nothing() {
        assert_eq!(Verdict::of_run([Skip, Pass]), Pass);
        assert_eq!(Verdict::of_run([Skip, Skip]), Skip);
        assert_eq!(Verdict::of_run([]), Error);
    }

    #[test]
    fn each_has_an_exit_code_of_its_own() {
        let mut codes = Verdict::ALL.map(Verdict::exit_code);
        codes.sort_unstable();
        assert!(codes.windows(2).all(|pair| pair[0] != pair[1]));
    }

    #[test]
    fn the_suite_cannot_claim_a_crash() {
        assert_eq!(Verdict::of_suite("fail"), Some(Fail));
        assert_eq!(Verdict::of_suite("crash"), None);
    }
}
