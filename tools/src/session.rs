//! A running machine: its console as text to wait for and to type into, a deadline, a certain end.
//!
//! Everything that can go wrong is bounded: each wait has a limit, the whole run has one, and dropping the
//! session kills QEMU and removes its scratch folder.

use std::fs;
use std::io::{Read, Write};
use std::path::Path;
use std::process::Stdio;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

pub use conformance_runner::text::without_escapes;
use tempfile::TempDir;

use crate::failure::{Failure, Kind};
use crate::interrupt;
use crate::machine::{self, Machine};
use crate::outcome::Outcome;
use crate::process::{self, Child};

/// Lines of console output shown with a failure.
const SHOWN_LINES: usize = 15;

/// Output pauses this long at a prompt.
const PROMPT_REST: Duration = Duration::from_millis(200);
/// A guest without prompts gets its input after this long without output.
const SILENCE: Duration = Duration::from_secs(5);

/// What happens to console output besides being kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Echo {
    /// Nothing.
    Quiet,
    /// It goes to standard output as it comes.
    Stdout,
}

/// A running machine.
pub struct Session {
    child: Child,
    input: Option<std::process::ChildStdin>,
    console: Arc<Stream>,
    errors: Arc<Stream>,
    scratch: TempDir,
    command_line: String,
    started: Instant,
    deadline: Instant,
    limit: Duration,
    /// Console bytes before this were already matched by a wait.
    matched: usize,
}

/// A machine that ended by itself.
#[derive(Debug)]
pub struct Ended {
    /// How.
    pub outcome: Outcome,
    /// All console output.
    pub console: String,
}

impl Session {
    /// Boots `image`. After `limit` the machine is killed.
    pub fn start(machine: &Machine, image: &Path, limit: Duration, echo: Echo) -> Result<Self, Failure> {
        let scratch = tempfile::Builder::new()
            .prefix("pv-run-")
            .tempdir()
            .map_err(|error| Failure::file("create a folder in", &std::env::temp_dir(), &error))?;
        let mut command = machine.command(image, scratch.path())?;
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let command_line = machine::shell_line(&command);
        let mut child = Child::spawn(&mut command)
            .map_err(|error| process::cannot_start(&command.get_program().to_string_lossy(), &error))?;
        let pipes = child.pipes();
        let input = pipes.stdin.take();
        let console = Stream::follow(pipes.stdout.take(), echo);
        let errors = Stream::follow(pipes.stderr.take(), Echo::Quiet);
        let started = Instant::now();
        let deadline = started + limit;
        Ok(Self {
            child,
            input,
            console,
            errors,
            scratch,
            command_line,
            started,
            deadline,
            limit,
            matched: 0,
        })
    }

    /// The QEMU command, as one could type it.
    pub fn command_line(&self) -> &str {
        &self.command_line
    }

    /// Waits until the console shows `text`, after what earlier waits matched.
    pub fn wait_for(&mut self, text: &str, within: Duration) -> Result<(), Failure> {
        let until = self.deadline.min(Instant::now() + within);
        let mut buffer = self.console.lock();
        loop {
            if let Some(position) = find(&buffer.bytes[self.matched..], text.as_bytes()) {
                self.matched += position + text.len();
                return Ok(());
            }
            let reason = if buffer.closed {
                "the machine ended"
            } else if Instant::now() >= until {
                "the time limit was reached"
            } else {
                interrupt::check()?;
                buffer = self.console.wait(buffer);
                continue;
            };
            let message =
                format!("{reason} before the console showed {text:?}{}", last_lines(&buffer.text()));
            return Err(Failure::new(Kind::CheckFailed, message));
        }
    }

    /// The whole lines that the console has shown since the last call, without terminal escapes.
    pub fn take_lines(&mut self) -> String {
        let buffer = self.console.lock();
        let new = &buffer.bytes[self.matched..];
        let end = new.iter().rposition(|byte| *byte == b'\n').map_or(0, |last| last + 1);
        self.matched += end;
        without_escapes(&String::from_utf8_lossy(&new[..end]))
    }

    /// How long the machine's threads have waited for a CPU of this computer; `None`: it does not say.
    pub fn waited_for_cpu(&self) -> Option<Duration> {
        let threads = fs::read_dir(format!("/proc/{}/task", self.child.id())).ok()?;
        let waited_ns = |thread: std::io::Result<fs::DirEntry>| {
            // Time run, time waited, number of turns.
            let text = fs::read_to_string(thread.ok()?.path().join("schedstat")).ok()?;
            text.split_whitespace().nth(1)?.parse::<u64>().ok()
        };
        Some(Duration::from_nanos(threads.filter_map(waited_ns).sum()))
    }

    /// All console output so far.
    pub fn console(&self) -> String {
        self.console.lock().text()
    }

    /// Types into the console.
    pub fn send(&mut self, bytes: &[u8]) {
        // A machine that has ended takes no input; how it ended is told by `finish`.
        if let Some(input) = &mut self.input {
            let _ = input.write_all(bytes).and_then(|()| input.flush());
        }
    }

