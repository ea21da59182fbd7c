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

use super::source::{OWN_LINE_BYTES, Source, visible};
use crate::domain::NAME_BYTES;
use crate::domain::registry::MAX_DOMAINS;
use heapless::Vec;

/// Most bytes taken from a source at once.
const PIECE_BYTES: usize = 120;
/// Lines that go before an unfinished one of the domain with the focus.
const PATIENCE: u8 = 3;
/// Number of the operator's source.
pub(super) const OPERATOR: usize = MAX_DOMAINS;

const LINE_END: &[u8] = b"\r\n";
const TAG_BYTES: usize = NAME_BYTES + 3;
/// The end of the line before, and a piece with its tag and a line end, or a line of the hypervisor.
const STAGED_BYTES: usize = 160;
const _: () = assert!(2 * LINE_END.len() + TAG_BYTES + PIECE_BYTES - 1 <= STAGED_BYTES);
const _: () = assert!(2 * LINE_END.len() + OWN_LINE_BYTES <= STAGED_BYTES);

/// How a piece is shown.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Style {
    /// As it is: there is one domain only.
    Raw,
    /// Of the domain with the focus.
    Focused,
    /// Of another domain.
    Other,
    /// A line of the hypervisor.
    Own,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Output {
    sources: [Source; MAX_DOMAINS + 1],
    staged: Vec<u8, STAGED_BYTES>,
    /// Bytes of `staged` that went out.
    sent: usize,
    /// Whose unfinished line the terminal shows.
    open: Option<usize>,
    /// The domain that was served last.
    turn: usize,
    /// Lines that went before an unfinished one.
    passed: u8,
    domains: usize,
    is_ending: bool,
}

impl Output {
    /// Nobody wrote anything.
    pub(super) const fn new() -> Self {
        Self {
            sources: [const { Source::new() }; MAX_DOMAINS + 1],
            staged: Vec::new(),
            sent: 0,
            open: None,
            turn: 0,
            passed: 0,
            domains: 0,
            is_ending: false,
        }
    }

    /// Adds a domain, with or without the console: it has a name that its lines must be told by.
    pub(super) fn add_domain(&mut self, domain: usize, name: [u8; NAME_BYTES]) {
        self.sources[domain % MAX_DOMAINS].name = name;
        self.domains += 1;
    }

    /// The ring of a domain, or of the [`OPERATOR`].
    pub(super) fn source(&mut self, number: usize) -> &mut Source {
        &mut self.sources[number.min(OPERATOR)]
    }

    /// From now on everything goes out, unfinished lines too.
    pub(super) fn end(&mut self) {
        self.is_ending = true;
    }

    /// Takes what goes out next, `focus` having the focus. Fewer bytes than asked for: there are no more now.
    pub(super) fn fill(&mut self, focus: usize, target: &mut [u8]) -> usize {
        let places = target.iter_mut();
        places.map_while(|place| self.next(focus).map(|byte| *place = byte)).count()
    }

    /// The next byte, if there is one now.
    #[inline(never)]
    pub(super) fn next(&mut self, focus: usize) -> Option<u8> {
        loop {
            if let Some(byte) = self.staged.get(self.sent) {
                self.sent += 1;
                return Some(*byte);
            }
            if !self.stage(focus) {
                return None;
            }
        }
    }

    /// Takes what is staged and has not gone out.
    pub(super) fn take_staged(&mut self) -> &[u8] {
        let from = core::mem::replace(&mut self.sent, self.staged.len());
        self.staged.get(from..).unwrap_or_default()
    }

    /// Whether the terminal shows an unfinished line, once what is staged has gone out.
    #[cfg(test)]
    pub(super) fn is_in_line(&self) -> bool {
        self.open.is_some()
    }

    /// The hypervisor wrote to the terminal past the rings; `last` was the last byte.
    pub(super) fn bypassed(&mut self, last: u8) {
        self.open = (last != b'\n').then_some(OPERATOR);
    }

    /// Stages the next piece. False: nothing is to go out now. Each piece takes bytes from a ring, so there are not
    /// more pieces than bytes.
    fn stage(&mut self, focus: usize) -> bool {
        let Some(number) = self.choose(focus).map(|number| number.min(OPERATOR)) else { return false };
        self.staged.clear();
        self.sent = 0;
        if number != OPERATOR {
            self.turn = number;
        }
        if number == focus {
            self.passed = 0;
        }
        let style = if self.sources[number].take_own_line() {
            Style::Own
        } else if self.domains < 2 {
            Style::Raw
        } else if number == focus {
            Style::Focused
        } else {
            Style::Other
        };
        if style == Style::Own || style != Style::Raw && self.open != Some(number) {
            self.end_line();
        }
        let most = if style == Style::Own { OWN_LINE_BYTES + 1 } else { PIECE_BYTES };
        for _ in 0..most {
            let Some(byte) = self.sources[number].take() else { break };
            self.show(number, style, byte);
            if byte == b'\n' {
                break;
            }
        }
        true
    }

    /// Whose turn it is.
    fn choose(&mut self, focus: usize) -> Option<usize> {
        if let Some(owner) = self.open
            && self.sources[owner].has_line()
        {
            return Some(owner);
        }
        if self.sources[OPERATOR].len() != 0 {
            return Some(OPERATOR);
        }
        let mut others = (1..=MAX_DOMAINS).map(|step| (self.turn + step) % MAX_DOMAINS);
        let ready = others.find(|number| self.is_ready(*number));
        let focused = &self.sources[focus.min(OPERATOR)];
        let is_unfinished = focused.len() != 0 && !self.is_ready(focus);
        match ready {
            Some(_) if is_unfinished && self.passed < PATIENCE => self.passed += 1,
            _ if is_unfinished => return Some(focus),
            _ => {}
        }
        ready
    }

    /// Whether something may go out whoever has the focus.
    fn is_ready(&self, number: usize) -> bool {
        let source = &self.sources[number];
        let least = if self.domains < 2 || self.is_ending { 1 } else { PIECE_BYTES };
        source.has_line() || source.len() >= least
    }

    fn show(&mut self, number: usize, style: Style, byte: u8) {
        let is_tagged = matches!(style, Style::Focused | Style::Other);
        // The one before a line feed is added below; at the start of a line it would move nothing.
        let is_idle = self.open.is_none() || self.sources[number].is_at_line_end();
        if is_tagged && byte == b'\r' && (style == Style::Other || is_idle) {
            return;
        }
        if is_tagged && self.open.is_none() {
            self.tag(number);
        }
        match (style, byte) {
            (Style::Raw, _) => self.put(byte),
            (_, b'\n') => LINE_END.iter().for_each(|byte| self.put(*byte)),
            (Style::Other, _) => self.put(visible(byte)),
            (_, _) => self.put(byte),
        }
        self.open = (byte != b'\n').then_some(number);
    }

    fn tag(&mut self, number: usize) {
        let name = self.sources[number].name;
        self.put(b'[');
        name.iter().take_while(|byte| **byte != 0).for_each(|byte| self.put(*byte));
        self.put(b']');
        self.put(b' ');
    }

    fn end_line(&mut self) {
        if self.open.take().is_some() {
            LINE_END.iter().for_each(|byte| self.put(*byte));
        }
    }

    /// The longest piece fits: see [`STAGED_BYTES`].
    #[inline(never)]
    fn put(&mut self, byte: u8) {
        _ = self.staged.push(byte);
    }
}
