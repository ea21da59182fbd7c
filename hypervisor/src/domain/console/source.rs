//! What one domain has written and the terminal has not shown yet: its bytes, and among them whole lines of the
//! hypervisor about it.
//!
//! A line of the hypervisor begins with [`MARK`] and [`OWN_LINE`]; a mark that the domain itself wrote is doubled. So
//! both share one ring and keep their order: a crash dump follows the last words of the domain.

use super::ring::Ring;
use crate::domain::NAME_BYTES;
use crate::domain::text::TEXT_BYTES;

/// Bytes of a ring: at 115200 baud the line needs 90 ms for them, time enough for a guest to come by again.
pub(super) const RING_BYTES: usize = 1024;
/// Room that a domain leaves, so that a line about it finds some even while it floods.
pub(super) const RESERVED_BYTES: usize = OWN_LINE_BYTES + 3;
/// Longest line of the hypervisor.
pub(super) const OWN_LINE_BYTES: usize = TEXT_BYTES;

/// Not part of any UTF-8 text, so doubling it costs nothing in practice.
const MARK: u8 = 0xff;
/// Behind a mark: a line of the hypervisor begins.
const OWN_LINE: u8 = 0;

/// See the module.
#[derive(Debug)]
pub(super) struct Source {
    bytes: Ring<RING_BYTES>,
    /// Ends of lines among the bytes.
    lines: u16,
    /// Whose they are, padded with zeros.
    pub(super) name: [u8; NAME_BYTES],
}

impl Source {
    /// Nothing was written.
    pub(super) const fn new() -> Self {
        Self { bytes: Ring::new(), lines: 0, name: [0; NAME_BYTES] }
    }

    /// Takes a prefix of what the domain writes; returns its length.
    pub(super) fn accept(&mut self, text: &[u8]) -> usize {
        let accepted = text.iter().take_while(|byte| {
            let needed = if **byte == MARK { 2 } else { 1 };
            let fits = self.bytes.len() + needed + RESERVED_BYTES <= RING_BYTES;
            if fits {
                if **byte == MARK {
                    self.push(MARK);
                }
                self.push(**byte);
            }
            fits
        });
        accepted.count()
    }

    /// Takes a line of the hypervisor, whole, or not at all. What would not be a line, or is too long, is cut.
    pub(super) fn accept_line(&mut self, text: &[u8]) -> bool {
        let text = &text[..text.len().min(OWN_LINE_BYTES)];
        if self.bytes.len() + 2 + text.len() + 1 > RING_BYTES {
            return false;
        }
        self.push(MARK);
        self.push(OWN_LINE);
        text.iter().for_each(|byte| self.push(visible(*byte)));
        self.push(b'\n');
        true
    }

    /// The callers look for room first.
    #[inline(never)]
    fn push(&mut self, byte: u8) {
        self.lines += u16::from(byte == b'\n');
        self.bytes.push(byte);
    }

    /// The next byte of the domain; `None` at the end or where a line of the hypervisor begins.
    pub(super) fn take(&mut self) -> Option<u8> {
        if self.is_at_own_line() {
            return None;
        }
        let byte = self.bytes.pop()?;
        match byte {
            MARK => return self.bytes.pop(),
            b'\n' => self.lines -= 1,
            _ => {}
        }
        Some(byte)
    }

    /// Begins to take a line of the hypervisor, if there is one now; [`Self::take`] gives its bytes.
    pub(super) fn take_own_line(&mut self) -> bool {
        let is_there = self.is_at_own_line();
        if is_there {
            self.bytes.pop();
            self.bytes.pop();
        }
        is_there
    }

    fn is_at_own_line(&self) -> bool {
        self.bytes.get(0) == Some(MARK) && self.bytes.get(1) == Some(OWN_LINE)
    }

    /// Whether the next byte ends the line.
    pub(super) fn is_at_line_end(&self) -> bool {
        self.bytes.get(0) == Some(b'\n')
    }

    /// Whether the end of a line is there.
    pub(super) fn has_line(&self) -> bool {
        self.lines != 0
    }

    /// How many bytes are there.
    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }
}

/// What a terminal shows of a byte, in text that must not move its cursor.
pub(super) const fn visible(byte: u8) -> u8 {
    match byte {
        b'\t' => byte,
        0..b' ' | 0x7f | MARK => b'?',
        _ => byte,
    }
}
