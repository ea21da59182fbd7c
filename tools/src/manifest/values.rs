//! Sizes and ranges, from text and to text.

use std::fmt;

use system_image::{MmioRange, PortRange};

/// `"64 MiB"` in bytes.
pub(super) fn parse_size(text: &str) -> Option<u64> {
    let digits = text.len() - text.trim_start_matches(|character: char| character.is_ascii_digit()).len();
    let (number, unit) = text.split_at(digits);
    let shift = match unit.trim() {
        "KiB" => 10,
        "MiB" => 20,
        "GiB" => 30,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(1 << shift)
}

/// Why text is not a range of I/O ports.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum BadPorts {
    /// Neither a number nor two with a `-` in between.
    NotNumbers,
    /// Numbers without `0x`; they would be, with it: this.
    NotHexadecimal(String),
    /// The last port is below the first.
    Backwards(u64, u64),
    /// A port of 0x1_0000 or above.
    TooHigh(u64),
    /// All there are: one too many to be counted in 16 bits.
    All,
}

/// `"0x2f8-0x2ff"`, both included, or `"0x2f8"` alone.
///
/// Decimal numbers are refused: everybody else writes ports in hexadecimal, `/proc/ioports` even without `0x`, so that
/// `1000-101f` copied from there would silently become other ports.
pub(super) fn parse_ports(text: &str) -> Result<PortRange, BadPorts> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last) = (first.trim(), last.trim());
    let (Some(low), Some(high)) = (hexadecimal(first), hexadecimal(last)) else {
        let with_prefix = |digits: &str| format!("0x{}", digits.strip_prefix("0x").unwrap_or(digits));
        let (first_fixed, last_fixed) = (with_prefix(first), with_prefix(last));
        if hexadecimal(&first_fixed).is_none() || hexadecimal(&last_fixed).is_none() {
            return Err(BadPorts::NotNumbers);
        }
        let is_single = first == last && !text.contains('-');
        return Err(BadPorts::NotHexadecimal(match is_single {
            true => first_fixed,
            false => format!("{first_fixed}-{last_fixed}"),
        }));
    };
    if high < low {
        return Err(BadPorts::Backwards(low, high));
    }
    let (Ok(first), Ok(last)) = (u16::try_from(low), u16::try_from(high)) else {
        return Err(BadPorts::TooHigh(high));
    };
    let count = (last - first).checked_add(1).ok_or(BadPorts::All)?;
    Ok(PortRange { first, count })
}

fn hexadecimal(text: &str) -> Option<u64> {
    let digits = text.strip_prefix("0x")?;
    // `from_str_radix` would accept a sign.
    let is_plain = digits.chars().all(|digit| digit.is_ascii_hexdigit());
    if is_plain { u64::from_str_radix(digits, 16).ok() } else { None }
}

/// Prints `0x2f8-0x2ff`, which [`parse_ports`] understands.
pub(super) struct Ports(pub(super) PortRange);

impl fmt::Display for Ports {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let PortRange { first, count } = self.0;
        match count {
            1 => write!(formatter, "{first:#x}"),
            _ => write!(formatter, "{first:#x}-{:#x}", self.0.end() - 1),
        }
    }
}

/// Prints the first and the last address.
pub(super) struct Addresses(pub(super) MmioRange);

impl fmt::Display for Addresses {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:#x}-{:#x}", self.0.base, self.0.end().saturating_sub(1))
    }
}

/// Prints a size in the largest unit that needs no fraction; [`parse_size`] understands it if it is in whole KiB.
pub(super) struct Size(pub(super) u64);

impl fmt::Display for Size {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (shift, unit) in [(30, "GiB"), (20, "MiB"), (10, "KiB")] {
            if self.0 >> shift != 0 && self.0.trailing_zeros() >= shift {
                return write!(formatter, "{} {unit}", self.0 >> shift);
            }
        }
        write!(formatter, "{} bytes", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        assert_eq!(parse_size("64 MiB"), Some(64 << 20));
        assert_eq!(parse_size("1GiB"), Some(1 << 30));
        assert_eq!(parse_size("2048 KiB"), Some(2 << 20));
        assert_eq!(parse_size("64"), None);
        assert_eq!(parse_size("64 MB"), None);
        assert_eq!(parse_size("MiB"), None);
        assert_eq!(parse_size("-2 MiB"), None);
        assert_eq!(parse_size("99999999999999999999 MiB"), None);
        assert_eq!(parse_size("18446744073709551615 GiB"), None);
        for bytes in [4096, 12 << 10, 1 << 20, 3 << 19, 5 << 30] {
            assert_eq!(parse_size(&Size(bytes).to_string()), Some(bytes));
        }
        assert_eq!(Size(0).to_string(), "0 bytes");
        assert_eq!(Size(1025).to_string(), "1025 bytes");
    }

    #[test]
    fn ports() {
        let range = |first, count| Ok(PortRange { first, count });
        assert_eq!(parse_ports("0x2f8-0x2ff"), range(0x2f8, 8));
        assert_eq!(parse_ports(" 0x2F8 - 0x2FF "), range(0x2f8, 8));
        assert_eq!(parse_ports("0x64"), range(0x64, 1));
        assert_eq!(parse_ports("0x64-0x64"), range(0x64, 1));
        assert_eq!(parse_ports("0x1-0xffff"), range(1, 0xffff));
        assert_eq!(parse_ports("0x0-0xffff"), Err(BadPorts::All));
        assert_eq!(parse_ports("0x2ff-0x2f8"), Err(BadPorts::Backwards(0x2ff, 0x2f8)));
        assert_eq!(parse_ports("0xfff8-0x10000"), Err(BadPorts::TooHigh(0x1_0000)));
        for text in ["2f8-2ff", "02f8-0x2ff", "0x2f8-2ff"] {
            assert!(matches!(parse_ports(text), Err(BadPorts::NotHexadecimal(_))), "{text}");
        }
        assert_eq!(parse_ports("1000-101f"), Err(BadPorts::NotHexadecimal("0x1000-0x101f".into())));
        assert_eq!(parse_ports("64"), Err(BadPorts::NotHexadecimal("0x64".into())));
        for text in
            ["", "-", "0x", "com2", "0x2f8-", "-0x2f8", "0x+1", "0x2f8-0x2ff-0x300", "0xfffffffffffffffff"]
        {
            assert_eq!(parse_ports(text), Err(BadPorts::NotNumbers), "{text:?}");
        }
        for text in ["0x2f8-0x2ff", "0x64"] {
            assert_eq!(parse_ports(text).map(|ports| Ports(ports).to_string()), Ok(text.into()));
        }
    }
}
