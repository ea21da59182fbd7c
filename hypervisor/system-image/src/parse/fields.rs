//! Little-endian fields at given offsets, and text that is safe to print.

use crate::error::ImageError;
use crate::layout;

/// Little-endian fields at given offsets; reading past the end is an error, never a panic.
pub(super) struct Fields<'a>(pub(super) &'a [u8]);

impl<'a> Fields<'a> {
    pub(super) fn array<const N: usize>(&self, offset: usize) -> Result<[u8; N], ImageError> {
        self.0.get(offset..).and_then(|rest| rest.first_chunk()).copied().ok_or(ImageError::Truncated)
    }

    pub(super) fn u16(&self, offset: usize) -> Result<u16, ImageError> {
        Ok(u16::from_le_bytes(self.array(offset)?))
    }

    pub(super) fn u32(&self, offset: usize) -> Result<u32, ImageError> {
        Ok(u32::from_le_bytes(self.array(offset)?))
    }

    pub(super) fn u64(&self, offset: usize) -> Result<u64, ImageError> {
        Ok(u64::from_le_bytes(self.array(offset)?))
    }

    pub(super) fn expect_zero(&self, from: usize, to: usize) -> Result<(), ImageError> {
        let bytes = self.0.get(from..to).ok_or(ImageError::Truncated)?;
        if bytes.iter().any(|&byte| byte != 0) { Err(ImageError::ReservedNotZero) } else { Ok(()) }
    }

    pub(super) fn name(&self, offset: usize) -> Result<&'a str, ImageError> {
        let field = self
            .0
            .get(offset..)
            .and_then(|rest| rest.get(..layout::NAME_SIZE))
            .ok_or(ImageError::Truncated)?;
        let size = field.iter().position(|&byte| byte == 0).unwrap_or(field.len());
        let (name, padding) = field.split_at(size);
        if padding.iter().any(|&byte| byte != 0) {
            return Err(ImageError::ReservedNotZero);
        }
        printable(name).filter(|name| !name.is_empty()).ok_or(ImageError::BadName)
    }
}

/// UTF-8 without control characters, so that printing it cannot upset a terminal.
pub(super) fn printable(bytes: &[u8]) -> Option<&str> {
    if bytes.iter().any(u8::is_ascii_control) {
        return None;
    }
    core::str::from_utf8(bytes).ok()
}

/// Saturates on hosts with narrower pointers; the ranges checked afterwards then do not fit.
pub(super) fn to_usize(value: u64) -> usize {
    usize::try_from(value).unwrap_or(usize::MAX)
}