    /// Whether a line of input may be sent: the console has rested at an unfinished line, as at a prompt, or has
    /// said nothing for long. Earlier input gets lost: drivers reset the port when they start.
    pub fn takes_line(&self) -> bool {
        let buffer = self.console.lock();
        let rest = buffer.last_output.unwrap_or(self.started).elapsed();
        rest >= SILENCE || (rest >= PROMPT_REST && ends_with_prompt(&buffer.text()))
    }

    /// How the machine ended, `None` while it runs. Fails at the deadline or on Ctrl-C.
    pub fn poll(&mut self) -> Result<Option<Outcome>, Failure> {
        let exit = self.child.try_wait().map_err(|error| process::cannot_start("QEMU", &error))?;
        if let Some(exit) = exit {
            self.console.wait_until_closed();
            self.errors.wait_until_closed();
            let log = fs::read(machine::log_file(self.scratch.path())).unwrap_or_default();
            let errors = self.errors.lock().text();
            return Ok(Some(Outcome::decode(exit, &String::from_utf8_lossy(&log), &errors)));
        }
        interrupt::check()?;
        if Instant::now() >= self.deadline {
            let console = last_lines(&self.console.lock().text());
            let message =
                format!("the machine did not end within {} s and was killed{console}", self.limit.as_secs());
            return Err(Failure::new(Kind::Timeout, message));
        }
        Ok(None)
    }

    /// Waits for the machine's end.
    pub fn finish(mut self) -> Result<Ended, Failure> {
        loop {
            if let Some(outcome) = self.poll()? {
                return Ok(Ended { outcome, console: self.console.lock().text() });
            }
            thread::sleep(interrupt::POLL_INTERVAL);
        }
    }
}

/// Output collected by a thread of its own.
#[derive(Default)]
struct Stream {
    buffer: Mutex<Buffer>,
    changed: Condvar,
}

#[derive(Default)]
struct Buffer {
    bytes: Vec<u8>,
    last_output: Option<Instant>,
    closed: bool,
}

impl Buffer {
    fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes).into_owned()
    }
}

impl Stream {
    fn follow(pipe: Option<impl Read + Send + 'static>, echo: Echo) -> Arc<Self> {
        let stream = Arc::new(Self::default());
        let writer = Arc::clone(&stream);
        // Ends with the pipe, which closes when the child is killed at the latest.
        thread::spawn(move || {
            if let Some(mut pipe) = pipe {
                writer.copy_from(&mut pipe, echo);
            }
            writer.lock().closed = true;
            writer.changed.notify_all();
        });
        stream
    }

    fn copy_from(&self, pipe: &mut impl Read, echo: Echo) {
        let mut chunk = [0; 4096];
        loop {
            let size = match pipe.read(&mut chunk) {
                Ok(0) => return,
                Ok(size) => size,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(_) => return,
            };
            if echo == Echo::Stdout {
                let mut stdout = std::io::stdout().lock();
                let _ = stdout.write_all(&chunk[..size]).and_then(|()| stdout.flush());
            }
            let mut buffer = self.lock();
            buffer.bytes.extend_from_slice(&chunk[..size]);
            buffer.last_output = Some(Instant::now());
            drop(buffer);
            self.changed.notify_all();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Buffer> {
        // A panicked reader leaves a valid buffer: bytes are appended whole.
        self.buffer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(&'a self, guard: MutexGuard<'a, Buffer>) -> MutexGuard<'a, Buffer> {
        self.changed.wait_timeout(guard, interrupt::POLL_INTERVAL).unwrap_or_else(PoisonError::into_inner).0
    }

    /// Waits until everything the ended child wrote has been read.
    fn wait_until_closed(&self) {
        let mut buffer = self.lock();
        while !buffer.closed {
            buffer = self.wait(buffer);
        }
    }
}

/// Whether the console ends with an unfinished line that one can see.
fn ends_with_prompt(console: &str) -> bool {
    let text = without_escapes(console);
    !text.rsplit('\n').next().unwrap_or_default().trim().is_empty()
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}

/// The end of the console output, to be shown with a failure.
pub fn last_lines(console: &str) -> String {
    let printable = without_escapes(console);
    let lines: Vec<&str> = printable.lines().filter(|line| !line.trim().is_empty()).collect();
    if lines.is_empty() {
        return "; the console is empty".into();
    }
    let shown = &lines[lines.len().saturating_sub(SHOWN_LINES)..];
    format!("; the console ends with\n    | {}", shown.join("\n    | "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_last_lines_are_shown() {
        let console: String = (0..100).map(|line| format!("line {line}\n")).collect();
        let shown = last_lines(&console);
        assert!(shown.contains("line 99") && shown.contains("line 85") && !shown.contains("line 84"));
        assert!(last_lines("").contains("empty"));
    }

    #[test]
    fn prompts_are_unfinished_lines() {
        assert!(ends_with_prompt("booting\r\n> "));
        assert!(!ends_with_prompt("booting\r\n"));
        assert!(!ends_with_prompt("\x1b[2J\x1b[01;01H"));
        assert!(!ends_with_prompt(""));
    }

    #[test]
    fn bytes_are_found() {
        assert_eq!(find(b"abcabc", b"ca"), Some(2));
        assert_eq!(find(b"abc", b"x"), None);
    }
}
