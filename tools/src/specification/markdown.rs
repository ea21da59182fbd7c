//! A chapter taken apart. The grammar is `pulldown-cmark`'s; blocks for the rules are cut by blank lines.

use pulldown_cmark::{Event, Options, Parser, Tag, TagEnd};

/// A chapter.
#[derive(Debug, Default)]
pub struct Chapter {
    /// File name.
    pub file: String,
    /// Anchors of its headings, as `mdbook` and others make them.
    pub anchors: Vec<String>,
    /// Targets of its links.
    pub links: Vec<String>,
    /// Its tables.
    pub tables: Vec<Table>,
    /// What stands in fences.
    pub code: Vec<String>,
    /// Paragraphs, each with the list or table that follows it.
    pub blocks: Vec<Block>,
}

/// A table and what it is about.
#[derive(Clone, Debug, Default)]
pub struct Table {
    /// The heading above.
    pub heading: String,
    /// Text since that heading or the table before.
    pub context: String,
    /// Words of that text in the font of code.
    pub names: Vec<String>,
    /// Names of the columns.
    pub columns: Vec<String>,
    /// Text of the cells.
    pub rows: Vec<Vec<String>>,
}

/// A paragraph with what belongs to it.
#[derive(Debug, Default)]
pub struct Block {
    /// The heading above.
    pub heading: String,
    /// Its text, as written.
    pub text: String,
}

impl Chapter {
    /// Takes `text` apart.
    pub fn parse(file: &str, text: &str) -> Self {
        let mut chapter = Self { file: file.to_owned(), blocks: blocks(text), ..Self::default() };
        chapter.read(text);
        chapter
    }

    fn read(&mut self, text: &str) {
        let mut table = Table::default();
        let (mut cell, mut row) = (String::new(), Vec::new());
        let mut place = Place::Text;
        for event in Parser::new_ext(text, Options::ENABLE_TABLES) {
            match event {
                Event::Start(Tag::Heading { .. }) => (place, cell) = (Place::Heading, String::new()),
                Event::End(TagEnd::Heading(_)) => {
                    self.add_anchor(&cell);
                    table = Table { heading: std::mem::take(&mut cell), ..Table::default() };
                    place = Place::Text;
                }
                Event::Start(Tag::Link { dest_url, .. }) => self.links.push(dest_url.into_string()),
                Event::Start(Tag::CodeBlock(_)) => (place, cell) = (Place::Code, String::new()),
                Event::End(TagEnd::CodeBlock) => {
                    self.code.push(std::mem::take(&mut cell));
                    place = Place::Text;
                }
                Event::Start(Tag::TableCell) => (place, cell) = (Place::Cell, String::new()),
                Event::End(TagEnd::TableCell) => row.push(std::mem::take(&mut cell)),
                Event::End(TagEnd::TableHead) => table.columns = std::mem::take(&mut row),
                Event::End(TagEnd::TableRow) => table.rows.push(std::mem::take(&mut row)),
                Event::End(TagEnd::Table) => {
                    self.tables.push(table.clone());
                    table = Table { heading: table.heading, ..Table::default() };
                    place = Place::Text;
                }
                Event::Text(piece) if place == Place::Text => table.context += &piece,
                Event::Code(piece) if place == Place::Text => {
                    table.context += &piece;
                    table.names.push(piece.into_string());
                }
                Event::SoftBreak if place == Place::Text => table.context.push(' '),
                Event::Text(piece) | Event::Code(piece) => cell += &piece,
                _ => {}
            }
        }
    }

    fn add_anchor(&mut self, heading: &str) {
        let anchor = anchor(heading);
        let again = self.anchors.iter().filter(|other| **other == anchor).count();
        self.anchors.push(if again == 0 { anchor } else { format!("{anchor}-{again}") });
    }
}

/// Where the reader is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Text,
    Heading,
    Code,
    Cell,
}

/// What a heading is linked by.
fn anchor(heading: &str) -> String {
    let letters = heading.trim().chars().filter_map(|letter| match letter {
        ' ' => Some('-'),
        '-' | '_' => Some(letter),
        _ => letter.is_alphanumeric().then(|| letter.to_ascii_lowercase()),
    });
    letters.collect()
}

fn blocks(text: &str) -> Vec<Block> {
    let mut blocks: Vec<Block> = Vec::new();
    let (mut heading, mut is_code, mut is_new) = (String::new(), false, true);
    for line in text.lines() {
        if line.starts_with("```") {
            is_code = !is_code;
        } else if is_code {
        } else if let Some(title) = line.strip_prefix('#') {
            heading = title.trim_start_matches('#').trim().to_owned();
            is_new = true;
        } else if line.trim().is_empty() {
            is_new = true;
        } else {
            let has_heading = blocks.last().is_some_and(|block| block.heading == heading);
            if is_new && !(belongs_to_previous(line) && has_heading) {
                blocks.push(Block { heading: heading.clone(), text: String::new() });
            }
            is_new = false;
            if let Some(block) = blocks.last_mut() {
                block.text += line;
                block.text.push('\n');
            }
        }
    }
    blocks
}

/// A list or table belongs to the paragraph before it.
fn belongs_to_previous(line: &str) -> bool {
    let after_number = line.trim_start_matches(|letter: char| letter.is_ascii_digit());
    let is_numbered = after_number.len() < line.len() && after_number.starts_with(". ");
    is_numbered || ["* ", "- ", "| ", " "].iter().any(|start| line.starts_with(start))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "# Title\n\nText of `Thing`,\nmore.\n\n| a | b |\n| --- | --- |\n| `x` | y [z](w.md#v) |\n\n\
                        ## `int n`, and so on\n\nOne MUST:\n\n* first\n* second\n\nAlone.\n\n```text\nMUST\n```\n\n## Title\n";

    #[test]
    fn tables_know_what_they_are_about() {
        let chapter = Chapter::parse("a.md", TEXT);
        let table = &chapter.tables[0];
        assert_eq!((table.heading.as_str(), table.context.as_str()), ("Title", "Text of Thing, more."));
        assert_eq!(table.names, ["Thing"]);
        assert_eq!(table.columns, ["a", "b"]);
        assert_eq!(table.rows, [["x", "y z"]]);
        assert_eq!(chapter.links, ["w.md#v"]);
        assert_eq!(chapter.code, ["MUST\n"]);
    }

    #[test]
    fn anchors_are_those_of_mdbook() {
        let chapter = Chapter::parse("a.md", TEXT);
        assert_eq!(chapter.anchors, ["title", "int-n-and-so-on", "title-1"]);
        assert_eq!(anchor("SET_DEADLINE"), "set_deadline");
    }

    #[test]
    fn lists_and_tables_belong_to_their_paragraph_and_code_to_nobody() {
        let texts: Vec<_> = Chapter::parse("a.md", TEXT).blocks.into_iter().map(|block| block.text).collect();
        assert!(texts[0].starts_with("Text of") && texts[0].contains("| `x`"), "{texts:?}");
        assert_eq!(texts[1..], ["One MUST:\n* first\n* second\n", "Alone.\n"]);
    }
}
