//! Finds the sleep type of soft-off in AML without interpreting it.
//!
//! `\_S5` is in practice always `Name (_S5, Package () {a, b, …})` with constants, so a search for its
//! bytes answers the one question that power-off asks; an AML interpreter would need a heap.

/// SLP_TYP values of soft-off for the two PM1 control registers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SleepType {
    /// For PM1a_CNT.
    pub a: u8,
    /// For PM1b_CNT.
    pub b: u8,
}

const NAME_OP: u8 = 0x08;
const PACKAGE_OP: u8 = 0x12;
const BYTE_PREFIX: u8 = 0x0a;
const WORD_PREFIX: u8 = 0x0b;
const DWORD_PREFIX: u8 = 0x0c;

/// Looks for the package of `_S5_` in the bytes of a DSDT or SSDT (ACPI 6.5, 7.4.2 and 20.2).
#[must_use]
pub fn find_soft_off(aml: &[u8]) -> Option<SleepType> {
    aml.windows(4)
        .enumerate()
        .filter(|(at, name)| *name == b"_S5_" && is_declaration(&aml[..*at]))
        .find_map(|(at, _)| parse_package(&aml[at + 4..]))
}

/// Whether what stands before a name makes it a `Name`, with or without the root prefix.
fn is_declaration(before: &[u8]) -> bool {
    matches!(before, [.., NAME_OP] | [.., NAME_OP, b'\\'])
}

fn parse_package(bytes: &[u8]) -> Option<SleepType> {
    let (&PACKAGE_OP, rest) = bytes.split_first()? else { return None };
    // PkgLength: bits 7..6 of its first byte say how many bytes follow (20.2.4).
    let more = usize::from(rest.first()? >> 6);
    let (count, elements) = rest.get(1 + more..)?.split_first()?;
    let (a, rest) = parse_constant(elements)?;
    let b = if *count > 1 { parse_constant(rest)?.0 } else { a };
    Some(SleepType { a: a & 7, b: b & 7 })
}

/// The low byte of a constant, and what follows it.
fn parse_constant(bytes: &[u8]) -> Option<(u8, &[u8])> {
    let (&first, rest) = bytes.split_first()?;
    let width = match first {
        0 | 1 => return Some((first, rest)),
        BYTE_PREFIX => 1,
        WORD_PREFIX => 2,
        DWORD_PREFIX => 4,
        _ => return None,
    };
    Some((*rest.first()?, rest.get(width..)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn constants_of_all_widths() {
        let bytes = b"junk\x08_S5_\x12\x06\x04\x0a\x05\x0a\x07\x00\x00";
        assert_eq!(find_soft_off(bytes), Some(SleepType { a: 5, b: 7 }));
        let zeros = b"\x08\\_S5_\x12\x06\x04\x00\x01\x00\x00";
        assert_eq!(find_soft_off(zeros), Some(SleepType { a: 0, b: 1 }));
        let words = b"\x08_S5_\x12\x46\x00\x04\x0b\x05\x00\x0b\x06\x00";
        assert_eq!(find_soft_off(words), Some(SleepType { a: 5, b: 6 }));
    }

    #[test]
    fn references_and_truncation_are_no_declaration() {
        assert_eq!(find_soft_off(b"_S5_\x12\x06\x04\x05\x05"), None);
        assert_eq!(find_soft_off(b"\x08_S5_\x12\x06"), None);
        assert_eq!(find_soft_off(b"\x08_S5_"), None);
        assert_eq!(find_soft_off(b""), None);
    }

    #[test]
    fn a_reference_before_the_declaration_is_skipped() {
        let bytes = b"\x70_S5_\x60\x08_S5_\x12\x06\x02\x0a\x03\x0a\x03";
        assert_eq!(find_soft_off(bytes), Some(SleepType { a: 3, b: 3 }));
    }
}
