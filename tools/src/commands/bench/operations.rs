//! The operations' table: native beside guest, Xen and the budget, with the cost vector.

use std::fmt::Write;

use serde::Serialize;

use super::budgets::Operation;
use super::costs::Costs;
use super::record::Span;
use super::runs::{Figure, Run, Setting};
use crate::failure::{Failure, Kind};

/// One world's figures of an operation.
#[derive(Clone, Debug, Serialize)]
pub struct Measured {
    /// How many samples there were, and how often each did the operation.
    pub samples: u32,
    /// See `samples`.
    pub per: u32,
    /// Instructions of the least expensive sample.
    pub least: u32,
    /// Of the one in the middle.
    pub median: u32,
    /// Of the most expensive.
    pub most: u32,
    /// What the one in the middle did besides.
    pub costs: Option<Costs>,
}

/// What came of an operation.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// The operation's name.
    pub name: String,
    /// The same for people.
    pub title: String,
    /// On the bare machine.
    pub native: Option<Measured>,
    /// As a guest.
    pub guest: Option<Measured>,
    /// Under Xen.
    pub xen: Option<u32>,
    /// The budget.
    pub must: Option<u32>,
    /// The goal.
    pub aim: Option<u32>,
    /// How many instructions a single operation is over its budget.
    pub over: u32,
}

/// All rows.
#[derive(Debug, Serialize)]
pub struct Report {
    /// Version of this format.
    format: u32,
    /// In the order of the budgets.
    operations: Vec<Row>,
}

impl Measured {
    fn new(run: &Run, figure: &Figure) -> Result<Self, Failure> {
        let costs = match figure.mark {
            0 => None,
            _ => Some(costs(run, figure).map_err(|reason| {
                Failure::new(Kind::CheckFailed, format!("{}, {:?}: {reason}", figure.name, run.setting))
            })?),
        };
        let Figure { per, samples, least, median, most, .. } = *figure;
        Ok(Self { samples, per, least, median, most, costs })
    }

    /// Of a single operation, for people.
    fn text(&self) -> String {
        let (median, per) = (self.median, self.per);
        if median.is_multiple_of(per) {
            (median / per).to_string()
        } else {
            format!("{:.1}", f64::from(median) / f64::from(per))
        }
    }
}

/// The cost vector, and the check that recorder and guest agree on the number of instructions.
fn costs(run: &Run, figure: &Figure) -> Result<Costs, String> {
    let sequence = run.sequences.get(&figure.mark).ok_or("nothing was recorded")?;
    let part = sequence.part(figure.span, run.guest.is_some()).ok_or("the record has no such part")?;
    let costs = Costs::of(&part, figure.span == Span::Interrupt);
    // An instruction that faults is recorded, and counts only when it is done at last. A deadline's figure begins at
    // the deadline, which the record does not show.
    let faulted = part.len() as i64 - i64::from(figure.median);
    let agrees = figure.span == Span::Interrupt || (0..=i64::from(costs.interrupt)).contains(&faulted);
    if !agrees {
        return Err(format!("{} instructions were recorded, {} were counted", part.len(), figure.median));
    }
    Ok(costs)
}

impl Report {
    /// Puts together what was measured.
    pub fn new(operations: &[Operation], runs: &[Run]) -> Result<Self, Failure> {
        let find = |name: &str, settings: &[Setting]| -> Result<Option<Measured>, Failure> {
            let runs = runs.iter().filter(|run| settings.contains(&run.setting));
            let mut found = runs.filter_map(|run| {
                run.figures.iter().find(|figure| figure.name == name).map(|figure| Measured::new(run, figure))
            });
            found.next().transpose()
        };
        let row = |operation: &Operation| {
            let name = &operation.name;
            let guest = find(name, &[Setting::Guest, Setting::Pair])?;
            let missing = || Failure::new(Kind::CheckFailed, format!("{name} was not measured"));
            let Measured { median, per, .. } = *guest.as_ref().ok_or_else(missing)?;
            let over = operation.must.map_or(0, |must| median.saturating_sub(must * per).div_ceil(per));
            Ok(Row {
                name: name.clone(),
                title: operation.title.clone(),
                native: find(name, &[Setting::Native])?,
                guest,
                xen: operation.xen,
                must: operation.must,
                aim: operation.aim,
                over,
            })
        };
        Ok(Self { format: 1, operations: operations.iter().map(row).collect::<Result<_, Failure>>()? })
    }

    /// The same in a stable order, without anything that differs between two runs.
    pub fn to_json(&self) -> String {
        // Plain numbers and text: there is nothing that could fail.
        serde_json::to_string_pretty(self).unwrap_or_default()
    }

    /// Operations over their budgets, and by how much.
    pub fn over_budget(&self) -> Vec<String> {
        let over = self.operations.iter().filter(|row| row.over > 0);
        over.map(|row| format!("{}: {} over {}", row.name, row.over, row.must.unwrap_or(0))).collect()
    }

    /// For people.
    pub fn table(&self) -> String {
        let mut rows = vec![
            [
                "operation",
                "native",
                "guest",
                "Xen PV",
                "must",
                "aim",
                "verdict",
                "what the guest's does besides",
            ]
            .map(str::to_owned),
        ];
        let number = |number: Option<u32>| number.map_or_else(|| "-".into(), |number| number.to_string());
        let instructions =
            |measured: &Option<Measured>| measured.as_ref().map_or_else(|| "-".into(), Measured::text);
        rows.extend(self.operations.iter().map(|row| {
            let costs = row.guest.as_ref().and_then(|measured| measured.costs);
            [
                row.title.clone(),
                instructions(&row.native),
                instructions(&row.guest),
                number(row.xen),
                number(row.must),
                number(row.aim),
                row.verdict(),
                costs.map(|costs| costs.words()).unwrap_or_default(),
            ]
        }));
        let over = self.over_budget().len();
        let mut text = align(&rows);
        let _ = writeln!(
            text,
            "\ninstructions, median; a figure of several calls or pages is of one of them; {over} over budget"
        );
        text
    }
}

impl Row {
    fn verdict(&self) -> String {
        let Some(measured) = &self.guest else { return "-".into() };
        let within = |limit: Option<u32>| limit.is_some_and(|limit| measured.median <= limit * measured.per);
        match self.must {
            None => "-".into(),
            Some(_) if within(self.aim) => "aim".into(),
            Some(_) if within(self.must) => "ok".into(),
            Some(_) => format!("over by {}", self.over),
        }
    }
}

/// First and last column to the left, the others to the right, a line below the heading.
fn align<const COLUMNS: usize>(rows: &[[String; COLUMNS]]) -> String {
    let widths: [usize; COLUMNS] =
        std::array::from_fn(|column| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0));
    let mut text = String::new();
    for (index, row) in rows.iter().enumerate() {
        let mut line = String::new();
        for (column, (cell, width)) in row.iter().zip(widths).enumerate() {
            let _ = match column {
                0 => write!(line, "{cell:<width$}"),
                _ if column + 1 == COLUMNS => write!(line, "  {cell}"),
                _ => write!(line, "  {cell:>width$}"),
            };
        }
        let _ = writeln!(text, "{}", line.trim_end());
        if index == 0 {
            let _ = writeln!(text, "{}", "-".repeat(widths.iter().map(|width| width + 2).sum::<usize>() - 2));
        }
    }
    text
}
