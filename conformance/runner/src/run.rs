//! A whole run: the suite is started, and after a crash or timeout started again behind the test that was running, so
//! that one bad test never hides the others.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::failure::{Failure, Kind};
use crate::lines::{self, Totals};
use crate::report::{Outcome, Problem, Suite, TestResult};
use crate::target::{Disk, Need, Target, WhenDone};
use crate::template::{HAS_PEER, Values};
use crate::text::{last_lines, printable_line};
use crate::transcript::{Conclusion, Planned, Record, Transcript};
use crate::verdict::Verdict;
use crate::watch::{self, Around, Ended, Watched};

/// Console lines shown with a problem.
const SHOWN_LINES: usize = 40;
/// Bytes of each start's console that are kept.
const KEPT_CONSOLE_BYTES: usize = 1 << 20;

/// The test that the runner makes itself: whether the shutdown's status reaches whoever operates the target.
pub const SHUTDOWN_TEST: &str = "run.shutdown";
/// What it covers.
pub const SHUTDOWN_REQUIREMENTS: [&str; 2] = ["SCHED-003", "OPS-017"];

/// What to run.
pub struct Request {
    /// On what.
    pub target: Target,
    /// The suite's ELF.
    pub guest: PathBuf,
    /// CPUs of the machine.
    pub cpus: u32,
    /// Only tests whose names begin so.
    pub filter: String,
    /// Whether the suite shall only tell its plan.
    pub lists_only: bool,
}

/// What the runner cannot do itself.
pub trait Host {
    /// Makes the disk image that a target boots.
    fn make_disk(&self, disk: &Disk, request: &Request, cmdline: &str) -> Result<PathBuf, Failure>;
    /// Sees to it that what a target needs is there.
    fn provide(&self, need: &Need, name: &str) -> Result<(), Failure>;
    /// Whether the user wants to stop.
    fn is_interrupted(&self) -> bool;
}

/// Sees a run while it goes on: what came before this start, and this start.
pub(crate) type Observer<'a> = dyn FnMut(&Progress<'_>) + 'a;

/// How far a run is.
pub(crate) struct Progress<'a> {
    /// All tests of the run.
    pub planned: usize,
    /// Results of the starts before.
    pub before: &'a [Record],
    /// The present start.
    pub now: &'a Transcript,
}

/// Runs the suite.
pub(crate) fn run(
    request: &Request,
    host: &dyn Host,
    observer: &mut Observer<'_>,
) -> Result<Outcome, Failure> {
    let target = &request.target;
    if request.cpus == 0 || request.cpus > target.most_cpus {
        let message = format!("--smp {}: {} has at most {}", request.cpus, target.name, target.most_cpus);
        return Err(Failure::new(Kind::Target, message));
    }
    let mut run = Run::default();
    let deadline = Instant::now() + target.limits.total();
    loop {
        let (watched, command) = run.start(request, host, deadline, observer)?;
        run.command = command;
        if !run.take(watched, target) {
            break;
        }
        if run.starts > target.limits.restarts {
            let text = format!("given up after {} starts", run.starts);
            run.problems.push(Problem::new(Verdict::Error, text, &[]));
            break;
        }
    }
    Ok(run.conclude())
}

/// What came of a test.
#[derive(Clone, Debug)]
pub struct Judged {
    /// `<group>.<name>`.
    pub name: String,
    /// The requirements that it covers.
    pub requirements: Vec<String>,
    /// The verdict.
    pub verdict: Verdict,
    /// What it said.
    pub detail: String,
}

/// Runs the suite without showing anything; the results, and what else went wrong.
pub fn judge(request: &Request, host: &dyn Host) -> Result<(Vec<Judged>, Vec<String>), Failure> {
    let outcome = run(request, host, &mut |_| ())?;
    let judged = |test: TestResult| Judged {
        name: test.name,
        requirements: test.requirements,
        verdict: test.verdict,
        detail: test.detail,
    };
    let problems = outcome.problems.into_iter().map(|problem| problem.text).collect();
    Ok((outcome.tests.into_iter().map(judged).collect(), problems))
}

/// What the suite would run.
pub fn list(request: &Request, host: &dyn Host) -> Result<Vec<Planned>, Failure> {
    let mut run = Run::default();
    let deadline = Instant::now() + request.target.limits.total();
    let (watched, _) = run.start(request, host, deadline, &mut |_| ())?;
    run.take(watched, &request.target);
    match run.problems.first() {
        None => Ok(run.plan),
        Some(problem) => {
            let message = format!("{} does not list its tests: {}", request.target.name, problem.text);
            Err(Failure::new(Kind::Target, message))
        }
    }
}

/// What the starts so far came to.
#[derive(Default)]
struct Run {
    suite: Option<Suite>,
    plan: Vec<Planned>,
    records: Vec<Record>,
    problems: Vec<Problem>,
    shutdown: Option<TestResult>,
    /// The tests up to this one are done.
    after: Option<String>,
    starts: u32,
    command: Vec<String>,
    console: String,
}

