//! The results as one HTML file that needs no other: for whoever has to be convinced.
//!
//! What went wrong comes first, with its console; then each requirement of the specification with the tests that cover
//! it. There is no script: folding is HTML's own.

use maud::{DOCTYPE, Markup, PreEscaped, html};
use pulldown_cmark::{Event, Options, Parser, Tag, TagEnd};

use super::{Problem, Report, TestResult};
use crate::spec::{Chapter, Requirement};
use crate::verdict::Verdict;

const STYLE: &str = include_str!("style.css");

/// The text of the file.
pub(super) fn render(report: &Report<'_>) -> String {
    let verdict = report.outcome.verdict();
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { "pvops conformance: " (report.target) ": " (verdict) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                header class=(verdict.word()) { div.page { (heading(report, verdict)) } }
                main.page {
                    (attention(report))
                    (chapters(report))
                    (all_tests(report))
                    (how_to_read())
                }
            }
        }
    };
    page.into_string()
}

fn heading(report: &Report<'_>, verdict: Verdict) -> Markup {
    let outcome = report.outcome;
    html! {
        div.title {
            div {
                p.product { "pvops ABI conformance report" }
                h1 { (report.target) }
                p { (report.description) }
            }
            div.verdict { span.mark { (mark(verdict)) } span { (headline(verdict)) } }
        }
        (bar(&Verdict::ALL.map(|verdict| (verdict, outcome.count(verdict)))))
        dl.facts {
            (fact("Tests", &outcome.tests.len().to_string()))
            (fact("Requirements met", &requirements_met(report)))
            (fact("CPUs", &report.cpus.to_string()))
            (fact("Run", &format!("{}, {:.1} s", report.started, report.seconds)))
            @if outcome.starts > 1 { (fact("Starts", &format!("{}: the suite was resumed", outcome.starts))) }
            @if !report.filter.is_empty() { (fact("Only tests", &format!("{}…", report.filter))) }
            @if let Some(suite) = &outcome.suite {
                (fact("Suite", &format!("version {}, backend {}, ring {}", suite.version, suite.backend, suite.ring)))
            }
            div.wide { dt { "Suite image, SHA-256" } dd { code { (report.suite_sha256) } } }
            div.wide { dt { "Started by" } dd { code { (outcome.command.join(" ")) } } }
        }
    }
}

fn fact(name: &str, value: &str) -> Markup {
    html! { div { dt { (name) } dd { (value) } } }
}

const fn headline(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Pass => "Passed",
        Verdict::Skip => "Nothing applied",
        Verdict::Error => "Not proved: error",
        Verdict::Fail => "Failed",
        Verdict::Timeout => "Timed out",
        Verdict::Crash => "Crashed",
    }
}

const fn mark(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Pass => "✓",
        Verdict::Skip => "–",
        Verdict::Error => "!",
        Verdict::Fail | Verdict::Crash => "✕",
        Verdict::Timeout => "…",
    }
}

/// How many requirements have passed, of those that tests of this run cover.
fn requirements_met(report: &Report<'_>) -> String {
    let verdicts: Vec<Option<Verdict>> =
        report.specification.requirements().map(|asked| report.covered(&asked.id).verdict).collect();
    let tested = verdicts.iter().flatten().filter(|&&verdict| verdict != Verdict::Skip).count();
    let met = verdicts.iter().flatten().filter(|&&verdict| verdict == Verdict::Pass).count();
    format!("{met} of {tested} tested, {} in all", verdicts.len())
}

/// Proportions, and a legend that names them.
fn bar(counts: &[(Verdict, usize)]) -> Markup {
    let present = || counts.iter().filter(|(_, count)| *count > 0);
    html! {
        div.bar aria-hidden="true" {
            @for (verdict, count) in present() { span class=(verdict.word()) style=(format!("flex-grow:{count}")) {} }
        }
        p.legend {
            @for (verdict, count) in present() { span { i class=(verdict.word()) {} (count) " " (verdict) } }
        }
    }
}

fn chip(verdict: Verdict) -> Markup {
    html! { span class={ "chip " (verdict.word()) } { (mark(verdict)) " " (verdict) } }
}

fn attention(report: &Report<'_>) -> Markup {
    let bad: Vec<&TestResult> = report.outcome.tests.iter().filter(|test| test.verdict.is_bad()).collect();
    let problems = &report.outcome.problems;
    html! {
        @if !bad.is_empty() || !problems.is_empty() {
            section {
                h2 { "What went wrong" }
                @for problem in problems { (wrong(problem)) }
                @for test in bad { (failure(report, test)) }
            }
        }
    }
}

fn wrong(problem: &Problem) -> Markup {
    html! {
        article class={ "failure " (problem.verdict.word()) } {
            h3 { (chip(problem.verdict)) " the run" }
            p { (problem.text) }
            (log(&problem.log))
        }
    }
}

fn failure(report: &Report<'_>, test: &TestResult) -> Markup {
    html! {
        article class={ "failure " (test.verdict.word()) } id={ "failure-" (test.name) } {
            h3 { (chip(test.verdict)) " " (test.name) }
            @if !test.detail.is_empty() { p { (test.detail) } }
            p.covers {
                (links(report, test))
            }
            // A single line says nothing that is not said already.
            @if test.log.len() > 1 { (log(&test.log)) }
        }
    }
}

/// The requirements of a test. One that the specification at hand does not have cannot be linked.
fn links(report: &Report<'_>, test: &TestResult) -> Markup {
    html! {
        @for id in &test.requirements {
            @if report.specification.has(id) { a href={ "#" (id) } { (id) } } @else { (id) }
            " "
        }
    }
}

