//! Call sites: what the hot operations cost where a kernel uses them, rewritten, left alone, and in a kernel that has the
//! bare machine's instructions in their place, as the demo kernel's `run=ops` counts it.

use serde::{Deserialize, Serialize};

use super::machines::{Ended, Programs, broken};
use crate::boot::World;
use crate::disk_image::Contents;
use crate::failure::Failure;
use crate::results;

/// How the kernel reports an operation.
const PREFIX: &str = "op_";

/// Where sites are looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sites {
    /// On the bare machine, rewritten to its instructions.
    Native,
    /// On the bare machine, left as they are linked: through the table of operations.
    NativeUnpatched,
    /// As a guest, rewritten.
    Guest,
    /// On the bare machine, in a kernel without sites: its instructions are hard-coded.
    Raw,
}

/// All of them.
pub const SITES: [Sites; 4] = [Sites::Native, Sites::NativeUnpatched, Sites::Guest, Sites::Raw];
/// What their figures are called, in the same order.
pub const COLUMNS: [&str; 4] = ["native", "unpatched", "guest", "raw"];

/// Instructions of an operation at its site.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Row {
    /// `site.` and the kernel's name for it.
    pub name: String,
    /// In the order of [`SITES`].
    pub instructions: Vec<u64>,
}

/// The name by which all of them are selected.
pub const NAME: &str = "site";

impl Sites {
    /// What to boot.
    pub fn contents(self, programs: &Programs) -> Result<Contents, Failure> {
        let (world, cmdline) = match self {
            Self::Native | Self::Raw => (World::Native, "run=ops"),
            Self::NativeUnpatched => (World::Native, "run=ops patch=off"),
            Self::Guest => (World::Hypervisor, "run=ops"),
        };
        let demo = match (self, &programs.hard_coded) {
            (Self::Raw, Some(hard_coded)) => hard_coded,
            (Self::Raw, None) => return Err(broken("the kernel without call sites was not built")),
            _ => &programs.demo,
        };
        world.contents(demo, &programs.hypervisor, cmdline)
    }
}

/// Puts together what the machines left behind, in the order of [`SITES`].
pub fn rows(ended: &[Ended]) -> Result<Vec<Row>, Failure> {
    let values: Vec<_> = ended.iter().map(|ended| results::parse(&ended.console)).collect();
    let [first, ..] = values.as_slice() else { return Ok(Vec::new()) };
    let operations = first.iter().filter_map(|value| value.name.strip_prefix(PREFIX));
    let row = |operation: &str| {
        let of = |values: &Vec<results::Value>| results::number(values, &format!("{PREFIX}{operation}"));
        let instructions: Option<Vec<u64>> = values.iter().map(of).collect();
        let instructions =
            instructions.ok_or_else(|| broken(format!("site {operation} was not counted everywhere")))?;
        Ok(Row { name: format!("{NAME}.{operation}"), instructions })
    };
    operations.map(row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn every_operation_is_counted_everywhere() {
        let ended = |console: &str| Ended { console: console.into(), sequences: BTreeMap::new() };
        let consoles = ["result: op_a 2 ticks\nresult: verdict ok\n", "result: op_a 9 ticks\n"].map(ended);
        let rows = rows(&consoles).unwrap();
        assert_eq!((rows.len(), rows[0].name.as_str()), (1, "site.a"));
        assert_eq!(rows[0].instructions, [2, 9]);
        assert!(super::rows(&[ended("result: op_a 2 ticks\n"), ended("")]).is_err());
    }
}
