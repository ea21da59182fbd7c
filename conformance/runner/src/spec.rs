//! The requirements of the specification, from its chapters: what follows a bold id, up to the end of the paragraph or of
//! the list that it introduces.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use crate::failure::{Failure, Kind};

/// The specification.
#[derive(Clone, Debug, Default)]
pub struct Specification {
    /// Chapters that have requirements, in the order of the summary.
    pub chapters: Vec<Chapter>,
}

/// A chapter.
#[derive(Clone, Debug)]
pub struct Chapter {
    /// Its file.
    pub file: String,
    /// Its heading.
    pub title: String,
    /// What it requires.
    pub requirements: Vec<Requirement>,
}

/// A requirement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Requirement {
    /// Its id, such as `EVT-009`.
    pub id: String,
    /// The rest of its paragraph, in Markdown.
    pub text: String,
}

impl Specification {
    /// Reads the chapters that `SUMMARY.md` in `folder` links.
    pub fn read(folder: &Path) -> Result<Self, Failure> {
        let read = |file: &str| {
            let path = folder.join(file);
            fs::read_to_string(&path).map_err(|error| Failure::file("read", &path, &error))
        };
        let mut specification = Self::default();
        for file in linked_files(&read("SUMMARY.md")?) {
            let chapter = Chapter::parse(file, &read(file)?);
            if !chapter.requirements.is_empty() {
                specification.chapters.push(chapter);
            }
        }
        let ids: Vec<&str> =
            specification.requirements().map(|requirement| requirement.id.as_str()).collect();
        match (1..ids.len()).find(|&index| ids[..index].contains(&ids[index])) {
            None => Ok(specification),
            Some(index) => {
                let message = format!("{} has {} twice", folder.display(), ids[index]);
                Err(Failure::new(Kind::File, message))
            }
        }
    }

    /// All requirements.
    pub fn requirements(&self) -> impl Iterator<Item = &Requirement> {
        self.chapters.iter().flat_map(|chapter| &chapter.requirements)
    }

    /// Whether there is such an id.
    pub fn has(&self, id: &str) -> bool {
        self.requirements().any(|requirement| requirement.id == id)
    }
}

/// Requirements that no test can show, with the reasons, from `untestable.toml` in `folder`.
pub fn untestable(folder: &Path) -> Result<BTreeMap<String, String>, Failure> {
    let path = folder.join("untestable.toml");
    if !path.exists() {
        return Ok(BTreeMap::new());
    }
    let text = fs::read_to_string(&path).map_err(|error| Failure::file("read", &path, &error))?;
    toml::from_str(&text).map_err(|error| {
        Failure::new(Kind::File, format!("{}: {}", path.display(), error.to_string().trim_end()))
    })
}

impl Chapter {
    fn parse(file: &str, text: &str) -> Self {
        let title = text.lines().find_map(|line| line.strip_prefix("# ")).unwrap_or(file);
        let mut requirements: Vec<Requirement> = Vec::new();
        for paragraph in text.split("\n\n") {
            match requirements.last_mut() {
                Some(last) if last.text.ends_with(':') && is_list(paragraph) => {
                    last.text.push_str("\n\n");
                    last.text.push_str(paragraph.trim());
                }
                _ => requirements.extend(requirements_of(paragraph)),
            }
        }
        Self { file: file.to_owned(), title: title.to_owned(), requirements }
    }
}

impl Requirement {
    /// Whether conformance depends on it: other paragraphs state freedoms.
    pub fn is_must(&self) -> bool {
        self.text.contains("MUST")
    }

    /// Its beginning, for a line in a list.
    pub fn brief(&self, most: usize) -> String {
        let paragraph = self.text.split("\n\n").next().unwrap_or_default();
        let words: Vec<&str> = paragraph.split_whitespace().collect();
        let text = words.join(" ");
        match text.char_indices().nth(most) {
            None => text,
            Some((end, _)) => format!("{}…", text[..end].trim_end()),
        }
    }
}

/// Whether `word` is an id: capitals, a dash, three digits.
pub fn is_id(word: &str) -> bool {
    word.split_once('-').is_some_and(|(chapter, number)| {
        chapter.len() >= 2
            && chapter.chars().all(|letter| letter.is_ascii_uppercase())
            && number.len() == 3
            && number.chars().all(|digit| digit.is_ascii_digit())
    })
}

/// What a paragraph requires: each bold id begins a requirement, which goes on to the next one or to the end.
fn requirements_of(paragraph: &str) -> Vec<Requirement> {
    let mut requirements: Vec<Requirement> = Vec::new();
    // Every second piece stands between two pairs of asterisks.
    for (index, piece) in paragraph.trim().split("**").enumerate() {
        if index % 2 == 1 && is_id(piece) {
            requirements.push(Requirement { id: piece.to_owned(), text: String::new() });
        } else if let Some(last) = requirements.last_mut() {
            let bold = if index % 2 == 1 { "**" } else { "" };
            last.text.extend([bold, piece, bold]);
        }
    }
    for requirement in &mut requirements {
        requirement.text = requirement.text.trim().to_owned();
    }
    requirements
}

/// Whether a paragraph is a list or table, which belongs to the sentence before it.
fn is_list(paragraph: &str) -> bool {
    ["* ", "- ", "1. ", "| "].iter().any(|mark| paragraph.trim_start().starts_with(mark))
}

fn linked_files(summary: &str) -> Vec<&str> {
    let file_of = |part: &'_ str| part.split_once(')').map(|(file, _)| file.len());
    summary
        .split("](")
        .skip(1)
        .filter_map(|part| file_of(part).map(|length| &part[..length]))
        .filter(|file| file.ends_with(".md"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_requirement_is_what_follows_a_bold_id() {
        let text = "# EVT: events\n\n**EVT-001** A hypervisor MUST\ndo **all** of `this`.\n\nSee EVT-009.\n\n\
                    **Note** nothing. **EVT-002** It MAY rest. **EVT-003** It MUST:\n\n1. stop;\n2. end.\n\nMore.\n";
        let chapter = Chapter::parse("evt.md", text);
        assert_eq!(chapter.title, "EVT: events");
        let ids: Vec<&str> = chapter.requirements.iter().map(|requirement| requirement.id.as_str()).collect();
        assert_eq!(ids, ["EVT-001", "EVT-002", "EVT-003"]);
        assert_eq!(chapter.requirements[0].text, "A hypervisor MUST\ndo **all** of `this`.");
        assert_eq!(chapter.requirements[1].text, "It MAY rest.");
        assert_eq!(chapter.requirements[2].text, "It MUST:\n\n1. stop;\n2. end.");
        assert!(chapter.requirements[0].is_must() && !chapter.requirements[1].is_must());
        assert_eq!(chapter.requirements[0].brief(12), "A hypervisor…");
    }

    #[test]
    fn chapters_come_in_the_order_of_the_summary() {
        assert_eq!(linked_files("- [B](b.md)\n- [A, too](a.md)\n[x](http://x)"), ["b.md", "a.md"]);
    }

    #[test]
    fn this_specification_is_read() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../spec");
        let specification = Specification::read(&folder).unwrap();
        assert!(specification.chapters.len() > 10 && specification.requirements().count() > 100);
        assert!(specification.has("EVT-001") && !specification.has("EVT-NO1"));
    }
}