fn log(lines: &[String]) -> Markup {
    html! { @if !lines.is_empty() { pre { (lines.join("\n")) } } }
}

fn chapters(report: &Report<'_>) -> Markup {
    html! {
        section {
            h2 { "Requirements" }
            @for part in &report.specification.chapters { (chapter(report, part)) }
        }
    }
}

fn chapter(report: &Report<'_>, chapter: &Chapter) -> Markup {
    let verdicts: Vec<Option<Verdict>> =
        chapter.requirements.iter().map(|asked| report.covered(&asked.id).verdict).collect();
    let counts =
        Verdict::ALL.map(|verdict| (verdict, verdicts.iter().filter(|&&one| one == Some(verdict)).count()));
    let untested = verdicts.iter().filter(|verdict| verdict.is_none()).count();
    let worst = verdicts.iter().flatten().copied().filter(|verdict| verdict.is_bad()).max();
    html! {
        details.chapter open[worst.is_some()] {
            summary {
                span.name { (chapter.title) }
                span.counts {
                    @for (verdict, count) in counts { @if count > 0 { span class={ "count " (verdict.word()) } title=(verdict) { (mark(verdict)) " " (count) } } }
                    @if untested > 0 { span.count.untested title="not covered by this suite" { "○ " (untested) } }
                }
            }
            @for asked in &chapter.requirements { (requirement(report, asked)) }
        }
    }
}

fn requirement(report: &Report<'_>, asked: &Requirement) -> Markup {
    let covered = report.covered(&asked.id);
    html! {
        div.requirement id=(asked.id) {
            div.id {
                b { (asked.id) }
                @match covered.verdict {
                    Some(verdict) => (chip(verdict)),
                    None => span.chip.untested { "○ not tested" },
                }
            }
            div {
                div.text { (inline(&asked.text)) }
                @if let Some(reason) = report.untestable.get(&asked.id) { p.reason { "Not testable: " (reason) } }
                ul.tests { @for test in covered.tests { (test_chip(test)) } }
            }
        }
    }
}

fn test_chip(test: &TestResult) -> Markup {
    let text =
        html! { span class={ "mark " (test.verdict.word()) } { (mark(test.verdict)) } " " (test.name) };
    html! {
        li title=(test.verdict) {
            @if test.verdict.is_bad() { a href={ "#failure-" (test.name) } { (text) } } @else { (text) }
        }
    }
}

fn all_tests(report: &Report<'_>) -> Markup {
    let tests = &report.outcome.tests;
    html! {
        section {
            h2 { "Tests" }
            @for group in tests.chunk_by(|one, other| one.group() == other.group()) { (group_of_tests(report, group)) }
        }
    }
}

fn group_of_tests(report: &Report<'_>, tests: &[TestResult]) -> Markup {
    let count = |verdict| tests.iter().filter(|test| test.verdict == verdict).count();
    html! {
        details.chapter {
            summary {
                span.name { (tests[0].group()) }
                span.counts {
                    @for verdict in Verdict::ALL { @if count(verdict) > 0 { span class={ "count " (verdict.word()) } title=(verdict) { (mark(verdict)) " " (count(verdict)) } } }
                }
            }
            table {
                @for test in tests {
                    tr {
                        td { (chip(test.verdict)) }
                        td.test { (test.name) }
                        td.covers { (links(report, test)) }
                        td.detail { (test.detail) }
                        td.time { (format!("{:.0} ms", test.seconds * 1000.0)) }
                    }
                }
            }
        }
    }
}

fn how_to_read() -> Markup {
    let meanings = [
        (Verdict::Pass, "every check held"),
        (Verdict::Skip, "does not apply here, such as an optional extension that is absent"),
        (
            Verdict::Error,
            "the suite, the machine or the description of the target is at fault; nothing is proved",
        ),
        (Verdict::Fail, "the target broke a promise; the text tells of the first check that failed"),
        (
            Verdict::Crash,
            "the target, or the suite on it, went down during the test; the suite was resumed behind it",
        ),
        (Verdict::Timeout, "the target was silent for too long during the test"),
    ];
    html! {
        section.key {
            h2 { "How to read this" }
            table { @for (verdict, meaning) in meanings { tr { td { (chip(verdict)) } td { (meaning) } } } }
            p { "The worst verdict of its tests is that of a requirement, and the worst of all that of the run. Skipped tests do no harm as long as others pass." }
        }
    }
}

/// Markdown of a paragraph as HTML. Links lead to other chapters, which are not here; only their text stays, and HTML
/// is text.
fn inline(markdown: &str) -> Markup {
    let events = Parser::new_ext(markdown, Options::ENABLE_TABLES).filter_map(|event| match event {
        Event::Start(Tag::Link { .. } | Tag::Image { .. }) | Event::End(TagEnd::Link | TagEnd::Image) => None,
        Event::Html(text) | Event::InlineHtml(text) => Some(Event::Text(text)),
        event => Some(event),
    });
    let mut text = String::new();
    pulldown_cmark::html::push_html(&mut text, events);
    PreEscaped(text)
}

#[cfg(test)]
mod tests {
    use super::inline;

    #[test]
    fn paragraphs_are_rendered_without_links_and_foreign_html() {
        let text =
            inline("A `call<T>` of [BIND](evt.md#bind) *must* <script>alert(1)</script>.").into_string();
        assert!(text.contains("<code>call&lt;T&gt;</code>"), "{text}");
        assert!(text.contains("of BIND <em>must</em>"), "{text}");
        assert!(!text.contains("<script>") && !text.contains("href"), "{text}");
    }
}
