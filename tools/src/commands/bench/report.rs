//! Everything that was measured, in a form that can be written and read again.

use std::fmt::Write;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::machines::Programs;
use super::selection::{Results, Selection};
use super::{latency, operations, sites, system, workloads};
use crate::failure::{Failure, Kind};
use crate::footprint::Footprint;
use crate::workspace::Workspace;

/// Version of the JSON format.
const FORMAT: u32 = 1;

/// See the module. No wall time, no path and nothing that differs between two runs is in it.
#[derive(Debug, Serialize, Deserialize)]
pub struct Report {
    format: u32,
    /// Operations, in the order of the budgets.
    pub operations: Vec<operations::Row>,
    /// Whole workloads.
    pub workloads: Vec<workloads::Row>,
    /// Latencies of a real-time thread.
    pub latencies: Vec<latency::Row>,
    /// Call sites.
    #[serde(default)]
    pub sites: Vec<sites::Row>,
    /// Idle times.
    pub idle: Vec<system::Idle>,
    /// The hypervisor's memory.
    pub footprint: Option<Footprint>,
    /// How much of the demo kernel knows the interface.
    pub touch: Option<system::Touch>,
}

/// One number, and where it belongs.
#[derive(Clone, Debug, PartialEq)]
pub struct Figure {
    /// The operation, workload or whatever it is.
    pub name: String,
    /// Where it was measured, and what it is.
    pub what: String,
    /// The number.
    pub value: f64,
}

impl Report {
    /// Puts together what was measured.
    pub fn new(
        workspace: &Workspace,
        selection: &Selection,
        programs: &Programs,
        results: Results,
    ) -> Result<Self, Failure> {
        let Results { runs, workloads, latencies, sites } = results;
        Ok(Self {
            format: FORMAT,
            operations: operations::rows(&selection.operations, &runs)?,
            workloads: match workloads.as_slice() {
                [] => Vec::new(),
                workloads => workloads::rows(workloads, &selection.workloads)?,
            },
            latencies,
            sites: sites::rows(&sites)?,
            idle: if selection.has_idle { system::idle(&runs)? } else { Vec::new() },
            footprint: match selection.has_footprint {
                true => Some(Footprint::of(&programs.hypervisor)?),
                false => None,
            },
            touch: match selection.has_touch {
                true => Some(system::touch(workspace, &programs.demo)?),
                false => None,
            },
        })
    }

    /// Reads the JSON of an earlier run.
    pub fn read(path: &Path) -> Result<Self, Failure> {
        let text = std::fs::read_to_string(path).map_err(|error| Failure::file("read", path, &error))?;
        let wrong = |reason: String| Failure::new(Kind::File, format!("{}: {reason}", path.display()));
        let report: Self = serde_json::from_str(&text).map_err(|error| wrong(error.to_string()))?;
        if report.format != FORMAT {
            return Err(wrong(format!("format {}, not {FORMAT}", report.format)));
        }
        Ok(report)
    }

    /// The same in a stable order.
    pub fn to_json(&self) -> String {
        // Plain numbers and text: there is nothing that could fail.
        serde_json::to_string_pretty(self).unwrap_or_default()
    }

    /// One figure to a line.
    pub fn to_csv(&self) -> String {
        let mut text = String::from("name,figure,value\n");
        for Figure { name, what, value } in self.figures() {
            // Names have no commas.
            let _ = writeln!(text, "{name},{what},{value}");
        }
        text
    }

    /// Operations over their budgets, and by how much.
    pub fn over_budget(&self) -> Vec<String> {
        let over = self.operations.iter().filter(|row| row.over > 0);
        over.map(|row| format!("{}: {} over {}", row.name, row.over, row.must.unwrap_or(0))).collect()
    }

    /// Every number, in a stable order.
    pub fn figures(&self) -> Vec<Figure> {
        let mut figures = Vec::new();
        let mut add = |name: &str, what: &str, value: f64| {
            figures.push(Figure { name: name.into(), what: what.into(), value });
        };
        for row in &self.operations {
            for (world, measured) in [("native", &row.native), ("guest", &row.guest)] {
                let Some(measured) = measured else { continue };
                add(&row.name, &format!("{world}.instructions"), measured.each());
                for (what, count) in measured.costs.iter().flat_map(|costs| costs.named()) {
                    add(&row.name, &format!("{world}.{what}"), f64::from(count));
                }
            }
        }
        for row in &self.workloads {
            add(&row.name, "native", row.native as f64);
            for (count, time) in workloads::CROWDS.iter().zip(&row.guests) {
                add(&row.name, &format!("guests_{count}"), *time as f64);
            }
        }
        for row in &self.latencies {
            let latency::Row { least, median, p99, p999, most, .. } = row;
            for (what, value) in
                [("least", least), ("median", median), ("p99", p99), ("p99.9", p999), ("most", most)]
            {
                add(&row.name, what, f64::from(*value));
            }
            add(&row.name, "missed", row.missed as f64);
        }
        for row in &self.sites {
            for (what, count) in sites::COLUMNS.iter().zip(&row.instructions) {
                add(&row.name, what, *count as f64);
            }
        }
        for row in &self.idle {
            for (world, awake) in [("native", row.native), ("guest", row.guest)] {
                add(&row.name, &format!("{world}.executed"), awake.executed as f64);
                add(&row.name, &format!("{world}.halts"), awake.halts as f64);
            }
        }
        if let Some(footprint) = &self.footprint {
            for (part, bytes) in [("resident", footprint.resident), ("boot_only", footprint.boot_only)] {
                for (what, value) in
                    [("text", bytes.text), ("rodata", bytes.rodata), ("data", bytes.data), ("bss", bytes.bss)]
                {
                    add("footprint", &format!("{part}.{what}"), value as f64);
                }
            }
        }
        if let Some(touch) = &self.touch {
            add("touch", "lines", touch.lines as f64);
            add("touch", "naming", touch.naming as f64);
            add("touch", "sites", touch.sites as f64);
        }
        figures
    }
}
