//! Problems in a manifest, shown like a compiler's.

use std::io::IsTerminal;
use std::ops::Range;
use std::path::Path;

use annotate_snippets::{AnnotationKind, Level, Renderer, Snippet};

/// One problem.
#[derive(Debug)]
pub(super) struct Problem {
    /// What is wrong.
    title: String,
    /// Where, in bytes, and the few words under the marked text.
    place: Place,
    /// Other places that have to do with it.
    others: Vec<Place>,
    /// Why that is wrong, and what to do.
    footers: Vec<(Level<'static>, String)>,
}

#[derive(Debug)]
struct Place {
    span: Range<usize>,
    label: String,
}

impl Problem {
    /// A problem without advice.
    pub(super) fn new(title: impl Into<String>, span: Range<usize>, label: impl Into<String>) -> Self {
        let place = Place { span, label: label.into() };
        Self { title: title.into(), place, others: Vec::new(), footers: Vec::new() }
    }

    /// The same with another place that has to do with it.
    pub(super) fn and(mut self, span: Range<usize>, label: impl Into<String>) -> Self {
        self.others.push(Place { span, label: label.into() });
        self
    }

    /// The same with a reason.
    pub(super) fn note(mut self, note: impl Into<String>) -> Self {
        self.footers.push((Level::NOTE, note.into()));
        self
    }

    /// The same with advice.
    pub(super) fn help(mut self, help: impl Into<String>) -> Self {
        self.footers.push((Level::HELP, help.into()));
        self
    }

    /// What the TOML parser found.
    pub(super) fn of_syntax(error: &toml::de::Error) -> Self {
        let span = error.span().unwrap_or(0..0);
        let message = error.message().trim().replace('\n', ", ");
        Self::new(format!("not TOML: {message}"), span, "here")
    }

    fn render(&self, renderer: &Renderer, path: &str, text: &str) -> String {
        let place = AnnotationKind::Primary.span(self.place.span.clone()).label(&self.place.label);
        let others = self
            .others
            .iter()
            .map(|other| AnnotationKind::Context.span(other.span.clone()).label(&other.label));
        let snippet = Snippet::source(text).path(path).annotation(place).annotations(others);
        let footers = self.footers.iter().map(|(level, text)| level.clone().message(text));
        let report = Level::ERROR.primary_title(&self.title).element(snippet).elements(footers);
        renderer.render(&[report]).to_string()
    }
}

/// All problems as one text, in the order of the file.
pub(super) fn render(path: &Path, text: &str, mut problems: Vec<Problem>) -> String {
    let path = path.display().to_string();
    let renderer = if std::io::stderr().is_terminal() { Renderer::styled() } else { Renderer::plain() };
    problems.sort_by_key(|problem| problem.place.span.start);
    let mut reports: Vec<String> =
        problems.iter().map(|problem| problem.render(&renderer, &path, text)).collect();
    if reports.len() > 1 {
        reports.push(format!("{path}: {} errors", reports.len()));
    }
    reports.join("\n\n")
}
