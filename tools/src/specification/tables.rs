//! The specification's tables against the crate `pvops-abi`: nothing is missing, nothing is different.
//!
//! A table is known by its columns (`spec/conventions.md` lists them): calls, structures, enumerations, constants. What
//! it is about is found by name, so a chapter needs no marks for this.

use std::collections::{BTreeMap, BTreeSet};

use super::Specification;
use super::markdown::Table;
use crate::abi::{Abi, Structure, Value, upper_case};

const CALLS: [&str; 4] = ["number", "call", "arguments", "value"];
const STRUCTURE: [&str; 5] = ["offset", "bytes", "field", "written by", "meaning"];
const ENUMERATION: [&str; 3] = ["value", "name", "meaning"];
const CONSTANTS: [&str; 3] = ["constant", "value", "meaning"];

/// Tables of structures that have no type in the crate: code, and an ELF note.
const UNTYPED: [&str; 2] = ["Transport and the hypercall page", "The notes"];

/// All differences.
pub fn check(specification: &Specification, abi: &Abi) -> Vec<String> {
    let mut checker = Checker { abi, found: Vec::new(), seen: BTreeSet::new() };
    let mut calls = BTreeSet::new();
    for chapter in &specification.chapters {
        for table in &chapter.tables {
            if table.columns == CALLS {
                checker.calls(table, &chapter.file, &mut calls);
            } else if table.columns == STRUCTURE {
                checker.structure(table, &chapter.file);
            } else if table.columns == ENUMERATION {
                checker.enumeration(table, &chapter.file);
            } else if table.columns == CONSTANTS {
                checker.constants(table, &chapter.file);
            }
        }
    }
    checker.missing(&calls);
    checker.found
}

struct Checker<'a> {
    abi: &'a Abi,
    found: Vec<String>,
    /// Structures and enumerations that have a table.
    seen: BTreeSet<&'a str>,
}

impl<'a> Checker<'a> {
    fn report(&mut self, what: String) {
        self.found.push(what);
    }

    fn calls(&mut self, table: &Table, file: &str, all: &mut BTreeSet<String>) {
        for row in &table.rows {
            let name = &row[1];
            let known =
                self.abi.calls.iter().find(|call| format!("{}.{}", call.extension, call.function) == *name);
            match (known, number(&row[0])) {
                (Some(call), Some(shown)) if i128::from(call.number) == shown => {}
                (Some(call), _) => {
                    self.report(format!("{file}: {name} is {}, not {:#x}", row[0], call.number));
                }
                (None, _) => self.report(format!("{file}: the crate has no call {name}")),
            }
            if !all.insert(name.clone()) {
                self.report(format!("{file}: {name} is listed twice"));
            }
        }
    }

    fn structure(&mut self, table: &Table, file: &str) {
        let named = |name: &str| self.abi.structures.iter().find(|structure| structure.name == name);
        // The text above names it; else it has a section of its own.
        let structure = table.names.iter().find_map(|name| named(name)).or_else(|| named(&table.heading));
        let Some(structure) = structure else {
            if !UNTYPED.contains(&table.heading.as_str()) {
                self.report(format!(
                    "{file}: the crate has no structure for the table in '{}'",
                    table.heading
                ));
            }
            return;
        };
        self.size_and_version(structure, table, file);
        let shown: Vec<[String; 3]> =
            table.rows.iter().map(|row| [0, 1, 2].map(|at| row[at].clone())).collect();
        let wanted: Vec<[String; 3]> = structure
            .fields
            .iter()
            .map(|field| {
                let bytes = self.abi.field_bytes(&field.kind);
                [field.offset.to_string(), bytes.to_string(), field.name.clone()]
            })
            .collect();
        for (shown, wanted) in shown.iter().zip(&wanted).filter(|(shown, wanted)| shown != wanted) {
            self.report(format!("{file}: {}: {shown:?} instead of {wanted:?}", structure.name));
        }
        if shown.len() != wanted.len() {
            self.report(format!(
                "{file}: {} has {} fields, not {}",
                structure.name,
                wanted.len(),
                shown.len()
            ));
        }
        if !self.seen.insert(&structure.name) {
            self.report(format!("{file}: {} has two tables", structure.name));
        }
    }

    /// The text above the table says `248 bytes`, and `version 1` where there is one.
    fn size_and_version(&mut self, structure: &Structure, table: &Table, file: &str) {
        let size = format!("{} bytes", structure.bytes);
        if !table.context.contains(&size) {
            self.report(format!("{file}: {} is not said to have {size}", structure.name));
        }
        if let Some(version) = self.abi.number(&format!("{}_VERSION", upper_case(&structure.name)))
            && !table.context.contains(&format!("version {version}"))
        {
            self.report(format!("{file}: {} is not said to have version {version}", structure.name));
        }
    }

    fn enumeration(&mut self, table: &Table, file: &str) {
        let shown: Vec<(String, Option<i128>)> =
            table.rows.iter().map(|row| (spelled(&row[1]), number(&row[0]))).collect();
        let (name, wanted) = self.closest(&shown);
        if name.is_empty() {
            self.report(format!("{file}: the crate has no enumeration for the table in '{}'", table.heading));
            return;
        }
        for (member, value) in &shown {
            if !wanted.iter().any(|(other, number)| other == member && Some(*number) == *value) {
                self.report(format!("{file}: {name} has no {member} = {value:?}"));
            }
        }
        for (member, value) in &wanted {
            if !shown.iter().any(|(other, _)| other == member) {
                self.report(format!("{file}: {name}.{member} = {value} is missing"));
            }
        }
        if !self.seen.insert(name) {
            self.report(format!("{file}: {name} has two tables"));
        }
    }

