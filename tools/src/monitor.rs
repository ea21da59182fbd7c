//! QEMU's monitor, by its machine protocol (QMP): to ask whether the machine still runs, to stop it, to read its memory.

use std::fs;
use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::failure::{Failure, Kind};
use crate::interrupt;

/// How long a read waits before the deadline is looked at.
const PAUSE: Duration = Duration::from_millis(50);
/// An answer takes no longer, on a busy computer too.
const ANSWER_LIMIT: Duration = Duration::from_secs(30);

/// A connection.
pub struct Monitor {
    stream: BufReader<UnixStream>,
}

impl Monitor {
    /// Connects as soon as QEMU has made the socket. `check` is asked meanwhile whether to go on.
    pub fn connect(socket: &Path, mut check: impl FnMut() -> Result<(), Failure>) -> Result<Self, Failure> {
        let end = Instant::now() + ANSWER_LIMIT;
        let stream = loop {
            match UnixStream::connect(socket) {
                Ok(stream) => break stream,
                Err(error) if Instant::now() >= end => return Err(broken(error)),
                Err(_) => {
                    check()?;
                    thread::sleep(PAUSE);
                }
            }
        };
        stream.set_read_timeout(Some(PAUSE)).map_err(broken)?;
        let mut monitor = Self { stream: BufReader::new(stream) };
        // The greeting says which QEMU it is.
        monitor.message()?;
        monitor.execute("qmp_capabilities", json!({}))?;
        Ok(monitor)
    }

    /// Whether the machine has ended, though QEMU still keeps it.
    pub fn has_ended(&mut self) -> Result<bool, Failure> {
        let answer = self.execute("query-status", json!({}))?;
        Ok(!matches!(answer["status"].as_str(), Some("running" | "prelaunch" | "paused")))
    }

    /// Stops all CPUs of the machine.
    pub fn stop(&mut self) -> Result<(), Failure> {
        self.execute("stop", json!({})).map(|_| ())
    }

    /// The bytes of the machine's memory at a physical address, by way of a file in `folder`.
    pub fn memory(&mut self, address: u64, bytes: usize, folder: &Path) -> Result<Vec<u8>, Failure> {
        let file = folder.join("memory");
        self.execute("pmemsave", json!({ "val": address, "size": bytes, "filename": file }))?;
        let read = fs::read(&file).map_err(|error| Failure::file("read", &file, &error))?;
        if read.len() == bytes { Ok(read) } else { Err(broken("memory is missing")) }
    }

    fn execute(&mut self, command: &str, arguments: Value) -> Result<Value, Failure> {
        let line = format!("{}\n", json!({ "execute": command, "arguments": arguments }));
        self.stream.get_mut().write_all(line.as_bytes()).map_err(broken)?;
        loop {
            let mut message = self.message()?;
            if let Some(error) = message.get("error") {
                return Err(broken(format_args!(
                    "{command}: {}",
                    error["desc"].as_str().unwrap_or("refused")
                )));
            }
            // Everything else is an event.
            if let Some(answer) = message.get_mut("return") {
                return Ok(answer.take());
            }
        }
    }

    /// The next line.
    fn message(&mut self) -> Result<Value, Failure> {
        let end = Instant::now() + ANSWER_LIMIT;
        let mut line = String::new();
        loop {
            // What was read of a line before a pause stays in `line`.
            match self.stream.read_line(&mut line) {
                Ok(0) => return Err(broken("QEMU has ended")),
                Ok(_) => return serde_json::from_str(&line).map_err(broken),
                Err(error) if error.kind() == ErrorKind::WouldBlock && Instant::now() < end => {
                    interrupt::check()?;
                }
                Err(error) => return Err(broken(error)),
            }
        }
    }
}

fn broken(reason: impl std::fmt::Display) -> Failure {
    Failure::new(Kind::CheckFailed, format!("QEMU's monitor failed: {reason}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;
    use std::os::unix::net::UnixListener;

    /// Plays QEMU: greets, then sends each of `answers` after a command.
    fn with_answers(answers: &'static [&'static str], test: impl FnOnce(Result<Monitor, Failure>)) {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("socket");
        let listener = UnixListener::bind(&socket).unwrap();
        let qemu = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            stream.write_all(b"{\"QMP\": {}}\n").unwrap();
            for answer in answers {
                let mut command = [0; 256];
                let _ = stream.read(&mut command).unwrap();
                stream.write_all(answer.as_bytes()).unwrap();
            }
        });
        test(Monitor::connect(&socket, || Ok(())));
        qemu.join().unwrap();
    }

    #[test]
    fn events_are_passed_over_and_errors_told() {
        const ANSWERS: &[&str] = &[
            "{\"return\": {}}\n",
            "{\"event\": \"STOP\"}\n{\"return\": {\"status\": \"shutdown\"}}\n",
            "{\"error\": {\"desc\": \"no such command\"}}\n",
        ];
        with_answers(ANSWERS, |monitor| {
            let mut monitor = monitor.unwrap();
            assert!(monitor.has_ended().unwrap());
            assert!(monitor.stop().unwrap_err().to_string().contains("no such command"));
            assert!(monitor.stop().unwrap_err().to_string().contains("failed"), "QEMU has ended");
        });
    }

    #[test]
    fn an_answer_that_is_no_json_is_told() {
        with_answers(&["nonsense\n"], |monitor| assert!(monitor.is_err()));
    }
}
