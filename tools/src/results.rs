//! The lines by which a kernel reports results, and the table that puts runs side by side.
//!
//! `result: NAME VALUE [UNIT]`, for example `result: system_call 123 ns`. A value with a unit is measured or a fact
//! about its world and may differ between runs; a value without a unit is an answer and must not.

use std::fmt::Write;

use crate::session::without_escapes;

/// One reported value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Value {
    /// What was computed or measured.
    pub name: String,
    /// The value, as printed.
    pub value: String,
    /// The unit, empty if there is none.
    pub unit: String,
}

impl Value {
    /// Whether it may differ between runs.
    fn is_measured(&self) -> bool {
        !self.unit.is_empty()
    }
}

/// All values that a console shows, in order.
pub fn parse(console: &str) -> Vec<Value> {
    without_escapes(console).lines().filter_map(parse_line).collect()
}

/// What one domain of several wrote: its lines, which begin with its name, without that.
pub fn lines_of(console: &str, domain: &str) -> String {
    let tag = format!("[{domain}] ");
    let console = without_escapes(console);
    console.lines().filter_map(|line| line.strip_prefix(&tag)).flat_map(|line| [line, "\n"]).collect()
}

/// The value of `name` as a number, if it was reported.
pub fn number(values: &[Value], name: &str) -> Option<u64> {
    find(values, name)?.value.parse().ok()
}

fn parse_line(line: &str) -> Option<Value> {
    let mut words = line.trim().strip_prefix("result: ")?.split_whitespace();
    let value = Value {
        name: words.next()?.to_owned(),
        value: words.next()?.to_owned(),
        unit: words.next().unwrap_or_default().to_owned(),
    };
    words.next().is_none().then_some(value)
}

/// One column of the table: a run and its values, or why it has none.
pub struct Run {
    /// Heading of the column.
    pub title: String,
    /// What it reported.
    pub values: Result<Vec<Value>, String>,
}

/// Everything wrong with a set of runs; empty if they all succeeded and agree.
pub fn disagreements(runs: &[Run]) -> Vec<String> {
    let mut problems = Vec::new();
    for run in runs {
        match &run.values {
            Err(reason) => problems.push(format!("{}: {reason}", run.title)),
            Ok(values) => match find(values, "verdict") {
                Some(verdict) if verdict.value == "ok" => {}
                Some(verdict) => problems.push(format!("{}: the verdict is {}", run.title, verdict.value)),
                None => problems.push(format!("{}: no verdict", run.title)),
            },
        }
    }
    for name in names(runs) {
        let mut reports =
            runs.iter().filter_map(|run| run.values.as_ref().ok().map(|values| (run, find(values, &name))));
        let Some((first, expected)) = reports.next() else { continue };
        for (run, value) in reports {
            match (expected, value) {
                (Some(expected), Some(value))
                    if value == expected || (value.is_measured() && value.unit == expected.unit) => {}
                _ => problems.push(format!(
                    "{name}: {} in {}, but {} in {}",
                    show(expected),
                    first.title,
                    show(value),
                    run.title
                )),
            }
        }
    }
    problems
}

/// The table: a row per name, a column per run. Headings take as many lines as they have words.
pub fn table(runs: &[Run]) -> String {
    let headings: Vec<Vec<&str>> = runs.iter().map(|run| run.title.split(' ').collect()).collect();
    let heading_lines = headings.iter().map(Vec::len).max().unwrap_or(0);
    let mut rows: Vec<Vec<String>> = (0..heading_lines)
        .map(|line| {
            let words =
                headings.iter().map(|heading| heading.get(line).copied().unwrap_or_default().to_owned());
            std::iter::once(String::new()).chain(words).collect()
        })
        .collect();
    rows.extend(names(runs).into_iter().map(|name| row(&name, runs)));
    align(&rows, heading_lines)
}

/// A name and each run's value; what equals the first run's answer is shown as such.
fn row(name: &str, runs: &[Run]) -> Vec<String> {
    let mut cells = vec![name.replace('_', " ")];
    let mut first = None;
    for run in runs {
        let value = run.values.as_ref().ok().and_then(|values| find(values, name));
        let same = value.is_some_and(|value| !value.is_measured()) && value == first;
        cells.push(if same { "same".into() } else { show(value) });
        first = first.or(value);
    }
    cells
}

