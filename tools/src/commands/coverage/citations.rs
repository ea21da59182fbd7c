//! How tests outside the suite cite requirements: by a comment above the test's function,
//!
//! ```text
//! // covers: EVT-009, EVT-011
//! #[test]
//! fn …
//! ```
//!
//! for unit tests and for cases of `cargo pv test`; and by the tables of `spec/attacks.md`, where a row names ids and
//! the attack that tries them.

use std::fs;
use std::path::{Path, PathBuf};

use conformance_runner::spec::is_id;

use crate::failure::{Failure, Kind};

/// The comment, after the slashes.
const MARK: &str = "// covers: ";
/// Lines between the comment and its function: attributes and documentation.
const MOST_LINES_BETWEEN: usize = 12;
/// Where functions without `#[test]` are tests.
const CASES: &str = "tools/src/commands/test";

/// A test cites a requirement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Citation {
    /// The requirement.
    pub(super) id: String,
    /// The test, for people.
    pub(super) test: String,
}

/// All in the sources of the workspace at `root`.
pub(super) fn in_sources(root: &Path) -> Result<Vec<Citation>, Failure> {
    let mut citations = Vec::new();
    for path in rust_files(root)? {
        let text = fs::read_to_string(&path).map_err(|error| Failure::file("read", &path, &error))?;
        let shown = path.strip_prefix(root).unwrap_or(&path).display().to_string();
        let found = in_source(&shown, &text);
        citations.extend(found.map_err(|problem| Failure::new(Kind::CheckFailed, problem))?);
    }
    Ok(citations)
}

fn rust_files(root: &Path) -> Result<Vec<PathBuf>, Failure> {
    let mut files = Vec::new();
    let mut folders = vec![root.to_path_buf()];
    while let Some(folder) = folders.pop() {
        let entries = fs::read_dir(&folder).map_err(|error| Failure::file("read", &folder, &error))?;
        for path in entries.filter_map(Result::ok).map(|entry| entry.path()) {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            if path.is_dir() && name != "target" && !name.starts_with('.') {
                folders.push(path);
            } else if path.is_file() && name.ends_with(".rs") {
                files.push(path);
            }
        }
    }
    files.sort();
    Ok(files)
}

fn in_source(file: &str, text: &str) -> Result<Vec<Citation>, String> {
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    let mut citations = Vec::new();
    for (index, line) in lines.iter().enumerate() {
        let Some(ids) = line.strip_prefix(MARK) else { continue };
        let place = format!("{file}:{}", index + 1);
        let behind = &lines[index + 1..lines.len().min(index + 1 + MOST_LINES_BETWEEN)];
        let Some(position) = behind.iter().position(|line| function(line).is_some()) else {
            return Err(format!("{place}: no function follows what it covers"));
        };
        if !behind[..position].contains(&"#[test]") && !file.starts_with(CASES) {
            return Err(format!("{place}: the function that follows is no test"));
        }
        let test = format!("{file} {}", function(behind[position]).unwrap_or_default());
        for id in ids.split(',').map(str::trim) {
            if !is_id(id) {
                return Err(format!("{place}: {id:?} is no requirement's id"));
            }
            citations.push(Citation { id: id.to_owned(), test: test.clone() });
        }
    }
    Ok(citations)
}

/// The name of the function that begins in this line.
fn function(line: &str) -> Option<&str> {
    let (before, rest) = line.split_once("fn ")?;
    let only_words =
        before.split_whitespace().all(|word| matches!(word, "pub" | "pub(super)" | "pub(crate)"));
    only_words.then(|| rest.split(['(', '<']).next().unwrap_or(rest))
}

/// Those of the attacks' tables in the folder of the specification.
pub(super) fn in_attacks(folder: &Path) -> Result<Vec<Citation>, Failure> {
    let path = folder.join("attacks.md");
    let text = fs::read_to_string(&path).map_err(|error| Failure::file("read", &path, &error))?;
    Ok(text.lines().flat_map(in_row).collect())
}

fn in_row(line: &str) -> Vec<Citation> {
    let Some((row, tests)) = line.strip_suffix('|').and_then(|line| line.rsplit_once('|')) else {
        return Vec::new();
    };
    let ids = || row.split(|character: char| !character.is_ascii_alphanumeric() && character != '-');
    // Names stand between pairs of back quotes.
    let names = tests.split('`').skip(1).step_by(2);
    names
        .flat_map(|name| {
            let cite = move |id: &str| Citation { id: id.to_owned(), test: format!("hostile guest: {name}") };
            ids().filter(|word| is_id(word)).map(cite)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(citations: &[Citation]) -> Vec<(&str, &str)> {
        citations.iter().map(|citation| (citation.id.as_str(), citation.test.as_str())).collect()
    }

    #[test]
    fn a_comment_above_a_test_cites() {
        let text = ["    // covers: AB-001, AB-002", "    #[test]", "    fn it_works() {", "fn other() {}"];
        let found = in_source("a.rs", &text.join("\n")).unwrap();
        assert_eq!(pairs(&found), [("AB-001", "a.rs it_works"), ("AB-002", "a.rs it_works")]);
    }

    #[test]
    fn a_comment_elsewhere_is_refused() {
        let comment = ["//", " covers: AB-001\n"].concat();
        assert!(in_source("a.rs", &format!("{comment}fn helper() {{}}")).unwrap_err().contains("a.rs:1"));
        assert!(in_source("a.rs", &format!("{comment}let x = 1;")).is_err());
        assert!(in_source("a.rs", &format!("{}#[test]\nfn x() {{}}", comment.replace("001", "1"))).is_err());
        let case = "tools/src/commands/test/a.rs";
        assert_eq!(in_source(case, &format!("{comment}fn case() {{}}")).unwrap().len(), 1);
    }

    #[test]
    fn rows_of_attacks_cite() {
        let row = "| `CPU.IRET` to nowhere | fault: #GP (CPU-018, CPU-019) | `entries`, `stop-iret` |";
        let found = in_row(row);
        assert_eq!(found.len(), 4);
        assert_eq!(pairs(&found)[0], ("CPU-018", "hostile guest: entries"));
        assert!(in_row("| attack | outcome | test |").is_empty() && in_row("no row (CPU-001)").is_empty());
    }
}
