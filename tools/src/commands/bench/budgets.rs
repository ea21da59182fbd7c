//! `bench/budgets.toml`: the operations, in the order of the table, and what they may cost.

use std::path::Path;

use serde::Deserialize;

use crate::failure::{Failure, Kind};

/// The whole file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Budgets {
    operation: Vec<Operation>,
    /// What the hypervisor may keep.
    pub footprint: Footprint,
}

/// Bytes.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Footprint {
    /// Resident text and rodata.
    pub code_must: u64,
    /// Data of a vCPU.
    pub vcpu_must: u64,
}

/// One operation.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Operation {
    /// As the guest calls it.
    pub name: String,
    /// As people call it.
    pub title: String,
    /// What it costs under Xen 4.17 PV.
    pub xen: Option<u32>,
    /// What it may cost.
    pub must: Option<u32>,
    /// What it should cost.
    pub aim: Option<u32>,
}

impl Budgets {
    /// Reads and checks the file.
    pub fn read(path: &Path) -> Result<Self, Failure> {
        let text = std::fs::read_to_string(path).map_err(|error| Failure::file("read", path, &error))?;
        Self::parse(&text).map_err(|reason| Failure::new(Kind::File, format!("{}: {reason}", path.display())))
    }

    fn parse(text: &str) -> Result<Self, String> {
        let budgets: Self = toml::from_str(text).map_err(|error| error.to_string())?;
        for (index, operation) in budgets.operation.iter().enumerate() {
            let name = &operation.name;
            if budgets.operation[..index].iter().any(|other| other.name == *name) {
                return Err(format!("{name} is there twice"));
            }
            if operation.aim.is_some_and(|aim| operation.must.is_none_or(|must| aim > must)) {
                return Err(format!("{name} aims at more than it must keep to"));
            }
        }
        Ok(budgets)
    }

    /// The operations whose names contain `part`.
    pub fn select(self, part: &str) -> Vec<Operation> {
        self.operation.into_iter().filter(|operation| operation.name.contains(part)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_of_this_workspace_is_in_order() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../bench/budgets.toml");
        let budgets = Budgets::read(&path).unwrap();
        assert!(budgets.operation.iter().filter(|operation| operation.must.is_some()).count() > 20);
        assert_eq!(budgets.select("call.null").len(), 1);
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        let footprint = "[footprint]\ncode_must = 2\nvcpu_must = 1\n";
        let operation = |rest| format!("{footprint}[[operation]]\nname = \"a\"\ntitle = \"A\"\n{rest}\n");
        assert!(Budgets::parse(&operation("must = 2\naim = 1")).is_ok());
        assert!(Budgets::parse(&operation("must = 2\naim = 3")).is_err());
        assert!(Budgets::parse(&operation("aim = 3")).is_err());
        assert!(Budgets::parse(&operation("should = 3")).is_err());
        let twice = operation("") + &operation("").replace(footprint, "");
        assert!(Budgets::parse(&twice).is_err_and(|reason| reason.contains("twice")));
        assert!(Budgets::parse(&operation("")).unwrap().select("b").is_empty());
    }
}
