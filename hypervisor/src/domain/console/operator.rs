//! Input: to the domain with the focus, or to the operator's menu.

use super::menu::{Choice, Menu, Order};
use super::output::OPERATOR;
use super::ring::Ring;
use super::{FOCUS, MEMBERS};
use crate::domain::lifecycle::{self, State};
use crate::domain::registry::{self, MAIL_CONSOLE, MAX_DOMAINS};
use crate::domain::text::Text;
use crate::sched::VcpuId;
use core::sync::atomic::Ordering;
use spin::Mutex;

/// Bytes kept for a domain that does not read (CONS-004).
const INPUT_BYTES: usize = 256;

/// Bytes received and not yet read.
static INPUT: Mutex<[Ring<INPUT_BYTES>; MAX_DOMAINS]> = Mutex::new([const { Ring::new() }; MAX_DOMAINS]);
static MENU: Mutex<Menu> = Mutex::new(Menu::new());

/// Takes the oldest byte of a domain.
pub fn take(domain: u16) -> Option<u8> {
    INPUT.lock()[usize::from(domain) % MAX_DOMAINS].pop()
}

/// Does what a received byte asks for.
pub(super) fn receive(byte: u8) {
    let choice = MENU.lock().key(byte);
    let focus = FOCUS.load(Ordering::Relaxed) as u16;
    match choice {
        Choice::Input(byte) => keep(focus, byte),
        Choice::Open => tell(
            focus,
            "@ | ^T next, 1-8 domain, l list | p pause, c continue, r restart, d dump | t send ^T, Esc back",
            "",
        ),
        Choice::Next => focus_next(focus),
        Choice::Focus(domain) => give_focus(domain),
        Choice::Order(order) => obey(order, focus),
        Choice::List => list(focus),
        Choice::Back => tell(focus, "back to @", ""),
        Choice::Unknown => tell(focus, "the menu has no such key; back", ""),
    }
}

/// Keeps a byte for a domain; the newest is lost when that does not read.
fn keep(domain: u16, byte: u8) {
    INPUT.lock()[usize::from(domain) % MAX_DOMAINS].push(byte);
    registry::post(VcpuId { domain, vcpu: 0 }, MAIL_CONSOLE);
}

/// Shows a line to the operator, in which `@` stands for the name of `domain` and `%` for its number. One that finds no
/// room, behind many keys at once, is left out.
#[inline(never)]
fn tell(domain: u16, words: &str, more: &str) {
    let mut line = Text::of("pvops: ");
    for byte in words.as_bytes() {
        match *byte {
            b'@' => line.quoted(&registry::name_of(domain)),
            b'%' => line.decimal(u64::from(domain) + 1),
            byte => line.byte(byte),
        };
    }
    super::put_line(OPERATOR, line.text(more).as_bytes());
}

fn is_member(domain: u16) -> bool {
    MEMBERS.load(Ordering::Relaxed) >> domain & 1 != 0
}

fn focus_next(focus: u16) {
    let mut others = (1..=MAX_DOMAINS as u16).map(|step| (focus + step) % MAX_DOMAINS as u16);
    if let Some(next) = others.find(|domain| is_member(*domain)) {
        give_focus(next);
    }
}

fn give_focus(domain: u16) {
    if !is_member(domain) {
        tell(domain, "there is no domain % with a console", "");
        return;
    }
    FOCUS.store(domain.into(), Ordering::Relaxed);
    tell(domain, "@ has the focus", "");
}

fn obey(order: Order, domain: u16) {
    let is_for_it = order == Order::Restart || lifecycle::state(domain) != Some(State::Stopped);
    let (words, act): (_, fn(u16)) = match order {
        Order::Pause => ("@: pause", lifecycle::pause),
        Order::Continue => ("@: continue", lifecycle::resume),
        Order::Restart => ("@: restart", lifecycle::restart),
        Order::Dump => ("@: dump", lifecycle::dump),
    };
    tell(domain, words, if is_for_it { "" } else { " is not for a domain that has stopped" });
    if is_for_it {
        act(domain);
    }
}

fn list(focus: u16) {
    for domain in 0..registry::domain_count().min(MAX_DOMAINS as u32) as u16 {
        let words = match lifecycle::state(domain) {
            Some(State::Running) => "% @ running",
            Some(State::Paused) => "% @ paused",
            Some(State::Stopped) | None => "% @ stopped",
        };
        let more = match (domain == focus, is_member(domain)) {
            (true, _) => ", has the focus",
            (_, false) => ", no console",
            _ => "",
        };
        tell(domain, words, more);
    }
}
