//! Operations: native beside guest, Xen and the budget, with the cost vector.

use serde::{Deserialize, Serialize};

use super::budgets::Operation;
use super::costs::Costs;
use super::machines::broken;
use super::record::Span;
use super::runs::{Figure, Run, Setting};
use crate::failure::Failure;

/// One world's figures of an operation.
#[derive(Clone, Debug, Serialize, Deserialize)]
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
#[derive(Clone, Debug, Serialize, Deserialize)]
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

impl Measured {
    fn new(run: &Run, figure: &Figure) -> Result<Self, Failure> {
        let costs = match figure.mark {
            0 => None,
            _ => Some(
                costs(run, figure)
                    .map_err(|reason| broken(format!("{}, {:?}: {reason}", figure.name, run.setting)))?,
            ),
        };
        let Figure { per, samples, least, median, most, .. } = *figure;
        Ok(Self { samples, per, least, median, most, costs })
    }

    /// Instructions of a single operation.
    pub fn each(&self) -> f64 {
        f64::from(self.median) / f64::from(self.per)
    }

    /// The same for people.
    pub fn text(&self) -> String {
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

/// A row for each operation.
pub fn rows(operations: &[Operation], runs: &[Run]) -> Result<Vec<Row>, Failure> {
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
        let Measured { median, per, .. } =
            *guest.as_ref().ok_or_else(|| broken(format!("{name} was not measured")))?;
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
    operations.iter().map(row).collect()
}

impl Row {
    /// How the guest's figure stands to its budget.
    pub fn verdict(&self) -> String {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::elf_file::ElfFile;
    use std::collections::BTreeMap;

    fn run(median: u32) -> Run {
        let figure = Figure {
            name: "a".into(),
            mark: 0,
            span: Span::Whole,
            per: 32,
            samples: 3,
            least: median,
            median,
            most: median,
        };
        Run {
            setting: Setting::Guest,
            figures: vec![figure],
            idle: Vec::new(),
            sequences: BTreeMap::new(),
            booted: ElfFile { path: "h".into(), bytes: Vec::new() },
            guest: None,
        }
    }

    fn row(median: u32) -> Row {
        let operation =
            Operation { name: "a".into(), title: "A".into(), xen: None, must: Some(40), aim: Some(25) };
        rows(&[operation], &[run(median)]).unwrap().remove(0)
    }

    #[test]
    fn a_single_operation_is_held_against_its_budget() {
        assert_eq!((row(25 * 32).over, row(25 * 32).verdict().as_str()), (0, "aim"));
        assert_eq!((row(25 * 32 + 1).over, row(40 * 32).verdict().as_str()), (0, "ok"));
        assert_eq!((row(40 * 32 + 1).over, row(40 * 32 + 1).verdict().as_str()), (1, "over by 1"));
        assert_eq!(row(50 * 32).over, 10);
    }

    #[test]
    fn what_was_not_measured_is_missed() {
        let operation = Operation { name: "b".into(), title: "B".into(), xen: None, must: None, aim: None };
        assert!(rows(&[operation], &[run(1)]).is_err());
    }

    #[test]
    fn recorder_and_guest_must_agree() {
        let mut run = run(3);
        run.figures[0].mark = 9;
        assert!(Measured::new(&run, &run.figures[0]).is_err(), "nothing was recorded");
        let steps = "1 0f31\n3 4189c4\n6 90\n7 90\n8 90\n9 0f31\n";
        run.sequences = crate::commands::bench::record::parse(&format!("mark 9 1 6 0\n{steps}")).unwrap();
        assert!(Measured::new(&run, &run.figures[0]).is_ok());
        run.figures[0].median = 4;
        assert!(Measured::new(&run, &run.figures[0]).is_err(), "one more was counted than recorded");
    }
}
