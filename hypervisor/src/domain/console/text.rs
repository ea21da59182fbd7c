//! What the hypervisor says, put together in the ring where it goes, without `core::fmt`, which would be a tenth of the
//! resident code.

use super::ring::Ring;
use super::source::RING_BYTES;
use crate::domain::NAME_BYTES;

/// In a template, a text for [`Ring::template`]: the value of which the number is added to this, with 16 hexadecimal
/// digits; `-` if there is none. At most 64.
const HEX: u8 = 0x80;
/// In a template: likewise one of the first 32, in decimal.
const DECIMAL: u8 = 0xc0;
/// In a template: what follows is left out if the bit of value 0 is clear of which the number is added to this, up to the
/// next of these.
const IF: u8 = 0xe0;
/// In a template: what follows is not left out.
const ALWAYS: u8 = 0xff;

impl Ring<RING_BYTES> {
    /// Appends a byte, if there is room for it and the end of the line.
    #[inline(never)]
    pub(super) fn append(&mut self, byte: u8) {
        if self.len() < RING_BYTES as u32 - 1 {
            self.push(byte);
        }
    }

    /// Appends `template`, in which `@` stands for `name`, which is padded with zeros, and bytes from [`HEX`] on for
    /// values.
    pub(super) fn template(&mut self, template: &[u8], name: &[u8; NAME_BYTES], values: &[u64]) {
        let flags = values.first().copied().unwrap_or_default();
        let mut is_shown = true;
        for byte in template {
            match *byte {
                ALWAYS => is_shown = true,
                IF.. => is_shown = flags >> (*byte % 32) & 1 != 0,
                _ if !is_shown => {}
                HEX.. => {
                    let (number, base, digits) =
                        if *byte >= DECIMAL { (*byte % 32, 10, 1) } else { (*byte % 64, 16, 16) };
                    match values.get(usize::from(number)) {
                        Some(value) => self.number(*value, base, digits),
                        None => self.append(b'-'),
                    }
                }
                b'@' => name.iter().take_while(|byte| **byte != 0).for_each(|byte| self.append(*byte)),
                byte => self.append(byte),
            }
        }
    }

    /// Appends a number with `least` digits or more.
    #[inline(never)]
    pub(super) fn number(&mut self, value: u64, base: u64, least: i32) {
        let rest = value.checked_div(base).unwrap_or_default();
        if rest != 0 || least > 1 {
            // At most 19 times.
            self.number(rest, base, least - 1);
        }
        let digit = (value - rest * base) as u8;
        self.append(if digit < 10 { b'0' + digit } else { b'a' + digit - 10 });
    }
}

/// What a template becomes.
#[cfg(test)]
pub(in crate::domain) fn text_of(template: &[u8], name: &str, values: &[u64]) -> String {
    let mut padded = [0; NAME_BYTES];
    padded[..name.len()].copy_from_slice(name.as_bytes());
    let mut ring = Ring::new();
    ring.template(template, &padded, values);
    let bytes = (0..ring.len()).map(|_| ring.pop());
    String::from_utf8(bytes.collect()).unwrap()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(template: &[u8], values: &[u64]) -> String {
        text_of(template, "ok", values)
    }

    #[test]
    fn values() {
        let mut values = [0; 64];
        (values[1], values[31], values[63]) = (u64::MAX, 10, 0xab);
        assert_eq!(text(b"a \xc0 \xdf \xc1 '@'", &values), "a 0 10 18446744073709551615 'ok'");
        assert_eq!(text(b"\x81 b \xbf", &values), "ffffffffffffffff b 00000000000000ab");
        assert_eq!(text(b"\xc1 \x81", &[7]), "- -", "there is no such value");
    }

    #[test]
    fn parts_that_are_left_out() {
        let template = b"it \xe0runs \xc1\xe1 waits \xc1'@'\xff now\xfe, at last";
        assert_eq!(text(template, &[1, 7]), "it runs 7 now");
        assert_eq!(text(template, &[2, 7]), "it  waits 7'ok' now");
        assert_eq!(text(template, &[1 << 30]), "it  now, at last");
    }

    #[test]
    fn what_does_not_fit_is_cut() {
        let text = text(format!("{}yz", "x".repeat(RING_BYTES - 2)).as_bytes(), &[]);
        assert_eq!(text.len(), RING_BYTES - 1);
        assert!(text.ends_with("xy"));
    }
}
