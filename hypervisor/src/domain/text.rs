//! A line in the making, without `core::fmt`, which would be a tenth of the resident code.

/// Longest line; what is longer is cut.
pub const TEXT_BYTES: usize = 156;

/// In a template: a value in hexadecimal.
pub const HEX: u8 = 0x80;
/// In a template: a value in decimal.
pub const DECIMAL: u8 = 0xa0;

/// See the module.
#[derive(Clone, Copy, Debug)]
pub struct Text {
    bytes: [u8; TEXT_BYTES],
    length: usize,
}

impl Text {
    /// Nothing yet.
    #[must_use]
    pub const fn new() -> Self {
        Self { bytes: [0; TEXT_BYTES], length: 0 }
    }

    /// Begins with `text`.
    #[must_use]
    pub fn of(text: &str) -> Self {
        let mut line = Self::new();
        line.text(text);
        line
    }

    /// What was put together.
    #[must_use]
    #[inline(never)]
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }

    /// Appends a byte.
    #[inline(never)]
    pub fn byte(&mut self, byte: u8) -> &mut Self {
        if let Some(place) = self.bytes.get_mut(self.length) {
            *place = byte;
            self.length += 1;
        }
        self
    }

    /// Appends bytes.
    #[inline(never)]
    pub fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        bytes.iter().for_each(|byte| _ = self.byte(*byte));
        self
    }

    /// Appends text.
    pub fn text(&mut self, text: &str) -> &mut Self {
        self.bytes(text.as_bytes())
    }

    /// Appends `template`, in which bytes from [`HEX`] on stand for values: the number that is added to it is the
    /// value's place. From [`DECIMAL`] on they are shown in decimal, below with 16 hexadecimal digits.
    #[inline(never)]
    pub fn with(&mut self, template: &[u8], values: &[u64]) -> &mut Self {
        for byte in template {
            let value = values.get(usize::from(*byte & 31)).copied().unwrap_or_default();
            match *byte {
                DECIMAL.. => self.decimal(value),
                HEX.. => self.hex(value, 16),
                byte => self.byte(byte),
            };
        }
        self
    }

    /// Appends a name that is padded with zeros, in quotes.
    pub fn quoted(&mut self, name: &[u8]) -> &mut Self {
        self.byte(b'\'');
        name.iter().take_while(|byte| **byte != 0).for_each(|byte| _ = self.byte(*byte));
        self.byte(b'\'')
    }

    /// Appends a number with `digits` hexadecimal digits.
    #[inline(never)]
    pub fn hex(&mut self, value: u64, digits: u32) -> &mut Self {
        for place in (0..digits).rev() {
            let nibble = (value >> (place * 4) & 0xf) as u8;
            self.byte(if nibble < 10 { b'0' + nibble } else { b'a' + nibble - 10 });
        }
        self
    }

    /// Appends a number in decimal.
    #[inline(never)]
    pub fn decimal(&mut self, value: u64) -> &mut Self {
        if value >= 10 {
            // At most 19 times.
            self.decimal(value / 10);
        }
        self.byte(b'0' + (value % 10) as u8)
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

    #[test]
    fn numbers() {
        let mut text = Text::new();
        text.hex(0xab, 4).text(" ").decimal(0).text(" ").decimal(u64::MAX).text(" ").quoted(b"ok\0\0");
        text.with(b" a \x81 b \xa1 \x80\x9f", &[2, u64::MAX]);
        let last = "a ffffffffffffffff b 18446744073709551615 00000000000000020000000000000000";
        assert_eq!(text.as_bytes(), format!("00ab 0 18446744073709551615 'ok' {last}").as_bytes());
    }

    #[test]
    fn what_does_not_fit_is_cut() {
        let mut text = Text::new();
        text.text(&"x".repeat(TEXT_BYTES - 1)).text("yz");
        assert_eq!(text.as_bytes().len(), TEXT_BYTES);
        assert_eq!(text.as_bytes().last(), Some(&b'y'));
    }
}
