//! The errors that the specification lists with each call, against those that the suite provoked.
//!
//! The suite prints `refused: 0x30001 -2 -4 -6`: the call's number, and the statuses with which it was refused where it
//! had to be. A listed error that was not provoked is one that nobody tests.

use std::collections::BTreeSet;

use super::Specification;
use super::markdown::Table;

const CALLS: [&str; 4] = ["number", "call", "arguments", "value"];
const ERRORS: [&str; 2] = ["error", "cause"];
/// The chapter whose first table names the statuses.
const STATUSES: &str = "errors.md";
/// What the suite's lines begin with.
const MARK: &str = "refused: ";

/// Errors that an implementation may never give, and that ours does not give to the suite: nothing of it takes so long
/// that it is done in parts, its pool serves any single guest, and it restarts every domain.
const OF_CHOICE: [(&str, &str); 6] = [
    ("MMU.FLUSH_ALL", "AGAIN"),
    ("MMU.FLUSH_RANGE", "AGAIN"),
    ("MMU.LOAD_ROOT", "NO_RESOURCES"),
    ("MMU.POPULATE", "NO_RESOURCES"),
    ("MMU.RELEASE_ROOT", "AGAIN"),
    ("SCHED.SHUTDOWN", "NOT_SUPPORTED"),
];

/// A call and an error of it.
type Pair = (String, String);

/// Errors that are listed and were not provoked, or the other way round, in what the suite printed.
pub fn check(specification: &Specification, console: &str) -> Vec<String> {
    let (listed, provoked) = (listed(specification), provoked(specification, console));
    let of_choice: BTreeSet<Pair> =
        OF_CHOICE.iter().map(|(call, error)| ((*call).into(), (*error).into())).collect();
    let mut found = Vec::new();
    for (call, error) in listed.difference(&provoked).filter(|pair| !of_choice.contains(pair)) {
        found.push(format!("no test provokes {error} of {call}"));
    }
    // NOT_SUPPORTED can come from every number and is listed nowhere.
    let strange = provoked.difference(&listed).filter(|(_, error)| error != "NOT_SUPPORTED");
    found.extend(
        strange.map(|(call, error)| format!("the suite wants {error} of {call}, which is not listed")),
    );
    for (call, error) in of_choice.difference(&listed) {
        found.push(format!("{error} of {call} is not listed any more"));
    }
    for (call, error) in of_choice.intersection(&provoked) {
        found.push(format!("{error} of {call} is provoked after all"));
    }
    found
}

fn tables<'a>(specification: &'a Specification, columns: &'a [&str]) -> impl Iterator<Item = &'a Table> {
    let tables = specification.chapters.iter().flat_map(|chapter| &chapter.tables);
    tables.filter(move |table| table.columns == columns)
}

/// What the chapters list. The heading names the call, or several; else the text above the table does.
fn listed(specification: &Specification) -> BTreeSet<Pair> {
    let mut pairs = BTreeSet::new();
    for chapter in &specification.chapters {
        let calls =
            chapter.tables.iter().filter(|table| table.columns == CALLS).flat_map(|table| &table.rows);
        let calls: Vec<&String> = calls.map(|row| &row[1]).collect();
        for table in chapter.tables.iter().filter(|table| table.columns == ERRORS) {
            let is_named = |call: &str, name: &str| call.split_once('.').is_some_and(|(_, own)| own == name);
            let by_heading = |call: &str| table.heading.split(", ").any(|name| is_named(call, name));
            let by_text = |call: &str| table.names.iter().any(|name| is_named(call, name));
            let has_heading = calls.iter().any(|call| by_heading(call));
            for call in calls.iter().filter(|call| if has_heading { by_heading(call) } else { by_text(call) })
            {
                pairs.extend(table.rows.iter().map(|row| ((*call).clone(), row[0].clone())));
            }
        }
    }
    pairs
}

fn provoked(specification: &Specification, console: &str) -> BTreeSet<Pair> {
    let named = |table: &Table, value: &str, at: [usize; 2]| -> Option<String> {
        let row = table.rows.iter().find(|row| row[at[0]] == value)?;
        Some(row[at[1]].clone())
    };
    let status = specification.chapters.iter().find(|chapter| chapter.file == STATUSES);
    let statuses = status.and_then(|chapter| chapter.tables.first());
    let mut pairs = BTreeSet::new();
    for line in console.lines().filter_map(|line| untag(line.trim_end()).strip_prefix(MARK)) {
        let mut words = line.split_whitespace();
        let number = words.next().unwrap_or_default();
        let Some(call) = tables(specification, &CALLS).find_map(|table| named(table, number, [0, 1])) else {
            continue;
        };
        let errors = words.filter_map(|word| named(statuses?, word, [0, 1]));
        pairs.extend(errors.map(|error| (call.clone(), error)));
    }
    pairs
}

/// A line without the name of its domain in brackets, which a target with two domains may put before it.
fn untag(line: &str) -> &str {
    match line.strip_prefix('[').and_then(|rest| rest.split_once("] ")) {
        Some((_, text)) => text,
        None => line,
    }
}

#[cfg(test)]
mod tests {
    use super::super::markdown::Chapter;
    use super::*;

    fn specification() -> Specification {
        let statuses =
            "| value | name | meaning |\n| --- | --- | --- |\n| -2 | BAD | x |\n| -4 | BUSY | x |\n";
        let chapter = "| number | call | arguments | value |\n| --- | --- | --- | --- |\n\
                       | `0x90000` | AB.ONE | – | 0 |\n| `0x90001` | AB.TWO | – | 0 |\n\n\
                       ## ONE, TWO\n\n| error | cause |\n| --- | --- |\n| BAD | x |\n";
        let chapters = vec![Chapter::parse(STATUSES, statuses), Chapter::parse("ab.md", chapter)];
        Specification { chapters, summary: Chapter::default() }
    }

    /// Without what is said of errors that an implementation may leave out.
    fn found(console: &str) -> Vec<String> {
        check(&specification(), console).into_iter().filter(|line| line.contains("AB.")).collect()
    }

    #[test]
    fn what_is_listed_has_to_be_provoked_and_nothing_else() {
        assert!(found("refused: 0x90000 -2\r\nrefused: 0x90001 -2\r\n").is_empty());
        assert!(found("[suite] refused: 0x90000 -2\n[suite] refused: 0x90001 -2\n").is_empty());
        assert_eq!(found("test: x pass\nrefused: 0x90000 -2\n"), ["no test provokes BAD of AB.TWO"]);
        let more = "refused: 0x90000 -2 -4\nrefused: 0x90001 -2\n";
        assert_eq!(found(more), ["the suite wants BUSY of AB.ONE, which is not listed"]);
    }
}