impl Run {
    fn start(
        &mut self,
        request: &Request,
        host: &dyn Host,
        deadline: Instant,
        observer: &mut Observer<'_>,
    ) -> Result<(Watched, Vec<String>), Failure> {
        let target = &request.target;
        let refuse = |problem| Failure::new(Kind::Target, format!("{}: {problem}", target.name));
        let scratch = tempfile::Builder::new()
            .prefix("pvops-conform-")
            .tempdir()
            .map_err(|error| Failure::file("create a folder in", &std::env::temp_dir(), &error))?;
        let cmdline = self.cmdline(request);
        let mut values = Values {
            guest: &request.guest,
            disk: None,
            cmdline: &cmdline,
            cpus: request.cpus,
            scratch: scratch.path(),
            here: &target.folder,
        };
        for need in &target.needs {
            let name = need.program.as_ref().or(need.file.as_ref()).map_or("", String::as_str);
            host.provide(need, &crate::template::expand(name, &values).map_err(refuse)?)?;
        }
        let disk = target.disk.as_ref().map(|disk| host.make_disk(disk, request, &cmdline)).transpose()?;
        values.disk = disk.as_deref();
        let prepared = target.prepare(&values).map_err(refuse)?;
        let (before, planned) = (&self.records, self.plan.len());
        let mut around = Around {
            deadline,
            is_interrupted: &|| host.is_interrupted(),
            on_change: &mut |now| observer(&Progress { planned: planned.max(now.plan.len()), before, now }),
        };
        self.starts += 1;
        let watched = watch::watch(target, &prepared, scratch.path(), &mut around)?;
        Ok((watched, prepared.command))
    }

    /// What the guest is told.
    fn cmdline(&self, request: &Request) -> String {
        let mut words = Vec::new();
        if !request.filter.is_empty() {
            words.push(format!("only={}", request.filter));
        }
        words.extend(self.after.iter().map(|test| format!("after={test}")));
        if request.lists_only {
            words.push("list=1".into());
        }
        if request.target.peers {
            words.push(HAS_PEER.into());
        }
        words.join(" ")
    }

    /// Takes a start that has ended. True: there has to be another.
    fn take(&mut self, watched: Watched, target: &Target) -> bool {
        let Watched { mut transcript, ended, messages } = watched;
        let tail = last_lines(&transcript.text(), SHOWN_LINES);
        self.keep_console(&transcript);
        let problems = std::mem::take(&mut transcript.problems);
        self.problems.extend(problems.into_iter().map(|text| Problem::new(Verdict::Error, text, &[])));
        if !self.begins_well(&transcript, &ended, &tail, &messages) {
            return false;
        }
        let goes_on = match transcript.conclusion.clone() {
            Some(Conclusion::Totals(totals)) => {
                self.check_totals(&transcript, totals);
                self.check_shutdown(&ended, target, totals);
                false
            }
            Some(Conclusion::Listed) => false,
            Some(Conclusion::Broken(reason)) => {
                self.interrupt(&mut transcript, Verdict::Crash, &format!("the suite broke: {reason}"), &tail)
            }
            None => {
                let (verdict, reason) = explain(&ended);
                let goes_on = self.interrupt(&mut transcript, verdict, &reason, &tail);
                goes_on && ended != Ended::TimeUp
            }
        };
        self.after = transcript.records.last().map(|record| record.name.clone()).or(self.after.take());
        self.records.append(&mut transcript.records);
        goes_on && self.remaining() > 0
    }

    fn keep_console(&mut self, transcript: &Transcript) {
        let kept = &transcript.console[..transcript.console.len().min(KEPT_CONSOLE_BYTES)];
        if self.starts > 1 {
            self.console.push_str(&format!("\n---- start {} ----\n", self.starts));
        }
        self.console.push_str(&String::from_utf8_lossy(kept));
    }

    /// Whether the suite came up and speaks our format; silence is an error.
    fn begins_well(
        &mut self,
        transcript: &Transcript,
        ended: &Ended,
        tail: &[String],
        messages: &str,
    ) -> bool {
        let Some(header) = &transcript.header else {
            let (_, reason) = explain(ended);
            let mut shown = tail.to_vec();
            shown.extend(last_lines(messages, SHOWN_LINES));
            self.problems.push(Problem::new(
                Verdict::Error,
                format!("the suite never said a word: {reason}"),
                &shown,
            ));
            return false;
        };
        if header.format != lines::FORMAT {
            let text = format!("the suite speaks format {}, not {}", header.format, lines::FORMAT);
            self.problems.push(Problem::new(Verdict::Error, text, &[]));
            return false;
        }
        if self.suite.is_none() {
            self.suite = Some(Suite {
                version: header.version.clone(),
                backend: header.backend.clone(),
                ring: header.ring.clone(),
            });
            self.plan.clone_from(&transcript.plan);
            if header.tests == 0 {
                let text = "there is no such test: the filter is the beginning of a name";
                self.problems.push(Problem::new(Verdict::Error, text, &[]));
            }
        }
        // Cut off in the middle of its plan, the suite cannot have announced everything.
        if header.tests != transcript.plan.len() {
            let text = format!("{} tests announced, {} planned", header.tests, transcript.plan.len());
            self.problems.push(Problem::new(Verdict::Error, text, tail));
        }
        true
    }

