//! Which byte goes to the terminal next.
//!
//! Every domain has a ring of its own ([`Source`]), so that none can fill another's; one more is the operator's. What
//! goes out is *staged* in pieces of at most [`PIECE_BYTES`], each from one source:
//!
//! 1. the rest of the line that the terminal shows, if it is known to its end: no other line comes in between;
//! 2. lines for the operator, who waits for them;
//! 3. the domains in turn, a line each. Of the domain with the focus, a line that is still unfinished goes out as
//!    well, once nothing else is ready or [`PATIENCE`] lines went first: most such lines are finished by then.
//!
//! A line of another source ends an unfinished one first. With several domains each line bears a tag with the
//! domain's name. Bytes that move a terminal's cursor are left to the domain with the focus: from others they would
//! spoil the lines around. With one domain, bytes go out as they come.

use super::ring::Ring;
use super::source::{OWN_LINE_BYTES, RING_BYTES, Source, visible};
use crate::domain::registry::MAX_DOMAINS;
use crate::domain::{NAME_BYTES, NO_NAME};

/// Most bytes taken from a source at once: a line of the hypervisor is one piece.
pub(super) const PIECE_BYTES: u32 = OWN_LINE_BYTES;
/// Lines that go before an unfinished one of the domain with the focus.
const PATIENCE: u32 = 3;
/// Number of the operator's source.
pub(super) const OPERATOR: usize = MAX_DOMAINS;
const SOURCES: usize = MAX_DOMAINS + 1;
/// Number of no source.
const NOBODY: usize = SOURCES;

/// There is room for the end of the line before, a tag, a piece and its end: all that is staged at a time.
const _: () = assert!(RING_BYTES > 2 + 3 + NAME_BYTES + PIECE_BYTES as usize);

/// See the module.
#[derive(Debug)]
#[repr(C)]
pub(super) struct Output {
    /// Whose unfinished line the terminal shows.
    open: usize,
    /// The source that was served last.
    turn: usize,
    /// Bytes of an unfinished line that go out whoever has the focus.
    most_unfinished: u32,
    /// Lines that went before an unfinished one.
    passed: u32,
    domains: u32,
    /// What goes out next.
    staged: Ring<RING_BYTES>,
    /// The domains' names, padded with zeros.
    names: [[u8; NAME_BYTES]; MAX_DOMAINS],
    sources: [Source; SOURCES],
}

impl Output {
    /// All zeros, which cost the image nothing; [`Self::begin`] comes first.
    pub(super) const fn new() -> Self {
        Self {
            open: 0,
            turn: 0,
            most_unfinished: 0,
            passed: 0,
            domains: 0,
            staged: Ring::new(),
            names: [NO_NAME; MAX_DOMAINS],
            sources: [const { Source::new() }; SOURCES],
        }
    }

    /// Nobody wrote anything.
    pub(super) fn begin(&mut self) {
        self.open = NOBODY;
        self.most_unfinished = 1;
    }

    /// Adds a domain, with or without the console: it has a name that its lines must be told by.
    pub(super) fn add_domain(&mut self, domain: usize, name: [u8; NAME_BYTES]) {
        self.names[domain % MAX_DOMAINS] = name;
        self.domains += 1;
        if self.domains > 1 {
            self.most_unfinished = PIECE_BYTES;
        }
    }

    /// The ring of a domain.
    pub(super) fn source(&mut self, domain: usize) -> &mut Source {
        &mut self.sources[domain % MAX_DOMAINS]
    }

    /// As [`Source::accept_line`], for the source `to`: a template about the domain `about`, and words.
    pub(super) fn say(
        &mut self,
        to: usize,
        about: usize,
        template: &[u8],
        values: &[u64],
        words: &str,
    ) -> bool {
        let name = &self.names[about % MAX_DOMAINS];
        self.sources.get_mut(to).is_some_and(|source| {
            source.accept_line(|ring| {
                ring.template(template, name, values);
                words.bytes().for_each(|byte| ring.append(byte));
            })
        })
    }

    /// From now on everything goes out, unfinished lines too.
    pub(super) fn finish(&mut self) {
        self.most_unfinished = 1;
    }

    /// The next byte, `focus` having the focus, if there is one now.
    #[inline(never)]
    pub(super) fn next(&mut self, focus: usize) -> Option<u8> {
        while self.staged.len() == 0 {
            if !self.stage(focus) {
                return None;
            }
        }
        Some(self.staged.pop())
    }

    /// Stages the next piece. False: nothing is to go out now. Each piece takes bytes from a ring, so there are not
    /// more pieces than bytes.
    fn stage(&mut self, focus: usize) -> bool {
        let number = self.choose(focus);
        let Some(source) = self.sources.get_mut(number) else { return false };
        self.turn = number;
        let (bytes, is_own) = source.next_run();
        let is_raw = !is_own && self.domains < 2;
        let is_harmless = is_own || number != focus;
        let mut is_at_start = self.open != number;
        let staged = &mut self.staged;
        if !is_raw && (is_own || is_at_start) {
            let parts = u64::from(self.open != NOBODY) | u64::from(!is_own) << 1;
            staged.template(b"\xe0\r\n\xe1[@] ", &self.names[number % MAX_DOMAINS], &[parts]);
        }
        let mut left = bytes.min(PIECE_BYTES);
        let mut is_line = false;
        while left != 0 && !is_line {
            left -= 1;
            let byte = source.take();
            is_line = byte == b'\n';
            if is_raw {
                staged.push(byte);
                continue;
            }
            // The one before a line feed is added here; at the start it would move to the tag.
            if byte == b'\r' && (is_harmless || is_at_start || source.is_at_line_end()) {
                continue;
            }
            is_at_start = false;
            if is_line {
                staged.push(b'\r');
            }
            staged.push(if is_harmless { visible(byte) } else { byte });
        }
        source.end_run(is_line, is_own);
        self.open = if is_line { NOBODY } else { number };
        true
    }

    /// Whose turn it is: the source with the highest rank, and of several the first one behind who was served last.
    fn choose(&mut self, focus: usize) -> usize {
        let (mut chosen, mut highest) = (NOBODY, 1);
        let mut is_unfinished = false;
        for (number, source) in self.sources.iter().enumerate() {
            let is_ready = source.has_line() || source.len() >= self.most_unfinished;
            let rank = match () {
                () if source.has_line() && number == self.open => 10,
                () if is_ready && number == OPERATOR => 8,
                () if is_ready => 4,
                () if source.len() != 0 && number == focus => {
                    is_unfinished = true;
                    if self.passed >= PATIENCE { 6 } else { 2 }
                }
                () => 0,
            };
            let rank = rank + u32::from(number > self.turn);
            if rank > highest {
                (chosen, highest) = (number, rank);
            }
        }
        // More than the patience: what goes before it went first.
        self.passed = if is_unfinished && chosen != focus { self.passed.saturating_add(1) } else { 0 };
        chosen
    }
}
