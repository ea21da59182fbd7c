//! What one start of the suite said: console bytes become tests with verdicts.
//!
//! Whatever stands on the console is a claim: lines may be missing, cut, doubled or nonsense. What does not fit
//! becomes a problem of the run, never a silent guess.

use std::time::{Duration, Instant};

use serde::Serialize;

use crate::lines::{self, Header, Line, Totals};
use crate::text::{printable_line, without_escapes};
use crate::verdict::Verdict;

/// Bytes of a line that are kept.
const MOST_LINE_BYTES: usize = 16 << 10;
/// Bytes of a console that are looked at. The whole suite prints less than a hundredth.
const MOST_CONSOLE_BYTES: usize = 16 << 20;
/// Lines kept with a test.
const MOST_LOG_LINES: usize = 200;
/// Problems that are told apart; more of them say nothing new.
const MOST_PROBLEMS: usize = 50;

/// A test that the suite announced.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Planned {
    /// `<group>.<name>`.
    pub name: String,
    /// `abi` or `ops`.
    pub kind: String,
    /// The requirements that it covers.
    pub requirements: Vec<String>,
}

/// A test that ran.
#[derive(Clone, Debug)]
pub(crate) struct Record {
    /// Its name.
    pub name: String,
    /// What became of it.
    pub verdict: Verdict,
    /// The suite's text.
    pub detail: String,
    /// Console lines from its first to its last.
    pub log: Vec<String>,
    /// How long it took, by the host's clock.
    pub duration: Duration,
}

/// A test that has begun.
#[derive(Clone, Debug)]
pub(crate) struct Open {
    /// Its name.
    pub name: String,
    log: Vec<String>,
    since: Instant,
}

/// The suite's last line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Conclusion {
    /// It ran.
    Totals(Totals),
    /// It was asked for its plan only.
    Listed,
    /// It failed itself.
    Broken(String),
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Transcript {
    prefix: String,
    /// What the suite says of itself.
    pub header: Option<Header>,
    /// What it will run.
    pub plan: Vec<Planned>,
    /// What it ran.
    pub records: Vec<Record>,
    /// What it runs.
    pub open: Option<Open>,
    /// How it ended.
    pub conclusion: Option<Conclusion>,
    /// A second header: the machine started again by itself.
    pub began_again: bool,
    /// What does not fit.
    pub problems: Vec<String>,
    /// Everything on the console.
    pub console: Vec<u8>,
    /// When the suite said something last, or the machine was started.
    pub last_word: Instant,
    line: Vec<u8>,
}

impl Transcript {
    /// Nothing said yet. Lines of the guest begin with `prefix`.
    pub(crate) fn new(prefix: &str) -> Self {
        Self {
            prefix: prefix.to_owned(),
            header: None,
            plan: Vec::new(),
            records: Vec::new(),
            open: None,
            conclusion: None,
            began_again: false,
            problems: Vec::new(),
            console: Vec::new(),
            last_word: Instant::now(),
            line: Vec::new(),
        }
    }

