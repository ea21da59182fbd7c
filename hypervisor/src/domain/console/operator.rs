//! Input: to the domain with the focus, or to the operator's menu.

use super::menu::{Answer, Choice, Order, choice};
use super::output::OPERATOR;
use super::{FOCUS, MEMBERS};
use crate::domain::lifecycle::{self, State};
use crate::domain::registry::{self, MAIL_CONSOLE, MAX_DOMAINS};
use crate::sched::VcpuId;
use core::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, Ordering};

/// Bytes kept for a domain that does not read (CONS-004).
const INPUT_BYTES: usize = 256;

/// Bytes received and not yet read. The CPU at the UART puts them there and the domain's takes them: a place is the
/// one's or the other's.
static INPUT: [Input; MAX_DOMAINS] = [const { Input::new() }; MAX_DOMAINS];
/// Whether the next key is the menu's.
static IS_OPEN: AtomicBool = AtomicBool::new(false);

struct Input {
    /// Place of the oldest byte, modulo the size.
    first: AtomicU32,
    /// Place of the next one, likewise.
    end: AtomicU32,
    bytes: [AtomicU8; INPUT_BYTES],
}

impl Input {
    const fn new() -> Self {
        let bytes = [const { AtomicU8::new(0) }; INPUT_BYTES];
        Self { first: AtomicU32::new(0), end: AtomicU32::new(0), bytes }
    }

    /// The newest is lost when there is no room.
    fn push(&self, byte: u8) {
        let end = self.end.load(Ordering::Relaxed);
        if end.wrapping_sub(self.first.load(Ordering::Acquire)) < INPUT_BYTES as u32 {
            self.bytes[end as usize % INPUT_BYTES].store(byte, Ordering::Relaxed);
            self.end.store(end.wrapping_add(1), Ordering::Release);
        }
    }

    fn pop(&self) -> Option<u8> {
        let first = self.first.load(Ordering::Relaxed);
        if self.end.load(Ordering::Acquire) == first {
            return None;
        }
        let byte = self.bytes[first as usize % INPUT_BYTES].load(Ordering::Relaxed);
        self.first.store(first.wrapping_add(1), Ordering::Release);
        Some(byte)
    }
}

/// Takes the oldest byte of a domain; on its CPU.
pub fn take(domain: u16) -> Option<u8> {
    INPUT[usize::from(domain) % MAX_DOMAINS].pop()
}

/// Does what a received byte asks for. On one CPU only.
pub(super) fn receive(byte: u8) {
    let choice = choice(IS_OPEN.load(Ordering::Relaxed), byte);
    IS_OPEN.store(choice == Choice::Tell(Answer::Menu), Ordering::Relaxed);
    let focus = FOCUS.load(Ordering::Relaxed).into();
    match choice {
        Choice::Input(byte) => keep(focus, byte),
        Choice::Tell(answer) => tell(focus, 1 << answer as u32),
        Choice::Next => give_focus(next_member(focus)),
        Choice::Focus(domain) => give_focus(domain.into()),
        Choice::Order(order) => obey(order, focus),
        Choice::List => list(focus),
    }
}

/// What the operator is told, in parts, each a bit: `@` is the name of a domain, the other value its number.
const ANSWERS: &[u8] = b"pvops: \
    \xe0'@' | ^T next, 1-8 domain, l list | p pause, c continue, r restart, d dump | t send ^T, Esc back\
    \xe1back to '@'\
    \xe2no such key; back\
    \xe3no domain \xc1 has a console\
    \xe4'@' has the focus\
    \xe5'@': \
    \xe6pause\xe7continue\xe8restart\xe9dump\
    \xea is not for a stopped domain\
    \xeb\xc1 '@' \
    \xecrunning\xedpaused\xeestopped\
    \xef, has the focus\
    \xf0, no console";
/// Before it, in the order of [`Answer`]; the next: has the focus.
const NO_CONSOLE: u32 = 1 << 3;
const ORDER: u32 = 1 << 5;
/// The others follow, in the order of [`Order`].
const PAUSE: u32 = 1 << 6;
const REFUSED: u32 = 1 << 10;
const STATE: u32 = 1 << 11;
/// The others follow, in the order of [`State`].
const RUNNING: u32 = 1 << 12;
const WITH_FOCUS: u32 = 1 << 15;
const WITHOUT_CONSOLE: u32 = 1 << 16;

/// Keeps a byte for a domain; the newest is lost when that does not read.
fn keep(domain: u16, byte: u8) {
    INPUT[usize::from(domain) % MAX_DOMAINS].push(byte);
    registry::post(VcpuId { domain, vcpu: 0 }, MAIL_CONSOLE);
}

/// Shows parts of [`ANSWERS`] about a domain to the operator. A line that finds no room, behind many keys at once, is left
/// out.
#[inline(never)]
fn tell(domain: u16, parts: u32) {
    super::say(OPERATOR, domain, ANSWERS, &[parts.into(), u64::from(domain) + 1], "");
}

fn is_member(domain: u16) -> bool {
    MEMBERS.load(Ordering::Relaxed) >> (domain % 8) & 1 != 0
}

fn next_member(focus: u16) -> u16 {
    let behind = MEMBERS.load(Ordering::Relaxed).rotate_right(u32::from(focus) + 1);
    (focus + 1 + behind.trailing_zeros() as u16) % MAX_DOMAINS as u16
}

#[inline(never)]
fn give_focus(domain: u16) {
    let is_member = is_member(domain);
    if is_member {
        FOCUS.store(domain as u8, Ordering::Relaxed);
    }
    tell(domain, NO_CONSOLE << u32::from(is_member));
}

/// A domain that has stopped does not mind but a restart.
fn obey(order: Order, domain: u16) {
    let is_refused = order != Order::Restart && lifecycle::state(domain) == State::Stopped;
    tell(domain, ORDER | PAUSE << order as u32 | if is_refused { REFUSED } else { 0 });
    match order {
        Order::Pause => lifecycle::pause(domain),
        Order::Continue => lifecycle::resume(domain),
        Order::Restart => lifecycle::restart(domain),
        Order::Dump => lifecycle::dump(domain),
    }
}

fn list(focus: u16) {
    for domain in 0..registry::domain_count() as u16 {
        let more = match () {
            () if domain == focus => WITH_FOCUS,
            () if !is_member(domain) => WITHOUT_CONSOLE,
            () => 0,
        };
        tell(domain, STATE | RUNNING << lifecycle::state(domain) as u32 | more);
    }
}
