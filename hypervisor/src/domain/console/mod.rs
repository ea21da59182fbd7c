//! The console, shared by all domains that have one.
//!
//! Output: what a domain writes goes into its ring, as far as there is room ([`write`]), and from the rings into the
//! UART whenever its transmitter is empty ([`pump`]): by who just wrote, or by its interrupt, which CPU 0 takes. So
//! nobody waits for the line, and a CPU is in here for the 16 bytes of a FIFO, or of three at most. An emulator's UART is
//! empty again at once; CPU 0 then sends no more than every [`PAUSE_NS`], lest a flood on another CPU take all its
//! time.
//!
//! [`output`] decides which byte is next. Input goes to the domain with the focus or, behind Ctrl-T, to the
//! [`operator`]'s menu.
//!
//! The hypervisor itself speaks by [`try_line`] about a domain, and by [`print`] when it boots or ends: that waits for
//! the line, byte by byte, a bounded time.

mod menu;
mod operator;
mod output;
mod ring;
mod source;
#[cfg(test)]
mod tests;

use super::registry::{MAX_DOMAINS, NEVER};
use super::text::Text;
use super::{NAME_BYTES, turn};
use crate::arch::x86_64::console::{self as device, Interrupt, Offer};
use crate::arch::x86_64::time;
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering, fence};
pub use operator::take;
use output::Output;
use spin::{Mutex, MutexGuard};

static OUTPUT: Mutex<Output> = Mutex::new(Output::new());

/// Domains with a console, one bit each.
static MEMBERS: AtomicU32 = AtomicU32::new(0);
static FOCUS: AtomicU32 = AtomicU32::new(0);

/// Everything was written out: only [`print`] writes from now on.
static ENDED: AtomicBool = AtomicBool::new(false);
/// When the UART took bytes last.
static TAKEN_NS: AtomicU64 = AtomicU64::new(0);
/// A UART that takes nothing for that long has nobody at the other end and holds back what it gets. What does not fit
/// any more is lost then, so that no guest waits for ever (CONS-002).
const STALLED_NS: u64 = 5_000_000_000;
/// The tick at which CPU 0 sends again, [`NEVER`] if it waits for the UART's interrupt or nothing is to be sent.
static NEXT: AtomicU64 = AtomicU64::new(NEVER);
/// About what a line of 115200 baud needs for the bytes of a FIFO.
const PAUSE_NS: u32 = 1_000_000;
/// For the CPU at the UART: another one has something to send.
static NOTE: AtomicBool = AtomicBool::new(false);

/// Others hold the output for some microseconds; a guest that writes meanwhile is told to come again. Who needs the
/// UART as well takes that first.
const SHORT: u32 = 1_000;
/// Who must get the output. A fault while this very CPU holds it goes on without.
const LONG: u32 = 1_000_000;

#[inline(never)]
fn lock(attempts: u32) -> Option<MutexGuard<'static, Output>> {
    if ENDED.load(Ordering::Relaxed) {
        return None;
    }
    (0..attempts).find_map(|_| {
        core::hint::spin_loop();
        OUTPUT.try_lock()
    })
}

fn focus() -> usize {
    FOCUS.load(Ordering::Relaxed) as usize % MAX_DOMAINS
}

/// Tells the console of a domain. Boot only.
pub fn introduce(domain: u16, name: [u8; NAME_BYTES]) {
    OUTPUT.lock().add_domain(domain.into(), name);
}

/// Gives a domain the console; the first one gets the focus. Boot only.
pub fn join(domain: u16) {
    if MEMBERS.fetch_or(1 << u32::from(domain), Ordering::Relaxed) == 0 {
        FOCUS.store(domain.into(), Ordering::Relaxed);
    }
}

/// Takes what a domain writes, as far as there is room now; returns how many bytes.
pub fn write(domain: u16, text: &[u8]) -> usize {
    if !device::is_present() {
        return text.len();
    }
    let number = usize::from(domain) % MAX_DOMAINS;
    let accepted = lock(SHORT).map_or(0, |mut output| output.source(number).accept(text));
    pump();
    let is_stalled = || time::now_ns_by_call().saturating_sub(TAKEN_NS.load(Ordering::Relaxed)) > STALLED_NS;
    if accepted == 0 && is_stalled() { text.len() } else { accepted }
}

