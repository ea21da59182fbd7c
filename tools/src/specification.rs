//! The specification as data: its chapters, and what can be checked of them.
//!
//! * [`markdown`]: from text to headings, tables, links, blocks of code.
//! * [`tables`]: numbers, sizes and offsets are those of the crate `pvops-abi`.
//! * [`errors`]: every error that is listed is provoked by the suite.
//! * [`rules`]: every MUST has an id, ids are unique, links lead somewhere, the summary is complete.

pub mod errors;
pub mod markdown;
pub mod rules;
pub mod tables;

use std::fs;

use crate::failure::{Failure, Kind};
use crate::workspace::Workspace;
use markdown::Chapter;

/// All chapters, by file name; the summary is not one.
#[derive(Debug)]
pub struct Specification {
    /// The chapters.
    pub chapters: Vec<Chapter>,
    /// The list of chapters from which a book is made.
    pub summary: Chapter,
}

const SUMMARY: &str = "SUMMARY.md";

impl Specification {
    /// Reads the specification of this workspace.
    pub fn read(workspace: &Workspace) -> Result<Self, Failure> {
        let folder = workspace.specification();
        let cannot = |error| Failure::file("read", &folder, &error);
        let mut chapters = Vec::new();
        for entry in fs::read_dir(&folder).map_err(cannot)? {
            let path = entry.map_err(cannot)?.path();
            if path.extension().is_some_and(|extension| extension == "md") {
                let text = fs::read_to_string(&path).map_err(|error| Failure::file("read", &path, &error))?;
                let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
                chapters.push(Chapter::parse(&name, &text));
            }
        }
        chapters.sort_by(|one, other| one.file.cmp(&other.file));
        let summary = chapters.iter().position(|chapter| chapter.file == SUMMARY);
        let summary = summary.ok_or_else(|| problems(&["spec has no SUMMARY.md".into()]))?;
        Ok(Self { summary: chapters.remove(summary), chapters })
    }

    /// A chapter by its file name.
    pub fn chapter(&self, file: &str) -> Result<&Chapter, Failure> {
        let found = self.chapters.iter().find(|chapter| chapter.file == file);
        found.ok_or_else(|| problems(&[format!("spec has no {file}")]))
    }
}

/// What was found wrong, as one failure.
pub fn problems(found: &[String]) -> Failure {
    Failure::new(Kind::CheckFailed, found.join("\n"))
}
