//! The lines that the suite prints, as `spec/conformance.md` describes them.

use crate::verdict::Verdict;

/// The version of the lines that is understood.
pub(crate) const FORMAT: u32 = 2;

/// How many tests came to what, by the suite's own count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Totals {
    /// Tests that passed.
    pub passed: usize,
    /// Tests that failed.
    pub failed: usize,
    /// Tests that could not be made.
    pub errors: usize,
    /// Tests that do not apply.
    pub skipped: usize,
}

/// What the suite says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    /// Of these lines.
    pub format: u32,
    /// The suite's version.
    pub version: String,
    /// How many tests follow.
    pub tests: usize,
    /// The backend that the suite found.
    pub backend: String,
    /// The ring that it runs in.
    pub ring: String,
}

/// One line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Line<'a> {
    /// `suite: format …`: the suite begins.
    Header(Header),
    /// `plan: …`: a test that will run.
    Plan {
        /// `<group>.<name>`.
        name: &'a str,
        /// `abi` or `ops`.
        kind: &'a str,
        /// The requirements that it covers.
        ids: Vec<&'a str>,
    },
    /// `test: …`: a test began, and perhaps ended.
    Test {
        /// `<group>.<name>`.
        name: &'a str,
        /// What follows.
        rest: &'a str,
    },
    /// `suite: … passed, …`: the suite has ended.
    Totals(Totals),
    /// `suite: listed`: the suite has ended, and ran nothing.
    Listed,
    /// `suite: broken: …`: the suite itself failed.
    Broken(&'a str),
    /// Begins like one of these, but is none.
    Garbled,
    /// Somebody else's.
    Other,
}

/// What `line` is.
pub(crate) fn parse(line: &str) -> Line<'_> {
    // Firmware may leave the cursor behind text of its own.
    if let Some(position) = line.find("suite: format ") {
        return header(&line[position..]).map_or(Line::Garbled, Line::Header);
    }
    if let Some(rest) = line.strip_prefix("test: ") {
        let (name, rest) = rest.split_once(' ').unwrap_or((rest, ""));
        return if is_name(name) { Line::Test { name, rest: rest.trim() } } else { Line::Garbled };
    }
    if let Some(rest) = line.strip_prefix("plan: ") {
        return plan(rest).unwrap_or(Line::Garbled);
    }
    match line.strip_prefix("suite: ").map(str::trim_end) {
        None => Line::Other,
        Some("listed") => Line::Listed,
        Some(rest) => match rest.strip_prefix("broken: ") {
            Some(reason) => Line::Broken(reason),
            None => totals(rest).map_or(Line::Garbled, Line::Totals),
        },
    }
}

/// The verdict and detail that `text` begins with, if it does.
pub(crate) fn verdict(text: &str) -> Option<(Verdict, &str)> {
    let (word, detail) = text.split_once(' ').unwrap_or((text, ""));
    Verdict::of_suite(word).map(|verdict| (verdict, detail.trim()))
}

fn is_name(name: &str) -> bool {
    let is_word = |word: &str| {
        !word.is_empty()
            && word.chars().all(|character| character.is_ascii_alphanumeric() || character == '_')
    };
    name.split_once('.').is_some_and(|(group, test)| is_word(group) && is_word(test))
}

fn header(line: &str) -> Option<Header> {
    let mut parts = line.trim_end().split(", ");
    let format = parts.next()?.strip_prefix("suite: format ")?.parse().ok()?;
    if format != FORMAT {
        // Of other formats, only this much can be relied on.
        return Some(Header {
            format,
            version: String::new(),
            tests: 0,
            backend: String::new(),
            ring: String::new(),
        });
    }
    Some(Header {
        format,
        version: parts.next()?.strip_prefix("version ")?.to_owned(),
        tests: parts.next()?.strip_suffix(" tests")?.parse().ok()?,
        backend: parts.next()?.strip_prefix("backend ")?.to_owned(),
        ring: parts.next()?.strip_prefix("ring ")?.to_owned(),
    })
}

fn plan(rest: &str) -> Option<Line<'_>> {
    let mut words = rest.split_ascii_whitespace();
    let (name, kind) = (words.next()?, words.next()?);
    let ids: Vec<&str> = words.collect();
    let is_id = |id: &&str| {
        id.split_once('-').is_some_and(|(chapter, number)| {
            !chapter.is_empty() && number.chars().all(|digit| digit.is_ascii_digit())
        })
    };
    (is_name(name) && matches!(kind, "abi" | "ops") && ids.iter().all(is_id)).then_some(Line::Plan {
        name,
        kind,
        ids,
    })
}

fn totals(rest: &str) -> Option<Totals> {
    let mut parts = rest.split(", ");
    let mut next = |word: &str| parts.next()?.strip_suffix(word)?.trim_end().parse().ok();
    let totals = Totals {
        passed: next("passed")?,
        failed: next("failed")?,
        errors: next("errors")?,
        skipped: next("skipped")?,
    };
    parts.next().is_none().then_some(totals)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_is_recognized() {
        let Line::Header(header) =
            parse("Booting suite: format 2, version 0.1.0, 3 tests, backend x, ring 3")
        else {
            panic!("no header")
        };
        assert_eq!((header.tests, header.version.as_str(), header.ring.as_str()), (3, "0.1.0", "3"));
        assert_eq!(
            parse("plan: time.deadline ops TIME-004 TIME-005"),
            Line::Plan { name: "time.deadline", kind: "ops", ids: vec!["TIME-004", "TIME-005"] }
        );
        assert_eq!(parse("test: a.b pass"), Line::Test { name: "a.b", rest: "pass" });
        assert_eq!(parse("test: a.b "), Line::Test { name: "a.b", rest: "" });
        assert_eq!(parse("suite: listed"), Line::Listed);
        assert_eq!(parse("suite: broken: it panicked"), Line::Broken("it panicked"));
        let totals = Totals { passed: 4, failed: 1, errors: 0, skipped: 2 };
        assert_eq!(parse("suite: 4 passed, 1 failed, 0 errors, 2 skipped"), Line::Totals(totals));
        assert_eq!(parse("hypervisor: suite"), Line::Other);
    }

    #[test]
    fn what_only_looks_like_one_is_garbled() {
        for line in [
            "suite: 4 passed, 1 fai",
            "suite: x passed, 1 failed, 0 errors, 0 skipped",
            "suite: format two",
            "suite: format 2, version 0.1.0, some tests, backend x, ring 3",
            "suite: hello",
            "plan: time.deadline perhaps",
            "plan: time.deadline ops TIME",
            "test: nonsense pass",
            "test:  pass",
        ] {
            assert_eq!(parse(line), Line::Garbled, "{line}");
        }
    }

    #[test]
    fn a_newer_format_is_told_apart_from_nonsense() {
        let Line::Header(header) = parse("suite: format 77, anything") else { panic!("no header") };
        assert_eq!(header.format, 77);
    }

    #[test]
    fn verdicts_have_details() {
        assert_eq!(verdict("fail 2 of 3 checks"), Some((Verdict::Fail, "2 of 3 checks")));
        assert_eq!(verdict("pass"), Some((Verdict::Pass, "")));
        assert_eq!(verdict("passed"), None);
    }
}