/// Puts a whole line about a domain, without its tag, behind what that wrote. False: there is no room now.
pub fn try_line(domain: u16, text: &[u8]) -> bool {
    put_line(usize::from(domain) % MAX_DOMAINS, text)
}

fn put_line(number: usize, text: &[u8]) -> bool {
    if !device::is_present() {
        return true;
    }
    let accepted = lock(SHORT).is_some_and(|mut output| output.source(number).accept_line(text));
    pump();
    accepted
}

/// Fills the UART if it is empty. It interrupts when it is, if there is more to send. Nobody waits here: who finds
/// another CPU at the UART leaves it a note, and that looks again.
fn pump() -> Offer {
    const MOST_ROUNDS: u32 = 3;
    for round in 1..=MOST_ROUNDS {
        NOTE.store(true, Ordering::SeqCst);
        let interrupt = || match NEXT.load(Ordering::SeqCst) {
            // Enough of the others' work: CPU 0 finds what they left.
            _ if round == MOST_ROUNDS => Interrupt::Always,
            NEVER => Interrupt::ForMore,
            _ => Interrupt::Never,
        };
        let offer = device::offer(interrupt, |room| {
            NOTE.store(false, Ordering::SeqCst);
            lock(LONG).map_or(0, |mut output| output.fill(focus(), room))
        });
        if matches!(offer, Offer::Held | Offer::Busy) {
            return offer;
        }
        TAKEN_NS.store(time::now_ns_by_call(), Ordering::Relaxed);
        // Who leaves a note after this finds the UART free.
        fence(Ordering::SeqCst);
        if !NOTE.load(Ordering::SeqCst) {
            return offer;
        }
    }
    Offer::More
}

/// The tick at which [`send`] is due, on CPU 0.
#[must_use]
pub fn next_tick() -> u64 {
    NEXT.load(Ordering::Relaxed)
}

/// Sends what waits; on CPU 0, because the UART's interrupt or its own timer asks for it.
pub fn send() {
    NEXT.store(NEVER, Ordering::SeqCst);
    if pump() == Offer::More
        && device::silence_if_empty(|| NEXT.store(time::tick_in(PAUSE_NS), Ordering::SeqCst))
    {
        turn::wake_at(next_tick());
    }
}

/// The UART's interrupt: takes what came and sends what waits.
pub fn serve() {
    /// The second round finds that nothing is left, but for input that comes faster than from any line.
    const MOST_ROUNDS: u32 = 2;
    for _ in 0..MOST_ROUNDS {
        if !device::is_waiting() {
            return;
        }
        for _ in 0..device::FIFO_BYTES {
            let Some(byte) = device::get() else { break };
            operator::receive(byte);
        }
        send();
    }
    device::interrupt_again();
}

/// Writes out what all rings hold, and closes them: the machine is about to end. Waits for the line.
pub fn drain() {
    if let Some(mut line) = device::polled() {
        if let Some(mut output) = lock(LONG) {
            output.end();
            let focus = focus();
            while output.next(focus).is_some_and(|byte| line.put(byte)) {}
        }
        line.wait_until_sent();
    }
    ENDED.store(true, Ordering::Relaxed);
}

/// Prints text of the hypervisor; a line feed gets its carriage return.
pub fn print(text: &str) {
    print_bytes(text.as_bytes());
}

/// Prints bytes as [`print`] does. Gives up at the first one that does not go out in time.
pub fn print_bytes(text: &[u8]) {
    let Some(mut line) = device::polled() else { return };
    if let Some(mut output) = lock(LONG) {
        _ = output.take_staged().iter().all(|byte| line.put(*byte));
        if let Some(last) = text.last() {
            output.bypassed(*last);
        }
    }
    _ = text.iter().all(|byte| (*byte != b'\n' || line.put(b'\r')) && line.put(*byte));
}

/// Prints a number in decimal.
pub fn print_decimal(value: u64) {
    print_bytes(Text::new().decimal(value).as_bytes());
}
