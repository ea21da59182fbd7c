//! The report on a terminal: a table for each kind of figure.

use std::fmt::Write;

use super::operations::{self, Measured};
use super::report::Report;
use super::{latency, sites, system, workloads};

/// All tables that have something in them.
pub fn report(report: &Report) -> String {
    let tables = [
        operations_table(&report.operations),
        workloads_table(&report.workloads),
        latencies_table(&report.latencies),
        sites_table(&report.sites),
        idle_table(&report.idle),
        system_lines(report),
    ];
    let over = report.over_budget().len();
    let mut text = tables.into_iter().filter(|table| !table.is_empty()).collect::<Vec<_>>().join("\n");
    if !report.operations.is_empty() {
        let _ = writeln!(text, "\n{over} of {} operations are over budget", report.operations.len());
    }
    text
}

fn operations_table(rows: &[operations::Row]) -> String {
    if rows.is_empty() {
        return String::new();
    }
    let number = |number: Option<u32>| number.map_or_else(|| "-".into(), |number| number.to_string());
    let instructions =
        |measured: &Option<Measured>| measured.as_ref().map_or_else(|| "-".into(), Measured::text);
    let heading = [
        "instructions",
        "native",
        "guest",
        "Xen PV",
        "must",
        "aim",
        "verdict",
        "what a guest's does besides",
    ];
    let rows = rows.iter().map(|row| {
        let costs = row.guest.as_ref().and_then(|measured| measured.costs);
        vec![
            row.title.clone(),
            instructions(&row.native),
            instructions(&row.guest),
            number(row.xen),
            number(row.must),
            number(row.aim),
            row.verdict(),
            costs.map(|costs| costs.words()).unwrap_or_default(),
        ]
    });
    table(&heading, rows)
}

fn workloads_table(rows: &[workloads::Row]) -> String {
    workload_times(rows, "workload, thousands of instructions")
}

/// Workloads by this computer's clock.
pub fn wall(rows: &[workloads::Row]) -> String {
    workload_times(rows, "workload, microseconds by this computer's clock")
}

fn workload_times(rows: &[workloads::Row], heading: &str) -> String {
    if rows.is_empty() {
        return String::new();
    }
    let heading = [heading, "native", "a guest", "over", "two", "over", "four", "over"];
    let rows = rows.iter().map(|row| {
        let mut cells = vec![row.title.clone(), (row.native / 1000).to_string()];
        for (time, overhead) in row.guests.iter().zip(&row.overhead) {
            cells.extend([(time / 1000).to_string(), format!("{overhead:.1} %")]);
        }
        cells
    });
    table(&heading, rows)
}

fn latencies_table(rows: &[latency::Row]) -> String {
    if rows.is_empty() {
        return String::new();
    }
    let heading = ["latency, instructions", "least", "median", "99 %", "99.9 %", "most", "missed"];
    let rows = rows.iter().map(|row| {
        let numbers = [row.least, row.median, row.p99, row.p999, row.most].map(|number| number.to_string());
        std::iter::once(row.title.clone()).chain(numbers).chain([row.missed.to_string()]).collect()
    });
    table(&heading, rows)
}

fn sites_table(rows: &[sites::Row]) -> String {
    if rows.is_empty() {
        return String::new();
    }
    // What a site replaces stands beside it.
    const SHOWN: [usize; 4] = [3, 0, 1, 2];
    let [raw, native, unpatched, guest] = SHOWN.map(|column| sites::COLUMNS[column]);
    let heading = ["call site, instructions", raw, native, unpatched, guest];
    let rows = rows.iter().map(|row| {
        let count = |column: usize| row.instructions.get(column).map_or("-".into(), u64::to_string);
        std::iter::once(row.name.clone()).chain(SHOWN.map(count)).collect()
    });
    table(&heading, rows)
}

fn idle_table(rows: &[system::Idle]) -> String {
    if rows.is_empty() {
        return String::new();
    }
    let heading = ["idle", "native executed", "halts", "halted", "guest executed", "halts", "halted"];
    let rows = rows.iter().map(|row| {
        let world = |awake: system::Wakefulness| {
            [awake.executed.to_string(), awake.halts.to_string(), format!("{:.3} %", awake.halted)]
        };
        std::iter::once(row.title.clone()).chain(world(row.native)).chain(world(row.guest)).collect()
    });
    table(&heading, rows)
}

fn system_lines(report: &Report) -> String {
    let mut text = String::new();
    if let Some(footprint) = &report.footprint {
        let resident = footprint.resident;
        let _ = writeln!(
            text,
            "footprint: {} bytes of resident code and constants, {} of data",
            resident.text + resident.rodata,
            resident.data + resident.bss
        );
    }
    if let Some(touch) = &report.touch {
        let _ = writeln!(
            text,
            "degree of touch: {} of {} lines of the demo kernel name the interface; {} call sites, {} bytes of them and \
             their table, of {} that are loaded",
            touch.naming, touch.lines, touch.sites, touch.site_bytes, touch.loaded_bytes
        );
    }
    text
}

fn table(heading: &[&str], rows: impl Iterator<Item = Vec<String>>) -> String {
    let heading = heading.iter().map(|word| (*word).to_owned()).collect();
    align(&std::iter::once(heading).chain(rows).collect::<Vec<_>>(), 1)
}

/// The first `left` columns and those that hold no number are to the left, the others to the right; a line below the first
/// row, the heading.
pub fn align(rows: &[Vec<String>], left: usize) -> String {
    let columns = rows.first().map_or(0, Vec::len);
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let is_text = |column: usize| {
        let is_number =
            |cell: &str| cell.contains(|c: char| c.is_numeric()) && !cell.contains(char::is_alphabetic);
        column < left || !rows.iter().skip(1).any(|row| is_number(&row[column]))
    };
    let shape: Vec<(usize, bool)> = (0..columns).map(|column| (width(column), is_text(column))).collect();
    let mut text = String::new();
    for (index, row) in rows.iter().enumerate() {
        let cells = row.iter().zip(&shape).map(|(cell, (width, is_text))| {
            if *is_text { format!("{cell:<width$}") } else { format!("{cell:>width$}") }
        });
        let _ = writeln!(text, "{}", cells.collect::<Vec<_>>().join("  ").trim_end());
        if index == 0 {
            let length = shape.iter().map(|(width, _)| width + 2).sum::<usize>();
            let _ = writeln!(text, "{}", "-".repeat(length.saturating_sub(2)));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_aligned_to_the_right_and_words_to_the_left() {
        let row = |cells: [&str; 3]| cells.map(str::to_owned).to_vec();
        let text = align(
            &[row(["name", "n", "verdict"]), row(["a", "12", "2 of 3"]), row(["bc", "-", "over by 4"])],
            1,
        );
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(
            lines,
            ["name   n  verdict", "-------------------", "a     12  2 of 3", "bc     -  over by 4"]
        );
    }
}
