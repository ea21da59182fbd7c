//! Editing of one input line: what each key does to the text, and what the terminal is sent to show it.
//!
//! A terminal sends bytes; arrows are the sequences `ESC [ A` to `ESC [ D`. The echo is made of text, backspaces
//! and `ESC [ K` (clear to the end of the line) only, which every terminal knows.

use alloc::string::String;
use alloc::vec::Vec;

/// Most bytes of a line; further ones are refused with a bell.
pub const MAX_LINE: usize = 120;
const HISTORY: usize = 16;
const BELL: u8 = 7;

/// What a key led to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// The line goes on.
    Editing,
    /// Enter was pressed.
    Line(String),
    /// Ctrl-C was pressed: the line is dropped.
    Cancelled,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
enum Escape {
    #[default]
    None,
    Begun,
    Bracket,
}

/// See the module.
#[derive(Debug, Default)]
pub struct LineEditor {
    line: Vec<u8>,
    cursor: usize,
    history: Vec<Vec<u8>>,
    /// Position in `history` while browsing; its length: the new line.
    browsing: usize,
    escape: Escape,
    after_return: bool,
}

impl LineEditor {
    /// An editor with an empty line and no history.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Handles one input byte; `echo` is sent to the terminal by the caller.
    pub fn key(&mut self, byte: u8, echo: &mut Vec<u8>) -> Outcome {
        let after_return = core::mem::take(&mut self.after_return);
        match (self.escape, byte) {
            (Escape::Begun, b'[') => self.escape = Escape::Bracket,
            (Escape::Bracket, _) => {
                self.escape = Escape::None;
                self.arrow(byte, echo);
            }
            (_, 0x1b) => self.escape = Escape::Begun,
            (_, b'\n') if after_return => {}
            (_, b'\r' | b'\n') => {
                self.after_return = byte == b'\r';
                return Outcome::Line(self.finish(echo));
            }
            (_, 3) => {
                echo.extend(b"^C\r\n");
                self.forget();
                return Outcome::Cancelled;
            }
            (_, 8 | 0x7f) => self.erase(echo),
            (_, 0x15) => self.replace(Vec::new(), echo),
            (_, b' '..=b'~') => self.insert(byte, echo),
            _ => {}
        }
        if byte != 0x1b && self.escape == Escape::Begun {
            self.escape = Escape::None;
        }
        Outcome::Editing
    }

    fn insert(&mut self, byte: u8, echo: &mut Vec<u8>) {
        if self.line.len() == MAX_LINE {
            return echo.push(BELL);
        }
        self.line.insert(self.cursor, byte);
        echo.extend(&self.line[self.cursor..]);
        self.cursor += 1;
        echo.extend(self.line[self.cursor..].iter().map(|_| 8));
    }

    fn erase(&mut self, echo: &mut Vec<u8>) {
        if self.cursor == 0 {
            return echo.push(BELL);
        }
        self.cursor -= 1;
        self.line.remove(self.cursor);
        echo.push(8);
        echo.extend(&self.line[self.cursor..]);
        echo.extend(b"\x1b[K");
        echo.extend(self.line[self.cursor..].iter().map(|_| 8));
    }

    fn arrow(&mut self, which: u8, echo: &mut Vec<u8>) {
        match which {
            b'A' if self.browsing > 0 => self.browse(self.browsing - 1, echo),
            b'B' if self.browsing < self.history.len() => self.browse(self.browsing + 1, echo),
            b'C' if self.cursor < self.line.len() => {
                echo.push(self.line[self.cursor]);
                self.cursor += 1;
            }
            b'D' if self.cursor > 0 => {
                echo.push(8);
                self.cursor -= 1;
            }
            _ => echo.push(BELL),
        }
    }

    fn browse(&mut self, position: usize, echo: &mut Vec<u8>) {
        self.browsing = position;
        let line = self.history.get(position).cloned().unwrap_or_default();
        self.replace(line, echo);
    }

    fn replace(&mut self, line: Vec<u8>, echo: &mut Vec<u8>) {
        echo.extend(self.line[..self.cursor].iter().map(|_| 8));
        echo.extend(&line);
        echo.extend(b"\x1b[K");
        self.cursor = line.len();
        self.line = line;
    }

    fn finish(&mut self, echo: &mut Vec<u8>) -> String {
        echo.extend(b"\r\n");
        let line = core::mem::take(&mut self.line);
        if !line.is_empty() && self.history.last() != Some(&line) {
            self.history.push(line.clone());
            if self.history.len() > HISTORY {
                self.history.remove(0);
            }
        }
        self.forget();
        String::from_utf8(line).unwrap_or_default()
    }

    fn forget(&mut self) {
        self.line.clear();
        self.cursor = 0;
        self.browsing = self.history.len();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The lines that `keys` produce, and what the terminal was sent for the last key.
    fn type_in(keys: &str) -> (Vec<String>, Vec<u8>) {
        let mut editor = LineEditor::new();
        let mut lines = Vec::new();
        let mut echo = Vec::new();
        for byte in keys.bytes() {
            echo.clear();
            if let Outcome::Line(line) = editor.key(byte, &mut echo) {
                lines.push(line);
            }
        }
        (lines, echo)
    }

    fn last(keys: &str) -> String {
        type_in(keys).0.pop().unwrap()
    }

    #[test]
    fn both_line_ends_count_once() {
        assert_eq!(type_in("a\r\nb\nc\r").0, ["a", "b", "c"]);
        assert_eq!(type_in("a\n\n").0, ["a", ""]);
    }

    #[test]
    fn erases_and_clears() {
        assert_eq!(last("helq\x7fp\r"), "help");
        assert_eq!(last("\x08nonsense\x15ps\r"), "ps");
        assert_eq!(last("gone\x03mem\r"), "mem");
    }

    #[test]
    fn inserts_where_the_cursor_stands() {
        assert_eq!(last("hlp\x1b[D\x1b[De\r"), "help");
        assert_eq!(last("hxelp\x1b[D\x1b[D\x1b[D\x7f\x1b[C!\r"), "he!lp");
        assert_eq!(type_in("ac\x1b[Db").1, b"bc\x08");
    }

    #[test]
    fn recalls_earlier_lines() {
        assert_eq!(last("one\rtwo\r\x1b[A\x1b[A\r"), "one");
        assert_eq!(last("one\rtwo\r\x1b[A\x1b[A\x1b[B\r"), "two");
        assert_eq!(last("one\r\x1b[A\x1b[B\r"), "");
        assert_eq!(last("one\rone\r\x1b[A\x1b[A!\r"), "one!");
    }

    #[test]
    fn other_bytes_change_nothing() {
        assert_eq!(last("a\x01\x1b\x1b[Zb\u{e9}c\r"), "abc");
        assert_eq!(last(&("x".repeat(MAX_LINE + 5) + "\r")).len(), MAX_LINE);
    }
}
