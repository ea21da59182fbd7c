//! What one domain has written and the terminal has not shown yet: its bytes, and among them whole lines of the
//! hypervisor about it.
//!
//! Both share one ring and keep their order: a crash dump follows the last words of the domain. The hypervisor's lines
//! stand together, and the place where they do is known; so nothing that a domain writes can pass for one. One that
//! would stand apart from those waits.

use super::ring::Ring;
use core::sync::atomic::{AtomicU8, Ordering};

/// Bytes of a ring: at 115200 baud the line needs 90 ms for them, time enough for a guest to come by again.
pub(super) const RING_BYTES: usize = 1024;
/// Longest line of the hypervisor, with its end.
pub(super) const OWN_LINE_BYTES: u32 = 157;
/// What a domain may fill: a line about it finds room even while it floods.
pub(super) const MOST_BYTES: u32 = RING_BYTES as u32 - OWN_LINE_BYTES;

/// See the module.
#[derive(Debug)]
#[repr(C)]
pub(super) struct Source {
    /// Ends of lines among the bytes.
    lines: u32,
    /// Place of the hypervisor's lines in the ring, and the one behind; if that is the same, there are none.
    own_first: u32,
    own_end: u32,
    bytes: Ring<RING_BYTES>,
}

impl Source {
    /// Nothing was written.
    pub(super) const fn new() -> Self {
        Self { lines: 0, own_first: 0, own_end: 0, bytes: Ring::new() }
    }

    /// Takes a prefix of what the domain writes; returns its length.
    pub(super) fn accept(&mut self, text: &[AtomicU8]) -> usize {
        let accepted = text.len().min(MOST_BYTES.saturating_sub(self.len()) as usize);
        text.iter().take(accepted).for_each(|byte| self.push(byte.load(Ordering::Relaxed)));
        accepted
    }

    /// Takes a line of the hypervisor, which `append` writes, whole, or not at all.
    pub(super) fn accept_line(&mut self, append: impl FnOnce(&mut Ring<RING_BYTES>)) -> bool {
        let stands_alone = self.own_first == self.own_end;
        let stands_apart = !stands_alone && self.own_end != self.bytes.end;
        if stands_apart || self.len() > RING_BYTES as u32 - OWN_LINE_BYTES {
            return false;
        }
        if stands_alone {
            self.own_first = self.bytes.end;
        }
        append(&mut self.bytes);
        self.push(b'\n');
        self.own_end = self.bytes.end;
        true
    }

    fn push(&mut self, byte: u8) {
        self.lines += u32::from(byte == b'\n');
        self.bytes.push(byte);
    }

    /// How many bytes come next that are all the domain's, or all the hypervisor's; and which.
    pub(super) fn next_run(&self) -> (u32, bool) {
        let own = self.own_end.wrapping_sub(self.own_first);
        let before = self.own_first.wrapping_sub(self.bytes.first);
        match () {
            () if own == 0 => (self.len(), false),
            () if before == 0 => (own, true),
            () => (before, false),
        }
    }

    /// Takes the next byte, one of a run.
    pub(super) fn take(&mut self) -> u8 {
        self.bytes.pop()
    }

    /// What was taken of a run ended with a line or not, and was the hypervisor's or not.
    pub(super) fn end_run(&mut self, is_line: bool, is_own: bool) {
        self.lines -= u32::from(is_line);
        if is_own {
            self.own_first = self.bytes.first;
        }
    }

    /// Whether the end of a line is there.
    pub(super) fn has_line(&self) -> bool {
        self.lines != 0
    }

    /// Whether the next byte ends the line.
    pub(super) fn is_at_line_end(&self) -> bool {
        self.len() != 0 && self.bytes.peek() == b'\n'
    }

    /// How many bytes are there.
    pub(super) fn len(&self) -> u32 {
        self.bytes.len()
    }
}

/// What a terminal shows of a byte, in text that must not move its cursor but to the next line.
pub(super) const fn visible(byte: u8) -> u8 {
    match byte {
        b'\t' | b'\n' => byte,
        0..b' ' | 0x7f => b'?',
        _ => byte,
    }
}
