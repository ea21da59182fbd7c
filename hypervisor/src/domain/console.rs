//! The console, shared by all domains that have one.
//!
//! Output: with one domain, bytes go out as they come. With several, lines are tagged with their domain's name; the
//! *focused* domain writes at once, the others' lines wait until they are whole and go out between its lines or
//! on a new one. Input goes to the focused domain; Ctrl-T gives the focus to the next.
//!
//! There is no `core::fmt` in resident code: numbers are printed in hexadecimal by hand.

use super::registry::{self, MAIL_CONSOLE, MAX_DOMAINS};
use super::text::Text;
use super::{Domain, NAME_BYTES};
use crate::arch::x86_64::console as device;
use crate::sched::VcpuId;
use core::sync::atomic::{AtomicU32, Ordering};
use spin::Mutex;

const INPUT_BYTES: usize = 128;
/// Longest line of a domain without the focus; longer ones are broken.
const LINE_BYTES: usize = 120;
/// Ctrl-T.
const NEXT_FOCUS: u8 = 0x14;

/// Bytes received and not yet read.
#[derive(Clone, Copy)]
struct Input {
    bytes: [u8; INPUT_BYTES],
    start: usize,
    length: usize,
}

static INPUT: Mutex<[Input; MAX_DOMAINS]> =
    Mutex::new([Input { bytes: [0; INPUT_BYTES], start: 0, length: 0 }; MAX_DOMAINS]);

/// A line in the making of a domain without the focus.
#[derive(Clone, Copy)]
struct Line {
    bytes: [u8; LINE_BYTES],
    length: usize,
}

struct Output {
    lines: [Line; MAX_DOMAINS],
    /// Nothing was written to the current line of the terminal.
    at_line_start: bool,
}

static OUTPUT: Mutex<Output> = Mutex::new(Output {
    lines: [Line { bytes: [0; LINE_BYTES], length: 0 }; MAX_DOMAINS],
    at_line_start: true,
});

/// Domains with a console, one bit each.
static MEMBERS: AtomicU32 = AtomicU32::new(0);
static FOCUS: AtomicU32 = AtomicU32::new(0);

/// Gives a domain the console; the first one gets the focus. Boot only.
pub fn join(domain: u16) {
    let bit = 1 << u32::from(domain);
    if MEMBERS.fetch_or(bit, Ordering::Relaxed) == 0 {
        FOCUS.store(domain.into(), Ordering::Relaxed);
    }
}

/// Keeps a received byte for the focused domain; the newest is lost when that does not read.
pub fn receive(byte: u8) {
    if byte == NEXT_FOCUS && registry::domain_count() > 1 {
        focus_next();
        return;
    }
    let focus = FOCUS.load(Ordering::Relaxed) as usize % MAX_DOMAINS;
    {
        let input = &mut INPUT.lock()[focus];
        if input.length < INPUT_BYTES {
            let end = (input.start + input.length) % INPUT_BYTES;
            input.bytes[end] = byte;
            input.length += 1;
        }
    }
    registry::post(VcpuId { domain: focus as u16, vcpu: 0 }, MAIL_CONSOLE);
}

fn focus_next() {
    let members = MEMBERS.load(Ordering::Relaxed);
    let old = FOCUS.load(Ordering::Relaxed);
    let next = (1..=MAX_DOMAINS as u32).map(|step| (old + step) % MAX_DOMAINS as u32);
    let Some(next) = next.into_iter().find(|domain| members >> domain & 1 != 0) else { return };
    FOCUS.store(next, Ordering::Relaxed);
    let mut output = OUTPUT.lock();
    output.start_line();
    output.tag(&registry::name_of(next as u16));
    for byte in *b"has the focus\n" {
        output.raw(byte);
    }
}

/// Takes the oldest byte of a domain.
pub fn take(domain: u16) -> Option<u8> {
    let input = &mut INPUT.lock()[usize::from(domain) % MAX_DOMAINS];
    if input.length == 0 {
        return None;
    }
    let byte = input.bytes[input.start];
    input.start = (input.start + 1) % INPUT_BYTES;
    input.length -= 1;
    Some(byte)
}

/// A byte that a domain writes.
pub fn put(domain: &Domain, byte: u8) {
    let mut output = OUTPUT.lock();
    if registry::domain_count() < 2 {
        device::put(byte);
        output.at_line_start = byte == b'\n';
    } else if FOCUS.load(Ordering::Relaxed) == u32::from(domain.number) {
        output.put_focused(domain, byte);
    } else {
        output.put_waiting(domain, byte);
    }
}

impl Output {
    fn raw(&mut self, byte: u8) {
        if byte == b'\n' {
            device::put(b'\r');
        }
        device::put(byte);
        self.at_line_start = byte == b'\n';
    }

    fn start_line(&mut self) {
        if !self.at_line_start {
            self.raw(b'\n');
        }
    }

    fn tag(&mut self, name: &[u8; NAME_BYTES]) {
        self.raw(b'[');
        for byte in name.iter().take_while(|byte| **byte != 0) {
            self.raw(*byte);
        }
        self.raw(b']');
        self.raw(b' ');
    }

    fn put_focused(&mut self, domain: &Domain, byte: u8) {
        // What the domain wrote while it had no focus comes first.
        self.write_line(domain);
        if byte == b'\r' {
            device::put(byte);
            return;
        }
        if self.at_line_start && byte != b'\n' {
            self.tag(&domain.name);
        }
        self.raw(byte);
    }

    fn put_waiting(&mut self, domain: &Domain, byte: u8) {
        let line = &mut self.lines[usize::from(domain.number) % MAX_DOMAINS];
        match byte {
            b'\r' => {}
            b'\n' => {
                self.write_line(domain);
                self.start_line();
            }
            _ => {
                line.bytes[line.length] = byte;
                line.length += 1;
                if line.length == LINE_BYTES {
                    self.write_line(domain);
                    self.start_line();
                }
            }
        }
    }

    /// Writes what waits of a domain's line, on a line of its own.
    fn write_line(&mut self, domain: &Domain) {
        let at = usize::from(domain.number) % MAX_DOMAINS;
        let line = self.lines[at];
        if line.length == 0 {
            return;
        }
        self.lines[at].length = 0;
        self.start_line();
        self.tag(&domain.name);
        for byte in &line.bytes[..line.length] {
            self.raw(*byte);
        }
    }
}

/// Prints text of the hypervisor; a line feed gets its carriage return.
pub fn print(text: &str) {
    print_bytes(text.as_bytes());
}

/// Prints bytes as [`print`] does.
pub fn print_bytes(text: &[u8]) {
    /// Attempts to get the output in order. A fault while this very CPU holds it goes out all the same.
    const MOST_ATTEMPTS: u32 = 1_000_000;
    let mut attempts = (0..MOST_ATTEMPTS).map(|_| {
        core::hint::spin_loop();
        OUTPUT.try_lock()
    });
    match attempts.find_map(|output| output) {
        Some(mut output) => text.iter().for_each(|byte| output.raw(*byte)),
        None => text.iter().for_each(|byte| device::put(*byte)),
    }
}

/// Prints a number in decimal.
pub fn print_decimal(value: u64) {
    print_bytes(Text::new().decimal(value).as_bytes());
}

/// Prints a line about a domain. False: there is no room now.
pub fn try_line(_domain: u16, text: &[u8]) -> bool {
    OUTPUT.lock().start_line();
    print_bytes(text);
    print("\n");
    true
}
