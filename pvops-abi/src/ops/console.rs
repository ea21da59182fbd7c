//! The kernel's console: bytes out, bytes in.

use core::fmt;

/// Operations on the console.
pub trait ConsoleOps: Sync {
    /// Writes a prefix of `bytes` and returns its length, 0 when there is no room now. Never waits long. Works
    /// from any context, a panic's too.
    fn write(&self, bytes: &[u8]) -> usize;
    /// Takes input that has arrived; returns how many bytes were stored. Never waits. The port bound to
    /// [`EventSource::Console`](super::event::EventSource::Console) becomes pending when input arrives.
    fn read(&self, buffer: &mut [u8]) -> usize;
}

use super::{ops, sched};

/// Writes all of `bytes`; others may run while it waits for room.
pub fn write_all(mut bytes: &[u8]) {
    let console = ops().console;
    while !bytes.is_empty() {
        let written = console.write(bytes).min(bytes.len());
        bytes = &bytes[written..];
        if written == 0 {
            core::hint::spin_loop();
            sched::yield_now();
        }
    }
}

/// See [`ConsoleOps::read`].
pub fn read(buffer: &mut [u8]) -> usize {
    ops().console.read(buffer)
}

/// The console as a [`fmt::Write`]; adds the carriage return that terminals want before each line feed.
#[derive(Clone, Copy, Debug)]
pub struct Writer;

impl fmt::Write for Writer {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let mut lines = text.split_inclusive('\n');
        lines.try_for_each(|line| {
            match line.strip_suffix('\n') {
                Some(body) => {
                    write_all(body.as_bytes());
                    write_all(b"\r\n");
                }
                None => write_all(line.as_bytes()),
            }
            Ok(())
        })
    }
}
