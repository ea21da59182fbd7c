//! The console: bytes from the machine wait here for the domain, text of the hypervisor goes out here.
//!
//! There is no `core::fmt` in resident code: numbers are printed in hexadecimal by hand.

use crate::arch::x86_64::console as device;
use spin::Mutex;

const INPUT_BYTES: usize = 256;

/// Bytes received and not yet read.
struct Input {
    bytes: [u8; INPUT_BYTES],
    start: usize,
    length: usize,
}

static INPUT: Mutex<Input> = Mutex::new(Input { bytes: [0; INPUT_BYTES], start: 0, length: 0 });

/// Keeps a received byte; the newest is lost when nobody reads.
pub fn receive(byte: u8) {
    let mut input = INPUT.lock();
    if input.length < INPUT_BYTES {
        let end = (input.start + input.length) % INPUT_BYTES;
        input.bytes[end] = byte;
        input.length += 1;
    }
}

/// Takes the oldest byte.
pub fn take() -> Option<u8> {
    let mut input = INPUT.lock();
    if input.length == 0 {
        return None;
    }
    let byte = input.bytes[input.start];
    input.start = (input.start + 1) % INPUT_BYTES;
    input.length -= 1;
    Some(byte)
}

/// Prints text; a line feed gets its carriage return.
pub fn print(text: &str) {
    print_bytes(text.as_bytes());
}

/// Prints bytes as [`print`] does.
pub fn print_bytes(text: &[u8]) {
    for byte in text {
        if *byte == b'\n' {
            device::put(b'\r');
        }
        device::put(*byte);
    }
}

/// Prints a number with 16 hexadecimal digits.
pub fn print_hex(value: u64) {
    for shift in (0..16).rev() {
        let digit = (value >> (shift * 4) & 0xf) as u8;
        device::put(if digit < 10 { b'0' + digit } else { b'a' + digit - 10 });
    }
}

/// Prints a number in decimal.
pub fn print_decimal(value: u64) {
    let mut digits = [0u8; 20];
    let mut left = value;
    let mut count = 0;
    loop {
        digits[count] = b'0' + (left % 10) as u8;
        left /= 10;
        count += 1;
        if left == 0 {
            break;
        }
    }
    for digit in digits[..count].iter().rev() {
        device::put(*digit);
    }
}
