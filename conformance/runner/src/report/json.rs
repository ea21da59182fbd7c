//! The results as JSON, for programs.

use serde_json::{Value, json};

use super::Report;
use crate::verdict::Verdict;

/// The version of what is written.
const FORMAT: u32 = 1;

/// The text of the file.
pub(super) fn render(report: &Report<'_>) -> String {
    let outcome = report.outcome;
    let counts: serde_json::Map<String, Value> = Verdict::ALL
        .iter()
        .map(|&verdict| (verdict.word().to_owned(), Value::from(outcome.count(verdict))))
        .collect();
    let requirement = |id: &str, chapter: &str| {
        let covered = report.covered(id);
        let tests: Vec<&str> = covered.tests.iter().map(|test| test.name.as_str()).collect();
        json!({
            "id": id, "chapter": chapter, "verdict": covered.verdict, "tests": tests,
            "untestable": report.untestable.get(id),
        })
    };
    let requirements: Vec<Value> = report
        .specification
        .chapters
        .iter()
        .flat_map(|chapter| chapter.requirements.iter().map(|asked| requirement(&asked.id, &chapter.file)))
        .collect();
    let document = json!({
        "format": FORMAT,
        "verdict": outcome.verdict(),
        "target": {
            "name": report.target, "description": report.description, "cpus": report.cpus,
            "command": outcome.command,
        },
        "suite": { "sha256": report.suite_sha256, "said": outcome.suite },
        "filter": report.filter,
        "started": report.started,
        "seconds": report.seconds,
        "starts": outcome.starts,
        "counts": counts,
        "problems": outcome.problems,
        "tests": outcome.tests,
        "requirements": requirements,
    });
    format!("{document:#}\n")
}
