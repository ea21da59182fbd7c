//! `cargo pv coverage`: does each requirement of the specification have a test?
//!
//! The suite names its tests and what they cover itself; for that it is booted. How other tests cite requirements is
//! told in [`citations`].

mod citations;

use std::collections::{BTreeMap, BTreeSet};
use std::process::ExitCode;

use clap::Args;
use conformance_runner::spec::{self, Chapter, Requirement, Specification};
use conformance_runner::{Request, SHUTDOWN_REQUIREMENTS, SHUTDOWN_TEST, command};

use super::conform::Tools;
use crate::building::{self, Kernel};
use crate::failure::{Failure, Kind};
use crate::workspace::Workspace;
use citations::Citation;

/// The target that lists the suite's tests: the fastest.
const LISTING_TARGET: &str = "native-bios";
/// Characters of a requirement that are printed.
const BRIEF: usize = 90;

/// Options of `cargo pv coverage`.
#[derive(Args)]
pub struct Arguments {
    /// Print every requirement with its tests
    #[arg(long)]
    all: bool,
}

/// Runs the command.
pub fn execute(workspace: &Workspace, arguments: &Arguments) -> Result<ExitCode, Failure> {
    let specification = Specification::read(&workspace.specification())?;
    let untestable = spec::untestable(&workspace.specification())?;
    let mut citations = citations::in_sources(&workspace.root)?;
    citations.extend(citations::in_attacks(&workspace.specification())?);
    citations.extend(of_the_suite(workspace)?);
    let coverage = Coverage::new(&specification, &untestable, citations);
    coverage.print(arguments.all);
    let problems = coverage.problems();
    for problem in &problems {
        println!("{problem}");
    }
    Ok(if problems.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(Kind::CheckFailed as u8) })
}

/// What the suite says of itself, and the test that the runner makes.
fn of_the_suite(workspace: &Workspace) -> Result<Vec<Citation>, Failure> {
    let request = Request {
        target: command::target(LISTING_TARGET, &workspace.targets())?,
        guest: building::kernel(workspace, Kernel::ConformanceSuite)?,
        cpus: 1,
        filter: String::new(),
        lists_only: true,
    };
    let planned = conformance_runner::list(&request, &Tools::new(workspace))?;
    let cites = |test: &str, ids: &[String]| -> Vec<Citation> {
        ids.iter().map(|id| Citation { id: id.clone(), test: format!("suite {test}") }).collect()
    };
    let mut citations: Vec<Citation> =
        planned.iter().flat_map(|test| cites(&test.name, &test.requirements)).collect();
    citations.extend(cites(SHUTDOWN_TEST, &SHUTDOWN_REQUIREMENTS.map(String::from)));
    Ok(citations)
}

/// Requirements and the tests that cite them.
struct Coverage<'a> {
    specification: &'a Specification,
    untestable: &'a BTreeMap<String, String>,
    /// By id.
    tests: BTreeMap<String, BTreeSet<String>>,
}

/// How a requirement stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    /// A test cites it.
    Tested,
    /// No test can show it.
    Untestable,
    /// It states a freedom: nothing has to be shown.
    Freedom,
    /// It has no test, and should.
    Missing,
}

impl<'a> Coverage<'a> {
    fn new(
        specification: &'a Specification,
        untestable: &'a BTreeMap<String, String>,
        citations: Vec<Citation>,
    ) -> Self {
        let mut tests = BTreeMap::<String, BTreeSet<String>>::new();
        for Citation { id, test } in citations {
            tests.entry(id).or_default().insert(test);
        }
        Self { specification, untestable, tests }
    }

    fn standing(&self, requirement: &Requirement) -> Standing {
        if self.tests.contains_key(&requirement.id) {
            Standing::Tested
        } else if self.untestable.contains_key(&requirement.id) {
            Standing::Untestable
        } else if requirement.is_must() {
            Standing::Missing
        } else {
            Standing::Freedom
        }
    }

