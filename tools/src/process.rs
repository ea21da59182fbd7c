//! Commands that are run to their end, within a time limit. Their processes cannot outlive this one.

use std::io::{self, BufRead, BufReader, Read};
use std::process::{Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

pub use conformance_runner::child::Child;

use crate::failure::{Failure, Kind};
use crate::interrupt;

/// What a finished command left behind.
pub struct Finished {
    /// Its exit status.
    pub status: ExitStatus,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

/// Runs `command` to its end with empty input. `on_line` sees each line of its standard error as it comes.
pub fn run(
    command: &mut Command,
    limit: Duration,
    on_line: impl Fn(&str) + Sync,
) -> Result<Finished, Failure> {
    let name = command.get_program().to_string_lossy().into_owned();
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = Child::spawn(command).map_err(|error| cannot_start(&name, &error))?;
    let stdout = child.pipes().stdout.take();
    let stderr = child.pipes().stderr.take();

    thread::scope(|scope| {
        let stdout = scope.spawn(|| read_all(stdout));
        let stderr = scope.spawn(|| read_lines(stderr, &on_line));
        let status = wait(&mut child, &name, limit);
        if status.is_err() {
            // Closes the pipes, so that the readers end.
            child.kill();
        }
        let stdout = stdout.join().unwrap_or_default();
        let stderr = stderr.join().unwrap_or_default();
        status.map(|status| Finished { status, stdout, stderr })
    })
}

/// Runs `command` to its end, however long that takes, with empty input and our own output.
pub fn run_visibly(command: &mut Command) -> Result<ExitStatus, Failure> {
    let name = command.get_program().to_string_lossy().into_owned();
    command.stdin(Stdio::null());
    let mut child = Child::spawn(command).map_err(|error| cannot_start(&name, &error))?;
    loop {
        if let Some(status) = child.try_wait().map_err(|error| cannot_start(&name, &error))? {
            return Ok(status);
        }
        interrupt::check()?;
        thread::sleep(interrupt::POLL_INTERVAL);
    }
}

/// The failure for a program that could not be started.
pub fn cannot_start(program: &str, error: &io::Error) -> Failure {
    match error.kind() {
        io::ErrorKind::NotFound => Failure::new(Kind::ToolMissing, format!("{program} is not installed")),
        _ => Failure::new(Kind::ToolMissing, format!("cannot start {program}: {error}")),
    }
}

fn wait(child: &mut Child, name: &str, limit: Duration) -> Result<ExitStatus, Failure> {
    let deadline = Instant::now() + limit;
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return Ok(status),
            Ok(None) => {}
            Err(error) => return Err(cannot_start(name, &error)),
        }
        interrupt::check()?;
        if Instant::now() >= deadline {
            let message = format!("{name} did not end within {} s and was killed", limit.as_secs());
            return Err(Failure::new(Kind::Timeout, message));
        }
        thread::sleep(interrupt::POLL_INTERVAL);
    }
}

fn read_all(pipe: Option<impl Read>) -> String {
    let mut bytes = Vec::new();
    if let Some(mut pipe) = pipe {
        // A read error ends the output like its end does; the exit status tells the rest.
        let _ = pipe.read_to_end(&mut bytes);
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn read_lines(pipe: Option<impl Read>, on_line: &impl Fn(&str)) -> String {
    let mut all = String::new();
    let Some(pipe) = pipe else { return all };
    for line in BufReader::new(pipe).split(b'\n').map_while(Result::ok) {
        let line = String::from_utf8_lossy(&line);
        on_line(&line);
        all.push_str(&line);
        all.push('\n');
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn output_and_status_are_kept() {
        let finished = run(
            Command::new("sh").args(["-c", "echo out; echo err >&2; exit 3"]),
            Duration::from_secs(10),
            |line| assert_eq!(line, "err"),
        )
        .unwrap();
        assert_eq!(finished.status.code(), Some(3));
        assert_eq!(finished.stdout, "out\n");
        assert_eq!(finished.stderr, "err\n");
    }

    #[test]
    fn a_child_past_its_limit_is_killed_with_its_children() {
        let started = Instant::now();
        // The inner sleep holds the pipes open: only killing the group lets the readers end.
        let result =
            run(Command::new("sh").args(["-c", "sleep 30 & wait"]), Duration::from_millis(100), |_| ());
        assert_eq!(result.err().map(|failure| failure.kind), Some(Kind::Timeout));
        assert!(started.elapsed() < Duration::from_secs(10));
    }

    #[test]
    fn a_missing_program_is_named() {
        let failure =
            run(&mut Command::new("no-such-program"), Duration::from_secs(1), |_| ()).err().unwrap();
        assert_eq!(failure.to_string(), "error: no-such-program is not installed");
    }
}
