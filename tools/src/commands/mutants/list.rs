//! The list of mutants, `conformance/mutants.toml`, and its agreement with the source and the specification.

use std::collections::BTreeSet;
use std::fs;

use conformance_runner::Judged;
use conformance_runner::spec::Specification;
use serde::Deserialize;

use crate::failure::{Failure, Kind};
use crate::workspace::Workspace;

/// Where the numbers are defined, relative to the workspace.
const SOURCE: &str = "hypervisor/src/mutants.rs";

/// All mutants.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct List {
    mutant: Vec<Mutant>,
}

/// One of them.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Mutant {
    /// Its number in the source.
    pub(super) number: u8,
    /// Its name there.
    pub(super) name: String,
    /// What it violates.
    pub(super) requirement: String,
    /// What it does, for people.
    pub(super) breaks: String,
    /// The tests that are run, by the beginning of their names.
    pub(super) tests: String,
    /// CPUs of the machine.
    #[serde(default = "one")]
    pub(super) cpus: u32,
    /// Where it is run.
    #[serde(default = "usual_target")]
    pub(super) target: String,
}

const fn one() -> u32 {
    1
}

/// The fastest target with the hypervisor.
fn usual_target() -> String {
    "hypervisor-bios".into()
}

impl List {
    /// Reads and checks it.
    pub(super) fn read(workspace: &Workspace, specification: &Specification) -> Result<Self, Failure> {
        let read = |path: &std::path::Path| {
            fs::read_to_string(path).map_err(|error| Failure::file("read", path, &error))
        };
        let path = workspace.mutants();
        let list: Self = toml::from_str(&read(&path)?)
            .map_err(|error| Failure::new(Kind::CheckFailed, format!("{}: {error}", path.display())))?;
        let source = read(&workspace.root.join(SOURCE))?;
        let problems = list.problems(&source, |id| specification.has(id));
        if problems.is_empty() { Ok(list) } else { Err(Failure::new(Kind::CheckFailed, problems.join("\n"))) }
    }

    /// Numbers and names are the source's, each once, and the requirements exist.
    fn problems(&self, source: &str, is_requirement: impl Fn(&str) -> bool) -> Vec<String> {
        let in_source: BTreeSet<(String, u8)> = source.lines().filter_map(definition).collect();
        let listed: BTreeSet<(String, u8)> =
            self.mutant.iter().map(|mutant| (mutant.name.clone(), mutant.number)).collect();
        let mut problems = Vec::new();
        problems.extend(
            in_source.difference(&listed).map(|(name, number)| format!("{name} = {number} is not listed")),
        );
        problems.extend(
            listed.difference(&in_source).map(|(name, number)| format!("{SOURCE} has no {name} = {number}")),
        );
        let numbers: BTreeSet<u8> = self.mutant.iter().map(|mutant| mutant.number).collect();
        if numbers.len() != self.mutant.len() || numbers.contains(&0) {
            problems.push("each mutant has a number of its own, not 0".into());
        }
        let unknown = self.mutant.iter().filter(|mutant| !is_requirement(&mutant.requirement));
        problems.extend(unknown.map(|mutant| format!("{}: there is no {}", mutant.name, mutant.requirement)));
        problems
    }

    /// Those with these names; all if there are none.
    pub(super) fn select(&self, names: &[String]) -> Result<Vec<&Mutant>, Failure> {
        if names.is_empty() {
            return Ok(self.mutant.iter().collect());
        }
        let find = |name: &String| {
            let found = self.mutant.iter().find(|mutant| mutant.name == *name);
            found.ok_or_else(|| Failure::new(Kind::Usage, format!("there is no mutant {name}")))
        };
        names.iter().map(find).collect()
    }
}

/// A line of the source that defines a mutant.
fn definition(line: &str) -> Option<(String, u8)> {
    let (name, number) = line.trim().strip_suffix(',')?.split_once(" = ")?;
    let is_name = name.starts_with(|first: char| first.is_ascii_uppercase())
        && name.chars().all(|letter| letter.is_ascii_alphanumeric());
    Some((name.to_owned(), number.parse().ok().filter(|_| is_name)?))
}

impl Mutant {
    /// The test that noticed it: it failed, and cites what is violated.
    pub(super) fn killer<'a>(&self, tests: &'a [Judged]) -> Option<&'a Judged> {
        use conformance_runner::Verdict::{Crash, Fail, Timeout};
        let noticed = |test: &&Judged| matches!(test.verdict, Fail | Crash | Timeout);
        tests.iter().filter(noticed).find(|test| test.requirements.contains(&self.requirement))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use conformance_runner::Verdict;

    fn mutant(name: &str, number: u8) -> Mutant {
        let (requirement, text) = ("EVT-005".to_owned(), String::new());
        Mutant {
            number,
            name: name.into(),
            requirement,
            breaks: text.clone(),
            tests: text,
            cpus: 1,
            target: usual_target(),
        }
    }

    #[test]
    fn the_list_is_the_sources() {
        let list =
            List { mutant: vec![mutant("EventLost", 1), mutant("NotThere", 2), mutant("EventLost", 1)] };
        let source = "        EventLost = 1,\n        Unlisted = 7,\n    let x = 5,\n";
        let problems = list.problems(source, |id| id != "EVT-005");
        assert_eq!(problems.len(), 6, "{problems:#?}");
        let right = List { mutant: vec![mutant("EventLost", 1), mutant("Unlisted", 7)] };
        assert!(right.problems(source, |_| true).is_empty());
    }

    #[test]
    fn only_a_failure_of_a_test_that_cites_the_requirement_kills() {
        let test = |verdict, requirement: &str| Judged {
            name: "event.some".into(),
            requirements: vec![requirement.into()],
            verdict,
            detail: String::new(),
        };
        let mutant = mutant("EventLost", 1);
        assert!(mutant.killer(&[test(Verdict::Fail, "EVT-005")]).is_some());
        assert!(mutant.killer(&[test(Verdict::Timeout, "EVT-005")]).is_some());
        for (verdict, requirement) in [
            (Verdict::Pass, "EVT-005"),
            (Verdict::Skip, "EVT-005"),
            (Verdict::Error, "EVT-005"),
            (Verdict::Fail, "EVT-001"),
        ] {
            assert!(mutant.killer(&[test(verdict, requirement)]).is_none());
        }
    }
}