fn align(rows: &[Vec<String>], heading_lines: usize) -> String {
    let columns = rows.first().map_or(0, Vec::len);
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for (index, row) in rows.iter().enumerate() {
        if index == heading_lines {
            let _ = writeln!(text, "{}", "-".repeat(widths.iter().map(|width| width + 2).sum::<usize>() - 2));
        }
        let _ = write!(text, "{:<width$}", row[0], width = widths[0]);
        for (cell, width) in row.iter().zip(&widths).skip(1) {
            let _ = write!(text, "  {cell:>width$}");
        }
        text.push('\n');
    }
    text
}

/// Names in the order in which they first appear.
fn names(runs: &[Run]) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for value in runs.iter().filter_map(|run| run.values.as_ref().ok()).flatten() {
        if !names.contains(&value.name) {
            names.push(value.name.clone());
        }
    }
    names
}

fn find<'a>(values: &'a [Value], name: &str) -> Option<&'a Value> {
    values.iter().find(|value| value.name == name)
}

fn show(value: Option<&Value>) -> String {
    match value {
        None => "-".into(),
        Some(value) if value.unit.is_empty() => value.value.clone(),
        Some(value) => format!("{} {}", value.value, value.unit),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(title: &str, console: &str) -> Run {
        Run { title: title.into(), values: Ok(parse(console)) }
    }

    #[test]
    fn lines_are_parsed() {
        let values =
            parse("noise\r\nresult: trip 12 ns\r\nresult: sum 0xab\r\nresult: too many words here\n");
        assert_eq!(values.len(), 2);
        assert_eq!(
            (values[0].name.as_str(), values[0].value.as_str(), values[0].unit.as_str()),
            ("trip", "12", "ns")
        );
        assert_eq!((values[1].value.as_str(), values[1].unit.as_str()), ("0xab", ""));
    }

    #[test]
    fn lines_are_told_apart_by_domain() {
        let console = "[a] result: sum 1\r\n[b] result: sum 2\r\nresult: sum 3\r\n[a] [b] result: sum 4\r\n";
        assert_eq!(lines_of(console, "b"), "result: sum 2\n");
        assert_eq!(number(&parse(&lines_of(console, "a")), "sum"), Some(1));
        assert_eq!(number(&parse(&lines_of(console, "c")), "sum"), None);
    }

    #[test]
    fn measurements_may_differ_and_answers_may_not() {
        let one = "result: trip 12 ns\nresult: sum 5\nresult: verdict ok\n";
        let other = "result: trip 99 ns\nresult: sum 5\nresult: verdict ok\n";
        assert!(disagreements(&[run("a", one), run("b", other)]).is_empty());
        let wrong = other.replace("sum 5", "sum 6");
        assert_eq!(disagreements(&[run("a", one), run("b", &wrong)]), ["sum: 5 in a, but 6 in b"]);
    }

    #[test]
    fn missing_values_and_verdicts_are_found() {
        let good = "result: sum 5\nresult: verdict ok\n";
        let problems = disagreements(&[run("a", good), run("b", "result: sum 5\n")]);
        assert!(problems.iter().any(|problem| problem == "b: no verdict"), "{problems:?}");
        let problems = disagreements(&[run("a", "result: verdict ok\n"), run("b", good)]);
        assert_eq!(problems, ["sum: - in a, but 5 in b"]);
        let problems = disagreements(&[run("a", "result: verdict failed\n")]);
        assert_eq!(problems, ["a: the verdict is failed"]);
    }

    #[test]
    fn failed_runs_are_reported() {
        let failed = Run { title: "b".into(), values: Err("timeout".into()) };
        assert_eq!(disagreements(&[run("a", "result: verdict ok"), failed]), ["b: timeout"]);
    }

    #[test]
    fn the_table_is_aligned() {
        let one = "result: round_trip 12 ns\nresult: sum 5";
        let table = table(&[run("native bios", one), run("x", one), run("y", "result: sum 7")]);
        let lines: Vec<&str> = table.lines().collect();
        assert_eq!(lines[0], "            native      x  y");
        assert_eq!(lines[1], "              bios          ");
        assert_eq!(lines[2], "-".repeat(28));
        assert_eq!(lines[3], "round trip   12 ns  12 ns  -");
        assert_eq!(lines[4], "sum              5   same  7");
    }
}
