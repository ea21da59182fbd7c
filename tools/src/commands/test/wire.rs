//! The other end of a socket that QEMU made: a serial line, or its monitor.

use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use crate::failure::{Failure, Kind};
use crate::interrupt;
use crate::session::last_lines;

/// How long a read waits before the deadline is looked at.
const PAUSE: Duration = Duration::from_millis(50);

/// See the module.
pub struct Wire {
    stream: UnixStream,
    received: Vec<u8>,
    deadline: Instant,
}

impl Wire {
    /// Connects as soon as QEMU has made the socket. After `limit` every wait fails.
    pub fn connect(socket: &Path, limit: Duration) -> Result<Self, Failure> {
        let deadline = Instant::now() + limit;
        loop {
            match UnixStream::connect(socket) {
                Ok(stream) => {
                    stream.set_read_timeout(Some(PAUSE)).map_err(broken)?;
                    return Ok(Self { stream, received: Vec::new(), deadline });
                }
                Err(error) if Instant::now() >= deadline => return Err(broken(error)),
                Err(_) => {
                    interrupt::check()?;
                    thread::sleep(PAUSE);
                }
            }
        }
    }

    /// Sends bytes.
    pub fn send(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.stream.write_all(bytes).map_err(broken)
    }

    /// Waits until `text` has arrived; returns what came before it, which is forgotten.
    pub fn wait_for(&mut self, text: &str) -> Result<String, Failure> {
        let mut chunk = [0; 4096];
        loop {
            let place = self.received.windows(text.len()).position(|bytes| bytes == text.as_bytes());
            if let Some(place) = place {
                let before = self.received.drain(..place + text.len()).take(place).collect::<Vec<u8>>();
                return Ok(String::from_utf8_lossy(&before).into_owned());
            }
            interrupt::check()?;
            match self.stream.read(&mut chunk) {
                Ok(size @ 1..) => self.received.extend_from_slice(&chunk[..size]),
                Err(error) if error.kind() == ErrorKind::WouldBlock && Instant::now() < self.deadline => {}
                _ => {
                    let received = String::from_utf8_lossy(&self.received).into_owned();
                    let message = format!("the wire did not say {text:?}{}", last_lines(&received));
                    return Err(Failure::new(Kind::CheckFailed, message));
                }
            }
        }
    }
}

fn broken(error: std::io::Error) -> Failure {
    Failure::new(Kind::CheckFailed, format!("a wire to QEMU is broken: {error}"))
}