    /// The enumeration that shares most names with a table, and its members. Statuses are errors and success.
    fn closest(&self, shown: &[(String, Option<i128>)]) -> (&'a str, Vec<(String, i128)>) {
        let implementations = self.abi.constants.iter().filter_map(|constant| {
            let Value::Number(value) = constant.value else { return None };
            Some((constant.name.strip_prefix("IMPLEMENTATION_")?.to_owned(), value))
        });
        let success = self.abi.number("SUCCESS").map(|value| ("SUCCESS".to_owned(), value));
        let enumerations = self.abi.enumerations.iter().map(|enumeration| {
            let members = enumeration.members.iter().map(|member| (member.name.clone(), member.value));
            let with_success = success.clone().filter(|_| enumeration.name == "Error");
            (enumeration.name.as_str(), members.chain(with_success).collect::<Vec<_>>())
        });
        let shared = |members: &[(String, i128)]| {
            members.iter().filter(|(name, _)| shown.iter().any(|(other, _)| other == name)).count()
        };
        let all = enumerations.chain([("implementation", implementations.collect())]);
        let best = all.max_by_key(|(_, members)| (shared(members), usize::MAX - members.len()));
        best.filter(|(_, members)| shared(members) > 0).unwrap_or_default()
    }

    fn constants(&mut self, table: &Table, file: &str) {
        let shown: BTreeMap<&str, Option<i128>> =
            table.rows.iter().map(|row| (row[0].as_str(), number(&row[1]))).collect();
        for constant in &self.abi.constants {
            // The others are members of a table of values, or strings.
            let Value::Number(value) = constant.value else { continue };
            let elsewhere = constant.name.starts_with("IMPLEMENTATION_") || constant.name == "SUCCESS";
            if !elsewhere && shown.get(constant.name.as_str()) != Some(&Some(value)) {
                self.report(format!("{file}: {} = {value} is missing or different", constant.name));
            }
        }
        for name in shown.keys().filter(|name| self.abi.number(name).is_none()) {
            self.report(format!("{file}: the crate has no constant {name}"));
        }
        self.seen.insert("constants");
    }

    /// What has no table.
    fn missing(&mut self, calls: &BTreeSet<String>) {
        for call in &self.abi.calls {
            let name = format!("{}.{}", call.extension, call.function);
            if !calls.contains(&name) {
                self.report(format!("no chapter lists the call {name}"));
            }
        }
        let structures = self.abi.structures.iter().map(|structure| structure.name.as_str());
        let enumerations = self.abi.enumerations.iter().map(|enumeration| enumeration.name.as_str());
        for name in structures.chain(enumerations).chain(["implementation", "constants"]) {
            if !self.seen.contains(name) {
                self.report(format!("no chapter has a table of {name}"));
            }
        }
    }
}

/// Members are written as in the crate or in upper case.
fn spelled(name: &str) -> String {
    if name.chars().any(|letter| letter.is_ascii_lowercase()) { upper_case(name) } else { name.to_owned() }
}

fn number(text: &str) -> Option<i128> {
    match text.strip_prefix("0x") {
        Some(digits) => i128::from_str_radix(digits, 16).ok(),
        None => text.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::specification::markdown::Chapter;
    use crate::workspace::Workspace;

    /// Each replacement breaks one table of the real specification; the check must name it.
    #[test]
    fn every_kind_of_difference_is_found() {
        let workspace = Workspace::find();
        let abi = Abi::read(&workspace).unwrap();
        let read = |file: &str| std::fs::read_to_string(workspace.specification().join(file)).unwrap();
        for (file, from, to, found) in [
            ("evt.md", "`0x30001`", "`0x30007`", "EVT.BIND is 0x30007, not 0x30001"),
            ("evt.md", "EVT.SEND |", "EVT.POST |", "the crate has no call EVT.POST"),
            ("evt.md", "| 2 | Ipi |", "| 5 | Ipi |", "PortKind has no IPI = Some(5)"),
            ("errors.md", "| -8 | AGAIN |", "| -9 | AGAIN |", "Error has no AGAIN = Some(-9)"),
            ("structures.md", "| 24 | 8 | user_rsp |", "| 32 | 8 | user_rsp |", "VcpuArea: [\"32\""),
            ("structures.md", "248 bytes", "256 bytes", "StartInfo is not said to have 248 bytes"),
            ("structures.md", "| MAX_PORTS | 4096 |", "| MAX_PORTS | 4095 |", "MAX_PORTS = 4096"),
            ("structures.md", "| 6 | Ramdisk |", "| 6 | Ramdisks |", "MemoryKind.RAMDISK = 6 is missing"),
            ("mmu.md", "| 1 | KEEP |", "| 2 | KEEP |", "LoadRootFlags has no KEEP = Some(2)"),
        ] {
            let text = read(file);
            assert!(text.contains(from), "{file} has no {from}");
            let chapters = vec![Chapter::parse(file, &text.replacen(from, to, 1))];
            let specification = Specification { chapters, summary: Chapter::default() };
            let all = check(&specification, &abi);
            assert!(all.iter().any(|problem| problem.contains(found)), "{found} not in {all:#?}");
        }
    }
}
