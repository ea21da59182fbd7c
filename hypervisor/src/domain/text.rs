//! A line in the making, without `core::fmt`, which would be a tenth of the resident code.

/// Longest line; what is longer is cut.
pub const TEXT_BYTES: usize = 156;

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
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }

    /// Appends bytes.
    pub fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        let fitting = bytes.len().min(TEXT_BYTES - self.length);
        self.bytes[self.length..self.length + fitting].copy_from_slice(&bytes[..fitting]);
        self.length += fitting;
        self
    }

    /// Appends text.
    pub fn text(&mut self, text: &str) -> &mut Self {
        self.bytes(text.as_bytes())
    }

    /// Appends a name that is padded with zeros, in quotes.
    pub fn quoted(&mut self, name: &[u8]) -> &mut Self {
        let length = name.iter().position(|byte| *byte == 0).unwrap_or(name.len());
        self.text("'").bytes(&name[..length]).text("'")
    }

    /// Appends a number with `digits` hexadecimal digits.
    pub fn hex(&mut self, value: u64, digits: u32) -> &mut Self {
        for place in (0..digits).rev() {
            let nibble = (value >> (place * 4) & 0xf) as u8;
            self.bytes(&[if nibble < 10 { b'0' + nibble } else { b'a' + nibble - 10 }]);
        }
        self
    }

    /// Appends a number in decimal.
    pub fn decimal(&mut self, value: u64) -> &mut Self {
        let mut digits = [0u8; 20];
        let mut start = digits.len();
        let mut left = value;
        loop {
            start -= 1;
            digits[start] = b'0' + (left % 10) as u8;
            left /= 10;
            if left == 0 {
                break;
            }
        }
        self.bytes(&digits[start..])
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
        assert_eq!(text.as_bytes(), b"00ab 0 18446744073709551615 'ok'");
    }

    #[test]
    fn what_does_not_fit_is_cut() {
        let mut text = Text::new();
        text.text(&"x".repeat(TEXT_BYTES - 1)).text("yz");
        assert_eq!(text.as_bytes().len(), TEXT_BYTES);
        assert_eq!(text.as_bytes().last(), Some(&b'y'));
    }
}
