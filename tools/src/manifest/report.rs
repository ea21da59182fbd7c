//! Problems in a manifest, shown like a compiler's.

use std::io::IsTerminal;
use std::ops::Range;
use std::path::Path;

use annotate_snippets::{AnnotationKind, Level, Renderer, Snippet};

/// One problem.
#[derive(Debug)]
pub(super) struct Problem {
    /// What is wrong.
    pub(super) title: String,
    /// Where, in bytes.
    pub(super) span: Range<usize>,
    /// The few words under the marked text; names the key.
    pub(super) label: String,
    /// What to do.
    pub(super) help: Option<String>,
}

impl Problem {
    /// A problem without advice.
    pub(super) fn new(title: impl Into<String>, span: Range<usize>, label: impl Into<String>) -> Self {
        Self { title: title.into(), span, label: label.into(), help: None }
    }

    /// The same with advice.
    pub(super) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// What the TOML parser or serde found.
    pub(super) fn from_toml(text: &str, error: &toml::de::Error) -> Self {
        let span = error.span().unwrap_or(0..0);
        let title = error.message().trim().replace('\n', ", ");
        let label = match key_of_line(text, span.start) {
            Some(key) => format!("at `{key}`"),
            None => "here".into(),
        };
        let problem = Self::new(title, span, label);
        match (closest_key(error.message()), error.message().contains("expected")) {
            (Some((wrong, right)), _) => {
                problem.help(format!("did you mean `{right}` instead of `{wrong}`?"))
            }
            _ => problem,
        }
    }
}

/// All problems as one text.
pub(super) fn render(path: &Path, text: &str, problems: &[Problem]) -> String {
    let path = path.display().to_string();
    let renderer = if std::io::stderr().is_terminal() { Renderer::styled() } else { Renderer::plain() };
    let reports: Vec<String> = problems
        .iter()
        .map(|problem| {
            let annotation = AnnotationKind::Primary.span(problem.span.clone()).label(&problem.label);
            let snippet = Snippet::source(text).path(&path).annotation(annotation);
            let mut group = Level::ERROR.primary_title(&problem.title).element(snippet);
            if let Some(help) = &problem.help {
                group = group.element(Level::HELP.message(help));
            }
            renderer.render(&[group]).to_string()
        })
        .collect();
    reports.join("\n\n")
}

/// The key that the line of `offset` begins with.
fn key_of_line(text: &str, offset: usize) -> Option<&str> {
    let start = text.get(..offset)?.rfind('\n').map_or(0, |newline| newline + 1);
    let (key, _) = text.get(start..)?.lines().next()?.split_once('=')?;
    let key = key.trim();
    key.chars().all(|character| character.is_alphanumeric() || "_-.".contains(character)).then_some(key)
}

/// For "unknown field `a`, expected one of `b`, `c`": `a` and the likeliest intention.
fn closest_key(message: &str) -> Option<(&str, &str)> {
    if !message.starts_with("unknown ") {
        return None;
    }
    let mut quoted = message.split('`').skip(1).step_by(2);
    let wrong = quoted.next()?;
    let (distance, right) = quoted.map(|key| (edit_distance(wrong, key), key)).min()?;
    (distance <= 2).then_some((wrong, right))
}

/// Insertions, deletions, replacements that turn one word into the other.
fn edit_distance(one: &str, other: &str) -> usize {
    let other: Vec<char> = other.chars().collect();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (line, character) in one.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = line + 1;
        for (column, other_character) in other.iter().enumerate() {
            let replaced = diagonal + usize::from(character != *other_character);
            diagonal = row[column + 1];
            row[column + 1] = replaced.min(row[column] + 1).min(diagonal + 1);
        }
    }
    row[other.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances() {
        assert_eq!(edit_distance("memory", "memory"), 0);
        assert_eq!(edit_distance("memroy", "memory"), 2);
        assert_eq!(edit_distance("", "abc"), 3);
    }

    #[test]
    fn suggestions() {
        let message = "unknown field `memroy`, expected one of `name`, `image`, `memory`";
        assert_eq!(closest_key(message), Some(("memroy", "memory")));
        assert_eq!(closest_key("unknown field `x`, expected `name`"), None);
        assert_eq!(closest_key("invalid type: integer `1`, expected a string"), None);
    }

    #[test]
    fn keys() {
        let text = "a = 1\n  b_c = { d = 2 }\n[x]\n";
        assert_eq!(key_of_line(text, 4), Some("a"));
        assert_eq!(key_of_line(text, 20), Some("b_c"));
        assert_eq!(key_of_line(text, 25), None);
    }
}
