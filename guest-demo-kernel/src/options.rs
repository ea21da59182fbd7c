//! Options of the command line that are numbers. A wrong one ends the kernel with a line that says what is wanted.

use alloc::format;
use alloc::string::String;
use core::fmt;
use core::ops::RangeInclusive;
use pvops_abi::boot::option_of;

/// An option that cannot be what it is.
#[derive(Debug)]
pub(crate) struct Refused {
    pub(crate) option: &'static str,
    pub(crate) value: String,
    pub(crate) wanted: String,
}

impl fmt::Display for Refused {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}={}: it must be {}", self.option, self.value, self.wanted)
    }
}

/// The number given for `option`, if any: decimal, or hexadecimal behind `0x`.
pub(crate) fn number(
    command_line: &str,
    option: &'static str,
    range: RangeInclusive<u64>,
) -> Result<Option<u64>, Refused> {
    let Some(text) = option_of(command_line, option) else { return Ok(None) };
    let parsed = match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16),
        None => text.parse(),
    };
    match parsed {
        Ok(number) if range.contains(&number) => Ok(Some(number)),
        _ => {
            let wanted = format!("a number from {} to {}", range.start(), range.end());
            Err(Refused { option, value: text.into(), wanted })
        }
    }
}

/// Whether `option=1` is given.
pub(crate) fn flag(command_line: &str, option: &'static str) -> Result<bool, Refused> {
    Ok(number(command_line, option, 0..=1)? == Some(1))
}
