//! What the console is told before any domain runs.

use super::ring::Ring;
use super::{CONSOLE, FOCUS, MEMBERS, NEVER_TAKEN, print_byte};
use crate::arch::x86_64::console::Uart;
use crate::domain::NAME_BYTES;
use crate::domain::registry::MAX_DOMAINS;
use core::sync::atomic::Ordering;

/// [`MEMBERS`] has a bit for each.
const _: () = assert!(MAX_DOMAINS == 8);

/// Sets the UART up.
pub fn start() {
    let mut console = CONSOLE.lock();
    console.uart = Uart::start();
    console.taken = NEVER_TAKEN;
    console.output.begin();
}

/// Lets input interrupt.
pub fn enable_input() {
    CONSOLE.lock().uart.enable_receive_interrupt();
}

/// Tells the console of a domain.
pub fn introduce(domain: u16, name: [u8; NAME_BYTES]) {
    CONSOLE.lock().output.add_domain(domain.into(), name);
}

/// Gives a domain the console; the first one gets the focus.
pub fn join(domain: u16) {
    if MEMBERS.fetch_or(1 << domain, Ordering::Relaxed) == 0 {
        FOCUS.store(domain as u8, Ordering::Relaxed);
    }
}

/// Prints text of the hypervisor. Gives up at the first byte that does not go out in time.
pub fn print(text: &str) {
    _ = text.bytes().all(print_byte);
}

/// Prints a number in decimal.
pub fn print_decimal(value: u64) {
    let mut ring = Ring::new();
    ring.number(value, 10, 1);
    while ring.len() != 0 && print_byte(ring.pop()) {}
}
