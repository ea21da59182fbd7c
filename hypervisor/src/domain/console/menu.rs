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

/// What a key is answered with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Answer {
    /// The menu is open.
    Menu,
    /// The menu is closed.
    Back,
    /// The menu has no such key, and is closed.
    NoKey,
}

/// What a key asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Choice {
    /// The domain with the focus gets this byte.
    Input(u8),
    /// Nothing else is done.
    Tell(Answer),
    /// The next domain gets the focus.
    Next,
    /// This domain gets the focus.
    Focus(u8),
    /// See [`Order`].
    Order(Order),
    /// All domains are shown.
    List,
}

/// The menu's keys, but for the domains' numbers.
const KEYS: [(u8, Choice); 8] = [
    (ESCAPE_KEY, Choice::Next),
    (b'p', Choice::Order(Order::Pause)),
    (b'c', Choice::Order(Order::Continue)),
    (b'r', Choice::Order(Order::Restart)),
    (b'd', Choice::Order(Order::Dump)),
    (b'l', Choice::List),
    (b't', Choice::Input(ESCAPE_KEY)),
    (ESCAPE, Choice::Tell(Answer::Back)),
];

/// What the operator asks for by a key, while the menu is open or not. Inlined, it is repeated for each choice.
#[inline(never)]
pub(super) fn choice(is_open: bool, key: u8) -> Choice {
    if !is_open {
        return if key == ESCAPE_KEY { Choice::Tell(Answer::Menu) } else { Choice::Input(key) };
    }
    let domain = key.wrapping_sub(b'1');
    if usize::from(domain) < MAX_DOMAINS {
        return Choice::Focus(domain);
    }
    KEYS.iter().find(|(this, _)| *this == key).map_or(Choice::Tell(Answer::NoKey), |(_, choice)| *choice)
}