    /// The suite was cut off. True: it makes sense to go on behind the test that ran.
    fn interrupt(
        &mut self,
        transcript: &mut Transcript,
        verdict: Verdict,
        reason: &str,
        tail: &[String],
    ) -> bool {
        if !transcript.finish_open(verdict, reason) {
            let text = format!("between two tests, {reason}");
            self.problems.push(Problem::new(verdict, text, tail));
        }
        !transcript.records.is_empty()
    }

    fn check_totals(&mut self, transcript: &Transcript, totals: Totals) {
        let count = |verdict| transcript.records.iter().filter(|record| record.verdict == verdict).count();
        let counted = Totals {
            passed: count(Verdict::Pass),
            failed: count(Verdict::Fail),
            errors: count(Verdict::Error),
            skipped: count(Verdict::Skip),
        };
        if totals != counted {
            let text = format!("the suite counts {totals:?}, its lines say {counted:?}");
            self.problems.push(Problem::new(Verdict::Error, text, &[]));
        }
    }

    /// The suite has shut down with status 0 if all was well, else with 1.
    fn check_shutdown(&mut self, ended: &Ended, target: &Target, totals: Totals) {
        let all_passed = totals.failed == 0 && totals.errors == 0 && totals.passed > 0;
        let end = &target.end;
        let wanted = if all_passed { end.status_when_passed } else { end.status_when_failed };
        let status = match ended {
            Ended::Concluded(status) => status.as_ref(),
            _ => None,
        };
        let (verdict, detail) = match (end.when_done, status, wanted) {
            (WhenDone::Stays, ..) => (Verdict::Skip, "this target stays when the guest has ended".into()),
            (WhenDone::Exits, None, _) => (
                Verdict::Fail,
                format!("still running {} s after the shutdown", target.limits.end().as_secs()),
            ),
            (WhenDone::Exits, Some(_), None) => (Verdict::Pass, "ended; it tells no status".into()),
            (WhenDone::Exits, Some(status), Some(wanted)) if status.code() == Some(wanted) => {
                (Verdict::Pass, String::new())
            }
            (WhenDone::Exits, Some(status), Some(wanted)) => {
                (Verdict::Fail, format!("{status} instead of {wanted}"))
            }
        };
        self.shutdown = Some(TestResult {
            name: SHUTDOWN_TEST.into(),
            kind: "run".into(),
            requirements: SHUTDOWN_REQUIREMENTS.map(String::from).into(),
            verdict,
            detail,
            log: Vec::new(),
            seconds: 0.0,
        });
    }

    /// Tests that are still to be run.
    fn remaining(&self) -> usize {
        match &self.after {
            None => self.plan.len(),
            Some(after) => self.plan.iter().rev().take_while(|planned| planned.name != *after).count(),
        }
    }

    /// The results in the order of the plan; what never ran is an error.
    fn conclude(self) -> Outcome {
        let mut tests: Vec<TestResult> =
            self.plan.iter().map(|planned| result(planned, &self.records)).collect();
        // What was not planned is a problem already; it is shown all the same.
        for record in &self.records {
            if !tests.iter().any(|test| test.name == record.name) {
                let planned =
                    Planned { name: record.name.clone(), kind: "ops".into(), requirements: Vec::new() };
                tests.push(result(&planned, &self.records));
            }
        }
        tests.extend(self.shutdown);
        Outcome {
            suite: self.suite,
            tests,
            problems: self.problems,
            starts: self.starts,
            command: self.command,
            console: self.console,
        }
    }
}

/// A test's result; the worst of its records.
fn result(planned: &Planned, records: &[Record]) -> TestResult {
    let worst =
        records.iter().filter(|record| record.name == planned.name).max_by_key(|record| record.verdict);
    let absent = Record {
        name: String::new(),
        verdict: Verdict::Error,
        detail: "it was never run".into(),
        log: Vec::new(),
        duration: Duration::ZERO,
    };
    let record = worst.unwrap_or(&absent);
    TestResult {
        name: planned.name.clone(),
        kind: planned.kind.clone(),
        requirements: planned.requirements.clone(),
        verdict: record.verdict,
        detail: record.detail.clone(),
        log: record.log.clone(),
        seconds: record.duration.as_secs_f64(),
    }
}

/// What an end without the suite's last line means.
fn explain(ended: &Ended) -> (Verdict, String) {
    match ended {
        Ended::Exited(status) => (Verdict::Crash, format!("the target ended ({status})")),
        Ended::CrashText(text) => (Verdict::Crash, format!("the console shows {:?}", printable_line(text))),
        Ended::BeganAgain => (Verdict::Crash, "the target began again".into()),
        Ended::Silent(limit) => {
            (Verdict::Timeout, format!("nothing was heard of the suite for {} s", limit.as_secs()))
        }
        Ended::TimeUp => (Verdict::Timeout, "the time for the whole run is up".into()),
        Ended::Endless => (Verdict::Timeout, "the console prints without end".into()),
        Ended::Concluded(_) => (Verdict::Error, "the suite ended".into()),
    }
}