    fn count(&self, chapter: &Chapter, standing: Standing) -> usize {
        chapter.requirements.iter().filter(|asked| self.standing(asked) == standing).count()
    }

    fn print(&self, all: bool) {
        use Standing::{Freedom, Missing, Tested, Untestable};
        println!("{:<42}{:>8}{:>12}{:>10}{:>10}", "", "tested", "untestable", "freedoms", "no test");
        let mut totals = [0; 4];
        for chapter in &self.specification.chapters {
            let counts = [Tested, Untestable, Freedom, Missing].map(|standing| self.count(chapter, standing));
            totals = std::array::from_fn(|index| totals[index] + counts[index]);
            print_row(&chapter.title, counts);
            if all {
                chapter.requirements.iter().for_each(|asked| self.print_tests(asked));
            }
        }
        print_row("all", totals);
    }

    fn print_tests(&self, asked: &Requirement) {
        println!("  {} {}", asked.id, asked.brief(BRIEF));
        for test in self.tests.get(&asked.id).into_iter().flatten() {
            println!("      {test}");
        }
        if let Some(reason) = self.untestable.get(&asked.id) {
            println!("      untestable: {reason}");
        }
    }

    /// Everything that must not be.
    fn problems(&self) -> Vec<String> {
        let missing =
            self.specification.requirements().filter(|asked| self.standing(asked) == Standing::Missing);
        let mut problems: Vec<String> =
            missing.map(|asked| format!("no test: {} {}", asked.id, asked.brief(BRIEF))).collect();
        for (id, tests) in &self.tests {
            let first = tests.first().map_or("", String::as_str);
            if !self.specification.has(id) {
                problems.push(format!("unknown: {id} is cited by {first}"));
            } else if self.untestable.contains_key(id) {
                problems.push(format!("tested after all: {id} is listed as untestable, {first} cites it"));
            }
        }
        let unknown = self.untestable.keys().filter(|id| !self.specification.has(id));
        problems.extend(unknown.map(|id| format!("unknown: {id} is listed as untestable")));
        problems
    }
}

fn print_row(title: &str, [tested, untestable, freedoms, missing]: [usize; 4]) {
    println!("{title:<42}{tested:>8}{untestable:>12}{freedoms:>10}{missing:>10}");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn specification() -> Specification {
        let asked = |id: &str, text: &str| Requirement { id: id.into(), text: text.into() };
        let requirements = vec![
            asked("AB-001", "It MUST."),
            asked("AB-002", "It MUST, too."),
            asked("AB-003", "It MAY."),
            asked("AB-004", "It MUST in secret."),
        ];
        let chapter = Chapter { file: "ab.md".into(), title: "AB".into(), requirements };
        Specification { chapters: vec![chapter] }
    }

    fn problems(untestable: &[&str], cited: &[&str]) -> Vec<String> {
        let specification = specification();
        let untestable = untestable.iter().map(|&id| (id.to_owned(), "why".to_owned())).collect();
        let cite = |id: &&str| Citation { id: (*id).to_owned(), test: "test".into() };
        Coverage::new(&specification, &untestable, cited.iter().map(cite).collect()).problems()
    }

    #[test]
    fn all_is_well_when_each_must_is_tested_or_excused() {
        assert!(problems(&["AB-004"], &["AB-001", "AB-002", "AB-001"]).is_empty());
    }

    #[test]
    fn gaps_and_mistakes_are_found() {
        assert_eq!(problems(&["AB-004"], &["AB-001"]), ["no test: AB-002 It MUST, too."]);
        let found = problems(&["AB-001", "AB-004", "ZZ-001"], &["AB-001", "AB-002", "ZZ-002"]);
        assert_eq!(found.len(), 3, "{found:?}");
        assert!(found[0].contains("tested after all: AB-001") && found[1].contains("ZZ-002"));
        assert!(found[2].contains("ZZ-001"));
    }
}
