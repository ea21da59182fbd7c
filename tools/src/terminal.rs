//! The user's terminal as the machine's console.

use std::collections::VecDeque;
use std::io::{self, IsTerminal};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::termios::{OptionalActions, OutputModes, Termios, tcgetattr, tcsetattr};

use crate::failure::{Failure, Kind};
use crate::interrupt;
use crate::outcome::Outcome;
use crate::session::Session;

/// How to leave, to be shown before the console takes all keys.
pub const LEAVE_HELP: &str = "leave with Ctrl-] or Ctrl-A X";

const CONTROL_A: u8 = 0x01;
const CONTROL_RIGHT_BRACKET: u8 = 0x1d;

/// Whether standard input is a terminal.
pub fn is_interactive() -> bool {
    io::stdin().is_terminal()
}

/// Passes standard input to the machine until the machine ends or the user leaves.
///
/// Keys of a terminal go through as they come. Piped input is typed line by line, each when the guest seems to
/// wait for it, so that `echo help | cargo pv run native` finds a shell that listens.
pub fn attach(session: &mut Session) -> Result<Outcome, Failure> {
    let _raw_mode = if is_interactive() { RawMode::enter().ok() } else { None };
    let mut keys = Keys::default();
    let mut lines = VecDeque::new();
    let mut input_open = true;
    loop {
        if let Some(outcome) = session.poll()? {
            return Ok(outcome);
        }
        if !lines.is_empty() && session.takes_line() {
            session.send(&next_line(&mut lines));
        }
        if !input_open {
            std::thread::sleep(interrupt::POLL_INTERVAL);
            continue;
        }
        let mut chunk = [0; 256];
        match read_within(&mut chunk, interrupt::POLL_INTERVAL) {
            Ok(Some(0)) | Err(_) => input_open = false,
            Ok(Some(size)) if is_interactive() => {
                let (bytes, leave) = keys.filter(&chunk[..size]);
                session.send(&bytes);
                if leave {
                    // The guest's prompt stands on this line.
                    eprintln!();
                    return Err(Failure::new(Kind::Interrupted, "left the console; the machine was ended"));
                }
            }
            Ok(Some(size)) => lines.extend(&chunk[..size]),
            Ok(None) => {}
        }
    }
}

/// Takes the first line with its end, or what there is of it.
fn next_line(input: &mut VecDeque<u8>) -> Vec<u8> {
    let size = input.iter().position(|&byte| byte == b'\n').map_or(input.len(), |newline| newline + 1);
    input.drain(..size).collect()
}

/// Reads what there is, or `None` if nothing came in time.
fn read_within(chunk: &mut [u8], limit: Duration) -> io::Result<Option<usize>> {
    let stdin = io::stdin();
    let timeout = Timespec { tv_sec: 0, tv_nsec: i64::from(limit.subsec_nanos()) };
    let mut descriptors = [PollFd::new(&stdin, PollFlags::IN)];
    match poll(&mut descriptors, Some(&timeout)) {
        Ok(0) | Err(rustix::io::Errno::INTR) => Ok(None),
        // The descriptor itself, not the buffered handle: poll knows nothing of a buffer.
        Ok(_) => rustix::io::read(&stdin, chunk).map(Some).map_err(io::Error::from),
        Err(error) => Err(error.into()),
    }
}

/// Finds the keys that leave the console.
#[derive(Default)]
struct Keys {
    after_control_a: bool,
}

impl Keys {
    /// What to pass on, and whether the user wants to leave. Ctrl-A twice sends one Ctrl-A.
    fn filter(&mut self, input: &[u8]) -> (Vec<u8>, bool) {
        let mut passed = Vec::new();
        for &key in input {
            match (std::mem::take(&mut self.after_control_a), key) {
                (_, CONTROL_RIGHT_BRACKET) | (true, b'x' | b'X') => return (passed, true),
                (false, CONTROL_A) => self.after_control_a = true,
                (true, CONTROL_A) | (false, _) => passed.push(key),
                (true, _) => passed.extend([CONTROL_A, key]),
            }
        }
        (passed, false)
    }
}

/// The terminal in raw mode, put back when dropped.
struct RawMode {
    before: Termios,
}

impl RawMode {
    fn enter() -> io::Result<Self> {
        let before = tcgetattr(io::stdin())?;
        let mut raw = before.clone();
        raw.make_raw();
        // Kernels end lines with a bare line feed or not; let the terminal take both.
        raw.output_modes |= OutputModes::OPOST | OutputModes::ONLCR;
        tcsetattr(io::stdin(), OptionalActions::Now, &raw)?;
        Ok(Self { before })
    }
}

impl Drop for RawMode {
    fn drop(&mut self) {
        let _ = tcsetattr(io::stdin(), OptionalActions::Now, &self.before);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ways_to_leave() {
        assert_eq!(Keys::default().filter(b"ab\x1dcd"), (b"ab".to_vec(), true));
        assert_eq!(Keys::default().filter(b"ab\x01x"), (b"ab".to_vec(), true));
        let mut keys = Keys::default();
        assert_eq!(keys.filter(b"\x01"), (vec![], false));
        assert_eq!(keys.filter(b"X"), (vec![], true));
    }

    #[test]
    fn piped_input_is_typed_by_lines() {
        let mut input = VecDeque::from(*b"one\ntwo\nend");
        assert_eq!(next_line(&mut input), b"one\n");
        assert_eq!(next_line(&mut input), b"two\n");
        assert_eq!(next_line(&mut input), b"end");
        assert!(input.is_empty());
    }

    #[test]
    fn other_keys_pass() {
        assert_eq!(Keys::default().filter(b"x\x03\x7f"), (b"x\x03\x7f".to_vec(), false));
        assert_eq!(Keys::default().filter(b"\x01\x01x"), (b"\x01x".to_vec(), false));
        assert_eq!(Keys::default().filter(b"\x01b"), (b"\x01b".to_vec(), false));
    }
}
