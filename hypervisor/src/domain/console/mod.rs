//! The console, shared by all domains that have one.
//!
//! Output: what a domain writes goes into its ring, as far as there is room ([`write`]), and from the rings into the
//! UART whenever its transmitter is empty: by who just wrote, or by its interrupt, which CPU 0 takes ([`send`]). So
//! nobody waits for the line, and who holds the console does so for the 16 bytes of a FIFO. An emulator's UART is
//! empty again at once; CPU 0 then sends no more than every [`PAUSE_NS`], lest a flood on another CPU take all its
//! time.
//!
//! [`output`] decides which byte is next. Input goes to the domain with the focus or, behind Ctrl-T, to the
//! [`operator`]'s menu.
//!
//! The hypervisor itself speaks by [`say`] about a domain, by [`boot::print`], and by [`end_with`]: those two wait for
//! the line, byte by byte, a bounded time.

pub mod boot;
mod menu;
mod operator;
mod output;
mod ring;
mod source;
#[cfg(test)]
mod tests;
mod text;

use super::NO_NAME;
use super::registry::NEVER;
use super::turn;
use crate::arch::x86_64::console::{self as device, Uart};
use crate::arch::x86_64::time;
use core::mem;
use core::sync::atomic::{AtomicU8, AtomicU64, Ordering};
pub use operator::take;
use output::Output;
use ring::Ring;
use spin::{Mutex, MutexGuard};
#[cfg(test)]
pub(in crate::domain) use text::text_of;

static CONSOLE: Mutex<Console> = Mutex::new(Console { uart: Uart::none(), taken: 0, output: Output::new() });

/// Domains with a console, one bit each.
static MEMBERS: AtomicU8 = AtomicU8::new(0);
static FOCUS: AtomicU8 = AtomicU8::new(0);

/// The tick at which CPU 0 sends again, [`NEVER`] if it waits for the UART's interrupt or nothing is to be sent.
static NEXT: AtomicU64 = AtomicU64::new(NEVER);
/// About what a line of 115200 baud needs for the bytes of a FIFO.
const PAUSE_NS: u32 = 1_000_000;

/// A UART that takes nothing for that long, which is some seconds, has nobody at the other end and holds back what it
/// gets. What does not fit any more is lost then, so that no guest waits for ever (CONS-002).
const STALLED_TICKS: u64 = 1 << 33;
/// When no UART ever took bytes: longer ago than that.
const NEVER_TAKEN: u64 = STALLED_TICKS.wrapping_neg();

/// A guest that writes while others hold the console for some microseconds is told to come again.
const SHORT: u32 = 1_000;
/// Who must get the console. A fault while this very CPU holds it goes on without.
const LONG: u32 = 1_000_000;

/// What is shared, and held for microseconds.
#[repr(C)]
struct Console {
    uart: Uart,
    /// The tick at which the UART took bytes last.
    taken: u64,
    output: Output,
}

#[inline(never)]
fn lock(attempts: u32) -> Option<MutexGuard<'static, Console>> {
    (0..attempts).find_map(|_| {
        core::hint::spin_loop();
        CONSOLE.try_lock()
    })
}

fn focus() -> usize {
    FOCUS.load(Ordering::Relaxed).into()
}

/// Takes what a domain writes, as far as there is room now; returns how many bytes.
pub fn write(domain: u16, text: &[AtomicU8]) -> usize {
    let Some(mut console) = lock(SHORT) else { return 0 };
    let accepted = console.output.source(domain.into()).accept(text);
    console.pump_for(accepted, text.len())
}

/// Puts a whole line about the domain `about` behind what the source `to` wrote, without its tag: a template, and words.
/// False: there is no room now.
#[inline(never)]
pub fn say(to: usize, about: u16, template: &[u8], values: &[u64], words: &str) -> bool {
    let Some(mut console) = lock(LONG) else { return false };
    let is_accepted = console.output.say(to, about.into(), template, values, words);
    console.pump_for(is_accepted.into(), 1) != 0
}

impl Console {
    /// Fills the UART if it is empty, after somebody brought `all`, of which there was room for `accepted`. How much is
    /// off their hands.
    #[inline(never)]
    fn pump_for(&mut self, accepted: usize, all: usize) -> usize {
        let is_more = self.pump();
        self.uart.allow_transmit(is_more && next_tick() == NEVER);
        let is_stalled = time::now() > self.taken.wrapping_add(STALLED_TICKS);
        if accepted == 0 && is_stalled { all } else { accepted }
    }

    /// Fills the UART if it is empty. Whether there may be more to send.
    #[inline(never)]
    fn pump(&mut self) -> bool {
        let focus = focus();
        let mut is_more = true;
        let room = self.uart.room();
        if room != 0 && device::is_empty() {
            self.taken = time::now();
            is_more = (0..room).all(|_| self.output.next(focus).map(device::send).is_some());
        }
        is_more
    }
}

/// The tick at which [`send`] is due, on CPU 0.
#[must_use]
pub fn next_tick() -> u64 {
    NEXT.load(Ordering::Relaxed)
}

/// Sends what waits; on CPU 0, because the UART's interrupt or its own timer asks for it.
#[inline(never)]
pub fn send() {
    let Some(mut console) = lock(LONG) else { return };
    NEXT.store(NEVER, Ordering::Relaxed);
    let is_more = console.pump();
    // An interrupt for it would come at once, and again: the guests would get nothing done.
    let is_at_once = is_more && device::is_empty();
    if is_at_once {
        NEXT.store(time::tick_in(PAUSE_NS), Ordering::Relaxed);
        turn::wake_at(next_tick());
    }
    console.uart.interrupt_anew(is_more && !is_at_once);
}

/// The UART's interrupt: takes what came, as much as a FIFO holds, and sends what waits. What comes meanwhile interrupts
/// once more.
pub fn serve() {
    for _ in 0..device::FIFO_BYTES {
        let Some(byte) = device::get() else { break };
        operator::receive(byte);
    }
    send();
}

/// Writes out what all rings hold: the machine is about to end. Waits for the line. From now on nobody else writes.
#[inline(never)]
pub fn drain() {
    if let Some(mut console) = lock(LONG) {
        console.output.finish();
        let focus = focus();
        while console.output.next(focus).is_some_and(device::put) {}
        mem::forget(console);
    }
    device::wait_until_sent();
}

/// The hypervisor's last words, a template, behind all else. Gives up at the first byte that does not go out in time.
pub fn end_with(template: &[u8], values: &[u64]) {
    drain();
    let mut ring = Ring::new();
    ring.append(b'\n');
    ring.template(template, &NO_NAME, values);
    while ring.len() != 0 && print_byte(ring.pop()) {}
}

/// Prints a byte when nobody else writes; a line feed gets its carriage return. Waits for the line.
#[inline(never)]
fn print_byte(byte: u8) -> bool {
    (byte != b'\n' || device::put(b'\r')) && device::put(byte)
}
