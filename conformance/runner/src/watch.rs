//! One start of the suite on the target: a command, its console, and how it came to an end.

use std::fs;
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc::RecvTimeoutError;
use std::time::{Duration, Instant};

use crate::child::Child;
use crate::console::Console;
use crate::failure::{Failure, Kind};
use crate::target::{Prepared, Source, Target, WhenDone};
use crate::transcript::Transcript;

/// The longest that a wait may sleep before it looks around again.
const POLL_INTERVAL: Duration = Duration::from_millis(20);
/// What was written before the end is read within this time.
const DRAIN_LIMIT: Duration = Duration::from_secs(3);
/// Bytes kept of what the command says elsewhere.
const MOST_MESSAGE_BYTES: usize = 64 << 10;

/// How a start ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// The suite said its last line; the exit status of the command, if it exited by itself.
    Concluded(Option<ExitStatus>),
    /// The command exited before.
    Exited(ExitStatus),
    /// The console shows a text that means a crash.
    CrashText(String),
    /// The suite began a second time.
    BeganAgain,
    /// Nothing of the suite for this long.
    Silent(Duration),
    /// The whole run's time is up.
    TimeUp,
    /// It prints without end.
    Endless,
}

/// A start that has ended.
pub(crate) struct Watched {
    /// What the suite said.
    pub transcript: Transcript,
    /// How it ended.
    pub ended: Ended,
    /// What the command said elsewhere than on the console.
    pub messages: String,
}

/// What a watch looks at besides the console.
pub(crate) struct Around<'a> {
    /// When the whole run has to end.
    pub deadline: Instant,
    /// Whether the user wants to stop.
    pub is_interrupted: &'a dyn Fn() -> bool,
    /// Sees the transcript grow.
    pub on_change: &'a mut dyn FnMut(&Transcript),
}

/// Starts the command and watches it to its end. Afterwards nothing of it runs any more.
pub(crate) fn watch(
    target: &Target,
    prepared: &Prepared,
    scratch: &Path,
    around: &mut Around<'_>,
) -> Result<Watched, Failure> {
    for (name, text) in &prepared.files {
        let path = scratch.join(name);
        fs::write(&path, text).map_err(|error| Failure::file("write", &path, &error))?;
    }
    let mut running = Running::start(target, prepared)?;
    let ended = running.follow(target, around)?;
    running.child.kill();
    running.drain();
    running.transcript.close();
    let messages = String::from_utf8_lossy(&running.messages).into_owned();
    Ok(Watched { transcript: running.transcript, ended, messages })
}

struct Running {
    child: Child,
    console: Console,
    /// The pipes that are not the console, and the end of what came from them.
    others: Vec<Console>,
    messages: Vec<u8>,
    transcript: Transcript,
    started: Instant,
    /// Console bytes before this were searched for crash texts.
    searched: usize,
}

impl Running {
    fn start(target: &Target, prepared: &Prepared) -> Result<Self, Failure> {
        let [program, arguments @ ..] = prepared.command.as_slice() else {
            return Err(Failure::new(Kind::Target, "the command is empty"));
        };
        let mut command = Command::new(program);
        command.args(arguments).envs(&prepared.environment);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = Child::spawn(&mut command)
            .map_err(|error| Failure::new(Kind::Missing, format!("cannot start {program}: {error}")))?;
        let pipes = child.pipes();
        let (stdout, stderr) = (pipes.stdout.take(), pipes.stderr.take());
        let (stdout, stderr) = (stdout.map(Console::of_pipe), stderr.map(Console::of_pipe));
        let (console, others) = match (target.console.from, &prepared.console_path) {
            (Source::Stdout, _) => (stdout, vec![stderr]),
            (Source::Stderr, _) => (stderr, vec![stdout]),
            (source, path) => {
                (path.as_ref().map(|path| Console::of_path(source, path)), vec![stdout, stderr])
            }
        };
        let console = console.ok_or_else(|| Failure::new(Kind::Target, "there is no console"))?;
        let others = others.into_iter().flatten().collect();
        let transcript = Transcript::new(&target.console.prefix);
        let started = Instant::now();
        Ok(Self { child, console, others, messages: Vec::new(), transcript, started, searched: 0 })
    }

