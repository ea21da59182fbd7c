//! A line in the making, without `core::fmt`, which would be a tenth of the resident code.

use super::NAME_BYTES;

/// Longest line; what is longer is cut.
pub const TEXT_BYTES: usize = 156;

/// In a template: the value of which the number is added to this, with 16 hexadecimal digits; `-` if there is none. At
/// most 64.
pub const HEX: u8 = 0x80;
/// In a template: likewise one of the first 32, in decimal.
pub const DECIMAL: u8 = 0xc0;
/// In a template: what follows is left out if the bit of value 0 is clear of which the number is added to this, up to the
/// next of these.
pub const IF: u8 = 0xe0;
/// In a template: what follows is not left out.
pub const ALWAYS: u8 = 0xff;

/// See the module.
#[derive(Clone, Copy, Debug)]
pub struct Text {
    length: usize,
    bytes: [u8; TEXT_BYTES],
}

impl Text {
    /// Nothing yet.
    #[must_use]
    pub const fn new() -> Self {
        Self { length: 0, bytes: [0; TEXT_BYTES] }
    }

    /// What was put together.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }

    /// Appends a byte.
    #[inline(never)]
    pub fn byte(&mut self, byte: u8) {
        if let Some(place) = self.bytes.get_mut(self.length) {
            *place = byte;
            self.length += 1;
        }
    }

    /// Appends `template`, in which `@` stands for `name`, a name that is padded with zeros, in quotes; bytes from [`HEX`]
    /// on stand for values.
    #[inline(never)]
    pub fn with(&mut self, template: &[u8], name: &[u8; NAME_BYTES], values: &[u64]) {
        let value = |byte: u8, most: u8| values.get(usize::from(byte % most)).copied();
        let flags = value(0, 1).unwrap_or_default();
        let mut is_shown = true;
        for byte in template {
            match *byte {
                ALWAYS => is_shown = true,
                IF.. => is_shown = flags >> (*byte % 32) & 1 != 0,
                _ if !is_shown => {}
                DECIMAL.. => self.decimal(value(*byte, 32).unwrap_or_default()),
                HEX.. => match value(*byte, 64) {
                    Some(value) => self.number(value, 16, 16),
                    None => self.byte(b'-'),
                },
                b'@' => {
                    self.byte(b'\'');
                    name.iter().take_while(|byte| **byte != 0).for_each(|byte| self.byte(*byte));
                    self.byte(b'\'');
                }
                byte => self.byte(byte),
            }
        }
    }

    /// Appends a number in decimal.
    pub fn decimal(&mut self, value: u64) {
        self.number(value, 10, 1);
    }

    /// Appends a number with `least` digits or more.
    #[inline(never)]
    fn number(&mut self, value: u64, base: u64, least: u32) {
        let rest = value.checked_div(base).unwrap_or_default();
        if rest != 0 || least > 1 {
            // At most 19 times.
            self.number(rest, base, least.saturating_sub(1));
        }
        let digit = (value - rest * base) as u8;
        self.byte(if digit < 10 { b'0' + digit } else { b'a' + digit - 10 });
    }
}

impl Default for Text {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(template: &[u8], values: &[u64]) -> String {
        let mut text = Text::new();
        let mut name = [0; NAME_BYTES];
        name[..2].copy_from_slice(b"ok");
        text.with(template, &name, values);
        String::from_utf8(text.as_bytes().to_vec()).unwrap()
    }

    #[test]
    fn values() {
        let mut values = [0; 64];
        (values[1], values[31], values[63]) = (u64::MAX, 10, 0xab);
        assert_eq!(text(b"a \xc0 \xdf \xc1 @", &values), "a 0 10 18446744073709551615 'ok'");
        assert_eq!(text(b"\x81 b \xbf", &values), "ffffffffffffffff b 00000000000000ab");
        assert_eq!(text(b"\xc1 \x81", &[7]), "0 -", "there is no such value");
    }

    #[test]
    fn parts_that_are_left_out() {
        let template = b"it \xe0runs \xc1\xe1 waits \xc1@\xff now\xfe, at last";
        assert_eq!(text(template, &[1, 7]), "it runs 7 now");
        assert_eq!(text(template, &[2, 7]), "it  waits 7'ok' now");
        assert_eq!(text(template, &[1 << 30]), "it  now, at last");
    }

    #[test]
    fn what_does_not_fit_is_cut() {
        let text = text(format!("{}yz", "x".repeat(TEXT_BYTES - 1)).as_bytes(), &[]);
        assert_eq!(text.len(), TEXT_BYTES);
        assert!(text.ends_with("xy"));
    }
}
