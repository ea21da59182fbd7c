//! What holds for the text itself.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use super::Specification;
use super::markdown::Block;
use crate::failure::Failure;

/// The section that says what MUST means.
const EXEMPT: &str = "Requirement words";
/// Letters and digits of an id.
const MOST_LETTERS: usize = 5;
const DIGITS: usize = 3;

/// A statement with MUST stands in a block that carries an id; ids are given once; those that are cited exist.
pub fn requirements(specification: &Specification) -> Vec<String> {
    let mut found = Vec::new();
    let mut places: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    let mut cited: BTreeSet<(&str, String)> = BTreeSet::new();
    for chapter in &specification.chapters {
        for block in &chapter.blocks {
            let own = defined_ids(&block.text);
            if own.is_empty() && has_must(block) {
                found.push(format!("{}: a MUST without an id: {}", chapter.file, first_words(&block.text)));
            }
            cited.extend(ids(&block.text).map(|id| (chapter.file.as_str(), id)));
            for id in own {
                places.entry(id).or_default().push(&chapter.file);
            }
        }
    }
    for (id, files) in &places {
        if files.len() > 1 {
            found.push(format!("{id} is given {} times, in {}", files.len(), files.join(", ")));
        }
    }
    let unknown = cited.iter().filter(|(_, id)| !places.contains_key(id));
    found.extend(unknown.map(|(file, id)| format!("{file} cites {id}, which does not exist")));
    found
}

/// Ids that the sources below `folder` cite exist, as far as their letters are those of a chapter.
///
/// # Errors
/// A file cannot be read.
pub fn citations(specification: &Specification, folder: &Path) -> Result<Vec<String>, Failure> {
    let blocks = specification.chapters.iter().flat_map(|chapter| &chapter.blocks);
    let known: BTreeSet<String> = blocks.flat_map(|block| defined_ids(&block.text)).collect();
    let letters: BTreeSet<&str> = known.iter().filter_map(|id| Some(id.split_once('-')?.0)).collect();
    let mut found = Vec::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(folder) = folders.pop() {
        let cannot = |error| Failure::file("read", &folder, &error);
        for entry in fs::read_dir(&folder).map_err(cannot)? {
            let path = entry.map_err(cannot)?.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs" || extension == "toml") {
                let text = fs::read_to_string(&path).map_err(|error| Failure::file("read", &path, &error))?;
                let wrong = ids(&text)
                    .filter(|id| !known.contains(id) && letters.contains(&id[..id.len() - DIGITS - 1]));
                found.extend(wrong.map(|id| format!("{} cites {id}, which does not exist", path.display())));
            }
        }
    }
    Ok(found)
}

/// Every chapter is in the summary, and links lead somewhere.
pub fn links(specification: &Specification, folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for chapter in &specification.chapters {
        if !specification.summary.links.contains(&chapter.file) {
            found.push(format!("SUMMARY.md does not list {}", chapter.file));
        }
    }
    for chapter in specification.chapters.iter().chain([&specification.summary]) {
        for link in chapter.links.iter().filter(|link| !link.contains("://")) {
            let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
            let file = if file.is_empty() { &chapter.file } else { file };
            let target = specification.chapters.iter().find(|target| target.file == file);
            let leads = match target {
                Some(target) => anchor.is_empty() || target.anchors.iter().any(|other| other == anchor),
                // A book holds nothing from outside its folder.
                None => anchor.is_empty() && !file.contains("..") && folder.join(file).exists(),
            };
            if !leads {
                found.push(format!("{}: the link {link} leads nowhere", chapter.file));
            }
        }
    }
    found
}

fn has_must(block: &Block) -> bool {
    block.heading != EXEMPT
        && block.text.split(|letter: char| !letter.is_alphanumeric()).any(|word| word == "MUST")
}

/// Ids that a text gives: those in bold.
fn defined_ids(text: &str) -> Vec<String> {
    let pieces: Vec<&str> = text.split("**").collect();
    pieces.iter().skip(1).step_by(2).filter(|piece| is_id(piece)).map(|piece| (*piece).to_owned()).collect()
}

/// Ids that a text names, given or cited.
fn ids(text: &str) -> impl Iterator<Item = String> {
    let words = text.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '-');
    words.filter(|word| is_id(word)).map(str::to_owned)
}

/// `EVT-012`.
fn is_id(word: &str) -> bool {
    word.split_once('-').is_some_and(|(letters, digits)| {
        (2..=MOST_LETTERS).contains(&letters.len())
            && letters.bytes().all(|letter| letter.is_ascii_uppercase())
            && digits.len() == DIGITS
            && digits.bytes().all(|digit| digit.is_ascii_digit())
    })
}

fn first_words(text: &str) -> String {
    text.split_whitespace().take(12).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::super::markdown::Chapter;
    use super::*;

    fn specification(texts: &[(&str, &str)], summary: &str) -> Specification {
        let chapters = texts.iter().map(|(file, text)| Chapter::parse(file, text)).collect();
        Specification { chapters, summary: Chapter::parse("SUMMARY.md", summary) }
    }

    #[test]
    fn a_must_needs_an_id_and_an_id_one_place() {
        let good = specification(&[("a.md", "**EVT-001** It MUST:\n\n1. work\n\nSee EVT-001. It must.")], "");
        assert_eq!(requirements(&good), <[String; 0]>::default());
        let bad = specification(
            &[("a.md", "It MUST work.\n\n**EVT-001** a"), ("b.md", "**EVT-001** b; see EVT-002")],
            "",
        );
        let found = requirements(&bad);
        assert_eq!(found.len(), 3, "{found:?}");
        assert!(found[0].starts_with("a.md: a MUST without an id: It MUST work."));
        assert!(found[1].starts_with("EVT-001 is given 2 times"));
        assert!(found[2].starts_with("b.md cites EVT-002"));
    }

    #[test]
    fn sources_cite_what_exists() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("tests")).unwrap();
        let source = "[\"EVT-001\", \"EVT-077\"] AES-128";
        fs::write(folder.path().join("tests/one.rs"), source).unwrap();
        fs::write(folder.path().join("note.txt"), "EVT-088").unwrap();
        let found = citations(&specification(&[("a.md", "**EVT-001** a")], ""), folder.path()).unwrap();
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].ends_with("one.rs cites EVT-077, which does not exist"));
    }

    #[test]
    fn links_and_the_summary_are_checked() {
        let texts = [
            ("a.md", "# Top\n\n[b](b.md#in-b) [here](#top) [gone](#gone) [web](https://x.y/z)"),
            ("b.md", "# In b"),
        ];
        let found = links(&specification(&texts, "[a](a.md)"), Path::new("/nowhere"));
        assert_eq!(found, ["SUMMARY.md does not list b.md", "a.md: the link #gone leads nowhere"]);
        let found = links(&specification(&texts[1..], "[b](b.md) [c](c.md) [up](..)"), Path::new("/"));
        assert_eq!(
            found,
            ["SUMMARY.md: the link c.md leads nowhere", "SUMMARY.md: the link .. leads nowhere"]
        );
    }
}
