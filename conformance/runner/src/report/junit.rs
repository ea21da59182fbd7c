//! The results as JUnit XML: a suite for each group of tests.

use std::time::Duration;

use quick_junit::{NonSuccessKind, TestCase, TestCaseStatus, TestSuite};

use super::{Report, TestResult};
use crate::verdict::Verdict;

/// The text of the file.
pub(super) fn render(report: &Report<'_>) -> String {
    let mut document = quick_junit::Report::new(format!("pvops conformance: {}", report.target));
    let tests = &report.outcome.tests;
    for group in tests.chunk_by(|one, other| one.group() == other.group()) {
        let mut suite = TestSuite::new(group[0].group());
        suite.add_test_cases(group.iter().map(case));
        document.add_test_suite(suite);
    }
    if !report.outcome.problems.is_empty() {
        let mut suite = TestSuite::new("problems");
        for (number, problem) in (1..).zip(&report.outcome.problems) {
            let status = status(problem.verdict, &problem.text);
            let mut case = TestCase::new(format!("problem {number}"), status);
            case.set_system_out(problem.log.join("\n"));
            suite.add_test_case(case);
        }
        document.add_test_suite(suite);
    }
    document.to_string().expect("memory takes whatever is written")
}

fn case(test: &TestResult) -> TestCase {
    let mut case = TestCase::new(test.name.as_str(), status(test.verdict, &test.detail));
    case.set_classname(test.group()).set_time(Duration::from_secs_f64(test.seconds));
    if test.verdict.is_bad() {
        case.set_system_out(test.log.join("\n"));
    }
    case
}

fn status(verdict: Verdict, detail: &str) -> TestCaseStatus {
    let mut status = match verdict {
        Verdict::Pass => return TestCaseStatus::success(),
        Verdict::Skip => TestCaseStatus::skipped(),
        Verdict::Fail => TestCaseStatus::non_success(NonSuccessKind::Failure),
        Verdict::Error | Verdict::Timeout | Verdict::Crash => {
            TestCaseStatus::non_success(NonSuccessKind::Error)
        }
    };
    status.set_message(detail).set_type(verdict.word());
    status
}