    /// The console as text.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.console).into_owned()
    }

    /// Whether so much was printed that the suite cannot be its only author.
    pub(crate) fn is_endless(&self) -> bool {
        self.console.len() >= MOST_CONSOLE_BYTES
    }

    /// Takes what came from the console.
    pub(crate) fn feed(&mut self, bytes: &[u8]) {
        let room = MOST_CONSOLE_BYTES - self.console.len();
        self.console.extend_from_slice(&bytes[..bytes.len().min(room)]);
        for &byte in bytes {
            if self.has_ended() {
                return;
            }
            if byte == b'\n' {
                let line = std::mem::take(&mut self.line);
                self.take_line(&line);
            } else if self.line.len() < MOST_LINE_BYTES {
                self.line.push(byte);
                // The name stands on the console before the test starts.
                if byte == b' ' {
                    self.look_for_name();
                }
            }
        }
    }

    /// The console is closed: what stands on its last line counts too.
    pub(crate) fn close(&mut self) {
        let line = std::mem::take(&mut self.line);
        if !line.is_empty() && !self.has_ended() {
            let problems = self.problems.len();
            self.take_line(&line);
            // Cut off, it may well make no sense.
            self.problems.truncate(problems);
        }
    }

    /// Whether nothing that follows is of interest.
    pub(crate) fn has_ended(&self) -> bool {
        self.conclusion.is_some() || self.began_again
    }

    fn look_for_name(&mut self) {
        let text = without_escapes(&String::from_utf8_lossy(&self.line));
        if let Some(line) = text.strip_prefix(&self.prefix)
            && let Line::Test { name, rest: "" } = lines::parse(line)
            && self.open.as_ref().is_none_or(|open| open.name != name)
        {
            self.begin(name);
        }
    }

    fn take_line(&mut self, bytes: &[u8]) {
        let text = without_escapes(&String::from_utf8_lossy(bytes));
        let shown = printable_line(&text);
        if let Some(open) = &mut self.open
            && open.log.len() < MOST_LOG_LINES
        {
            open.log.push(shown.clone());
        }
        let line = match text.strip_prefix(&self.prefix) {
            Some(line) => lines::parse(line),
            None => Line::Other,
        };
        if line != Line::Other {
            self.last_word = Instant::now();
        }
        match line {
            Line::Header(_) if self.header.is_some() => self.began_again = true,
            Line::Header(header) => self.header = Some(header),
            Line::Garbled => self.problem(format!("a garbled line: {shown:?}")),
            Line::Other => self.go_on(&text),
            _ if self.header.is_none() => self.problem(format!("before the suite began: {shown:?}")),
            Line::Plan { name, kind, ids } => self.announce(name, kind, &ids),
            Line::Test { name, rest } => self.test(name, rest, &shown),
            Line::Totals(totals) => self.conclude(Conclusion::Totals(totals)),
            Line::Listed => self.conclude(Conclusion::Listed),
            // The open test, if there is one, is what broke it.
            Line::Broken(reason) => self.conclusion = Some(Conclusion::Broken(printable_line(reason))),
        }
    }

    fn announce(&mut self, name: &str, kind: &str, ids: &[&str]) {
        if self.plan.iter().any(|planned| planned.name == name) {
            self.problem(format!("{name} is planned twice"));
            return;
        }
        let requirements = ids.iter().map(|&id| id.to_owned()).collect();
        self.plan.push(Planned { name: name.to_owned(), kind: kind.to_owned(), requirements });
    }

    fn test(&mut self, name: &str, rest: &str, shown: &str) {
        if self.open.as_ref().is_none_or(|open| open.name != name) {
            self.begin(name);
            self.open.iter_mut().for_each(|open| open.log.push(shown.to_owned()));
        }
        if let Some((verdict, detail)) = lines::verdict(rest) {
            self.finish(verdict, detail);
        }
        // Anything else is somebody's text in the middle of the line: the verdict is still to come.
    }

    /// A line of somebody else's may have come between a test's name and its verdict.
    fn go_on(&mut self, text: &str) {
        if self.open.is_some()
            && let Some((verdict, detail)) = lines::verdict(text.strip_prefix(&self.prefix).unwrap_or(text))
        {
            self.last_word = Instant::now();
            self.finish(verdict, detail);
        }
    }

    fn begin(&mut self, name: &str) {
        self.leave_without_verdict();
        self.last_word = Instant::now();
        self.open = Some(Open { name: name.to_owned(), log: Vec::new(), since: Instant::now() });
        if self.header.is_some() && !self.plan.iter().any(|planned| planned.name == name) {
            self.problem(format!("{name} runs, but was not planned"));
        }
    }

    fn finish(&mut self, verdict: Verdict, detail: &str) {
        let Some(Open { name, log, since }) = self.open.take() else { return };
        if self.records.iter().any(|record| record.name == name) {
            self.problem(format!("{name} ran twice"));
        }
        let detail = printable_line(detail);
        self.records.push(Record { name, verdict, detail, log, duration: since.elapsed() });
    }

    /// The open test ended in another way than by a verdict of the suite.
    pub(crate) fn finish_open(&mut self, verdict: Verdict, detail: &str) -> bool {
        let was_open = self.open.is_some();
        self.finish(verdict, detail);
        was_open
    }

    fn leave_without_verdict(&mut self) {
        self.finish(Verdict::Error, "the suite went on without a verdict");
    }

    fn conclude(&mut self, conclusion: Conclusion) {
        self.leave_without_verdict();
        self.conclusion = Some(conclusion);
    }

    fn problem(&mut self, problem: String) {
        if self.problems.len() < MOST_PROBLEMS {
            self.problems.push(problem);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: &str =
        "suite: format 2, version 1, 2 tests, backend x, ring 3\r\nplan: a.b abi X-1\r\nplan: a.c ops\r\n";

    fn heard(text: &str) -> Transcript {
        let mut transcript = Transcript::new("");
        // Byte by byte: nothing depends on how the console hands its bytes over.
        format!("{HEADER}{text}").bytes().for_each(|byte| transcript.feed(&[byte]));
        transcript
    }

    fn verdicts(transcript: &Transcript) -> Vec<(&str, Verdict, &str)> {
        transcript
            .records
            .iter()
            .map(|record| (record.name.as_str(), record.verdict, record.detail.as_str()))
            .collect()
    }

    #[test]
    fn tests_get_their_verdicts_and_logs() {
        let text = "noise\r\ntest: a.b pass\r\ntest: a.c fail 1 of 2\r\nsuite: 1 passed, 1 failed, 0 errors, 0 skipped\r\n";
        let transcript = heard(text);
        assert_eq!(verdicts(&transcript), [("a.b", Verdict::Pass, ""), ("a.c", Verdict::Fail, "1 of 2")]);
        assert_eq!(transcript.plan[0].requirements, ["X-1"]);
        assert_eq!(transcript.records[1].log, ["test: a.c fail 1 of 2"]);
        assert!(transcript.problems.is_empty() && transcript.has_ended());
    }

    #[test]
    fn the_name_is_known_before_the_line_ends() {
        let mut transcript = heard("test: a.b ");
        assert_eq!(transcript.open.as_ref().map(|open| open.name.as_str()), Some("a.b"));
        transcript.feed(b"\r\n\r\nREGISTER DUMP\r\n");
        transcript.close();
        assert!(transcript.finish_open(Verdict::Crash, "it exited"));
        assert_eq!(verdicts(&transcript), [("a.b", Verdict::Crash, "it exited")]);
        assert_eq!(transcript.records[0].log, ["test: a.b ", "", "REGISTER DUMP"]);
    }

    #[test]
    fn other_lines_may_come_between_name_and_verdict() {
        let transcript = heard(
            "test: a.b hypervisor: strange\r\nhypervisor: stranger\r\nskip absent\r\ntest: a.c pass\r\n",
        );
        assert_eq!(verdicts(&transcript), [("a.b", Verdict::Skip, "absent"), ("a.c", Verdict::Pass, "")]);
    }

    #[test]
    fn what_does_not_fit_is_a_problem() {
        for (text, problem) in [
            ("test: a.b pass\r\ntest: a.b pass\r\n", "ran twice"),
            ("plan: a.b abi\r\n", "planned twice"),
            ("test: z.z pass\r\n", "not planned"),
            ("suite: 1 pas\r\n", "garbled"),
        ] {
            let transcript = heard(text);
            assert!(transcript.problems.iter().any(|line| line.contains(problem)), "{text}");
        }
        let transcript = heard("test: a.b \r\ntest: a.c pass\r\n");
        assert_eq!(verdicts(&transcript)[0].1, Verdict::Error);
    }

    #[test]
    fn a_line_that_was_cut_off_is_no_problem() {
        let mut transcript = heard("test: a.b pass\r\ntest: a");
        transcript.close();
        assert!(transcript.problems.is_empty() && transcript.open.is_none());
    }

    #[test]
    fn a_second_beginning_is_noticed() {
        let mut transcript = heard("test: a.b \r\n");
        transcript.feed(HEADER.as_bytes());
        assert!(transcript.began_again && transcript.open.is_some());
    }

    #[test]
    fn lines_of_others_are_told_apart_by_prefix() {
        let mut transcript = Transcript::new("[vm0] ");
        for line in HEADER.lines().chain(["test: a.b pass"]) {
            transcript.feed(format!("[vm0] {line}\n[vm1] test: a.c fail\n").as_bytes());
        }
        assert_eq!(verdicts(&transcript), [("a.b", Verdict::Pass, "")]);
    }

    #[test]
    fn endless_output_is_bounded() {
        let mut transcript = heard("");
        let chunk = vec![b'x'; 1 << 20];
        (0..20).for_each(|_| transcript.feed(&chunk));
        assert!(transcript.is_endless() && transcript.console.len() == MOST_CONSOLE_BYTES);
        assert!(transcript.line.len() <= MOST_LINE_BYTES);
    }
}
