//! What a run came to, and the files that say so.

mod html;
mod json;
mod junit;
mod tap;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::failure::Failure;
use crate::spec::Specification;
use crate::verdict::Verdict;

/// What the suite said of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Suite {
    /// Its version.
    pub version: String,
    /// The backend that it found.
    pub backend: String,
    /// The ring that it runs in.
    pub ring: String,
}

/// A test and what became of it.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct TestResult {
    /// `<group>.<name>`.
    pub name: String,
    /// `abi`, `ops`, or `run` for what the runner itself looks at.
    pub kind: String,
    /// The requirements that it covers.
    pub requirements: Vec<String>,
    /// What became of it.
    pub verdict: Verdict,
    /// Text for people.
    pub detail: String,
    /// The console while it ran.
    pub log: Vec<String>,
    /// By the host's clock.
    pub seconds: f64,
}

impl TestResult {
    /// The part of its name before the dot.
    pub(crate) fn group(&self) -> &str {
        self.name.split_once('.').map_or(self.name.as_str(), |(group, _)| group)
    }
}

/// Something wrong with the run as a whole.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Problem {
    /// How bad it is.
    pub verdict: Verdict,
    /// What it is.
    pub text: String,
    /// The end of the console.
    pub log: Vec<String>,
}

impl Problem {
    /// A problem, with console lines that show it.
    pub(crate) fn new(verdict: Verdict, text: impl Into<String>, log: &[String]) -> Self {
        Self { verdict, text: text.into(), log: log.to_vec() }
    }
}

/// What a run came to.
#[derive(Clone, Debug)]
pub(crate) struct Outcome {
    /// The suite, if it was heard of.
    pub suite: Option<Suite>,
    /// All planned tests.
    pub tests: Vec<TestResult>,
    /// What is wrong with the run.
    pub problems: Vec<Problem>,
    /// How often the target was started.
    pub starts: u32,
    /// The command of the last start.
    pub command: Vec<String>,
    /// The console of all starts.
    pub console: String,
}

impl Outcome {
    /// The verdict of the whole run.
    pub(crate) fn verdict(&self) -> Verdict {
        // That the runner found the shutdown right proves nothing by itself.
        let tests = self.tests.iter().filter(|test| test.kind != "run" || test.verdict.is_bad());
        let problems = self.problems.iter().map(|problem| problem.verdict);
        Verdict::of_run(tests.map(|test| test.verdict).chain(problems))
    }

    /// How many tests came to `verdict`.
    pub(crate) fn count(&self, verdict: Verdict) -> usize {
        self.tests.iter().filter(|test| test.verdict == verdict).count()
    }

    /// All counts that are not 0, as a sentence.
    pub(crate) fn counts(&self) -> String {
        let counts = Verdict::ALL.iter().filter_map(|&verdict| match self.count(verdict) {
            0 => None,
            count => Some(format!("{count} {verdict}")),
        });
        let counts: Vec<String> = counts.collect();
        if counts.is_empty() { "nothing ran".into() } else { counts.join(", ") }
    }
}

/// A run with all that has to be known about it.
pub(crate) struct Report<'a> {
    /// The name of the target.
    pub target: &'a str,
    /// Its description.
    pub description: &'a str,
    /// CPUs of the machine.
    pub cpus: u32,
    /// The beginning of the names that were selected.
    pub filter: &'a str,
    /// SHA-256 of the suite's ELF.
    pub suite_sha256: &'a str,
    /// When it began, for people.
    pub started: String,
    /// How long it took.
    pub seconds: f64,
    /// What it came to.
    pub outcome: &'a Outcome,
    /// The requirements.
    pub specification: &'a Specification,
    /// Requirements that no test can show, with the reason.
    pub untestable: &'a BTreeMap<String, String>,
}

/// A requirement with the tests that cover it.
pub(crate) struct Covered<'a> {
    /// Its tests.
    pub tests: Vec<&'a TestResult>,
    /// The verdict that they come to, if there are any.
    pub verdict: Option<Verdict>,
}

impl Report<'_> {
    /// The tests that cover `id`, and what they came to.
    pub(crate) fn covered(&self, id: &str) -> Covered<'_> {
        let covers = |test: &&TestResult| test.requirements.iter().any(|requirement| requirement == id);
        let tests: Vec<&TestResult> = self.outcome.tests.iter().filter(covers).collect();
        let verdict = (!tests.is_empty()).then(|| Verdict::of_run(tests.iter().map(|test| test.verdict)));
        Covered { tests, verdict }
    }

    /// Writes all files into `folder`, which is made if need be.
    pub(crate) fn write(&self, folder: &Path) -> Result<Vec<PathBuf>, Failure> {
        fs::create_dir_all(folder).map_err(|error| Failure::file("create", folder, &error))?;
        let files = [
            ("report.html", html::render(self)),
            ("report.json", json::render(self)),
            ("junit.xml", junit::render(self)),
            ("results.tap", tap::render(self)),
            ("console.txt", self.outcome.console.clone()),
        ];
        let mut written = Vec::new();
        for (name, text) in files {
            let path = folder.join(name);
            fs::write(&path, text).map_err(|error| Failure::file("write", &path, &error))?;
            written.push(path);
        }
        Ok(written)
    }
}
