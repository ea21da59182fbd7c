//! The results as TAP, version 14.

use std::fmt::Write;

use super::Report;
use crate::verdict::Verdict;

/// The text of the file.
pub(super) fn render(report: &Report<'_>) -> String {
    let outcome = report.outcome;
    let mut text = format!("TAP version 14\n1..{}\n", outcome.tests.len() + outcome.problems.len());
    let tests = outcome.tests.iter().map(|test| (&test.name[..], test.verdict, &test.detail, &test.log));
    let problems =
        outcome.problems.iter().map(|problem| ("run", problem.verdict, &problem.text, &problem.log));
    for (number, (name, verdict, detail, log)) in (1..).zip(tests.chain(problems)) {
        let result = if verdict.is_bad() { "not ok" } else { "ok" };
        let _ = write!(text, "{result} {number} - {name}");
        match verdict {
            Verdict::Pass => text.push('\n'),
            // A directive ends with its line and begins with a hash sign.
            Verdict::Skip => _ = writeln!(text, " # SKIP {}", detail.replace('#', "")),
            _ => diagnosis(&mut text, verdict, detail, log),
        }
    }
    text
}

/// A block of YAML; strings are quoted as in JSON, which is YAML.
fn diagnosis(text: &mut String, verdict: Verdict, detail: &str, log: &[String]) {
    let quoted = |string: &str| serde_json::Value::from(string).to_string();
    let _ = write!(text, "\n  ---\n  verdict: {verdict}\n  message: {}\n  console:", quoted(detail));
    text.push_str(if log.is_empty() { " []\n" } else { "\n" });
    for line in log {
        let _ = writeln!(text, "    - {}", quoted(line));
    }
    text.push_str("  ...\n");
}