    fn follow(&mut self, target: &Target, around: &mut Around<'_>) -> Result<Ended, Failure> {
        loop {
            let is_closed = self.listen(around)?;
            if self.transcript.conclusion.is_some() {
                return self.wait_for_end(target, around);
            }
            if let Some(ended) = self.look(target, around.deadline) {
                return Ok(ended);
            }
            if let Some(status) = self.exit_status()? {
                self.drain();
                // The last line may have lost its end.
                self.transcript.close();
                return Ok(match self.transcript.conclusion {
                    Some(_) => Ended::Concluded(Some(status)),
                    None => self.look(target, around.deadline).unwrap_or(Ended::Exited(status)),
                });
            }
            if is_closed {
                std::thread::sleep(POLL_INTERVAL);
            }
        }
    }

    /// Takes what the console has. True: it never has anything again.
    fn listen(&mut self, around: &mut Around<'_>) -> Result<bool, Failure> {
        if (around.is_interrupted)() {
            return Err(Failure::new(Kind::Interrupted, "interrupted"));
        }
        self.take_messages();
        match self.console.chunks.recv_timeout(POLL_INTERVAL) {
            Ok(chunk) => {
                self.transcript.feed(&chunk);
                (around.on_change)(&self.transcript);
                Ok(false)
            }
            Err(RecvTimeoutError::Timeout) => Ok(false),
            Err(RecvTimeoutError::Disconnected) => Ok(true),
        }
    }

    /// Left alone, messages would fill their pipe and stop the command. The last of them are of interest.
    fn take_messages(&mut self) {
        self.messages.extend(self.others.iter().flat_map(|other| other.chunks.try_iter()).flatten());
        let surplus = self.messages.len().saturating_sub(MOST_MESSAGE_BYTES);
        self.messages.drain(..surplus);
    }

    /// Whether the transcript shows an end, or the time is up.
    fn look(&mut self, target: &Target, deadline: Instant) -> Option<Ended> {
        let found = self.find_crash_text(&target.end.crash_texts);
        let transcript = &self.transcript;
        if transcript.began_again {
            return Some(Ended::BeganAgain);
        }
        if let Some(text) = found {
            return Some(Ended::CrashText(text));
        }
        if transcript.is_endless() {
            return Some(Ended::Endless);
        }
        let limit = match transcript.header {
            Some(_) => target.limits.silence(),
            None => target.limits.start(),
        };
        if transcript.last_word.max(self.started).elapsed() >= limit {
            return Some(Ended::Silent(limit));
        }
        (Instant::now() >= deadline).then_some(Ended::TimeUp)
    }

    /// The suite has said its last line.
    fn wait_for_end(&mut self, target: &Target, around: &mut Around<'_>) -> Result<Ended, Failure> {
        if target.end.when_done == WhenDone::Stays {
            return Ok(Ended::Concluded(None));
        }
        let until = Instant::now() + target.limits.end();
        while Instant::now() < until {
            if let Some(status) = self.exit_status()? {
                return Ok(Ended::Concluded(Some(status)));
            }
            if self.listen(around)? {
                std::thread::sleep(POLL_INTERVAL);
            }
        }
        Ok(Ended::Concluded(None))
    }

    fn exit_status(&mut self) -> Result<Option<ExitStatus>, Failure> {
        self.child
            .try_wait()
            .map_err(|error| Failure::new(Kind::Missing, format!("cannot wait for the command: {error}")))
    }

    /// Takes what was written before the end.
    fn drain(&mut self) {
        self.console.writer_ended();
        let until = Instant::now() + DRAIN_LIMIT;
        while let Ok(chunk) =
            self.console.chunks.recv_timeout(until.saturating_duration_since(Instant::now()))
        {
            self.transcript.feed(&chunk);
            if self.transcript.is_endless() {
                break;
            }
        }
        self.take_messages();
    }

    /// The first of the texts that what is new on the console shows.
    fn find_crash_text(&mut self, texts: &[String]) -> Option<String> {
        let console = &self.transcript.console;
        let shows = |text: &&String| {
            let text = text.as_bytes();
            let new = &console[self.searched.saturating_sub(text.len())..];
            !text.is_empty() && new.windows(text.len()).any(|window| window == text)
        };
        let found = texts.iter().find(shows).cloned();
        self.searched = console.len();
        found
    }
}
