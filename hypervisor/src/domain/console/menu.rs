//! What the operator's keys mean: a menu of one line that Ctrl-T opens and the next key closes.

use crate::domain::registry::MAX_DOMAINS;

/// Ctrl-T.
pub(super) const ESCAPE_KEY: u8 = 0x14;
const ESCAPE: u8 = 0x1b;

/// What can be done to the domain with the focus.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Order {
    /// It does not run until it continues.
    Pause,
    /// It runs again.
    Continue,
    /// It starts anew.
    Restart,
    /// It shows what it is doing.
    Dump,
}

/// What a key asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Choice {
    /// The domain with the focus gets this byte.
    Input(u8),
    /// The menu is shown.
    Open,
    /// The next domain gets the focus.
    Next,
    /// This domain gets the focus.
    Focus(u16),
    /// See [`Order`].
    Order(Order),
    /// All domains are shown.
    List,
    /// The menu is closed and nothing else is done.
    Back,
    /// The menu has no such key.
    Unknown,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Menu {
    is_open: bool,
}

impl Menu {
    /// The menu is closed.
    pub(super) const fn new() -> Self {
        Self { is_open: false }
    }

    /// What the operator asks for by the next key. Inlined, it is repeated for each choice.
    #[inline(never)]
    pub(super) fn key(&mut self, key: u8) -> Choice {
        if !core::mem::take(&mut self.is_open) {
            self.is_open = key == ESCAPE_KEY;
            return if self.is_open { Choice::Open } else { Choice::Input(key) };
        }
        match key {
            ESCAPE_KEY => Choice::Next,
            b'1'..=b'9' if usize::from(key - b'1') < MAX_DOMAINS => Choice::Focus(u16::from(key - b'1')),
            b'p' => Choice::Order(Order::Pause),
            b'c' => Choice::Order(Order::Continue),
            b'r' => Choice::Order(Order::Restart),
            b'd' => Choice::Order(Order::Dump),
            b'l' => Choice::List,
            b't' => Choice::Input(ESCAPE_KEY),
            ESCAPE => Choice::Back,
            _ => Choice::Unknown,
        }
    }
}
