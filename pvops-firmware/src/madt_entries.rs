//! A look at the MADT's entries before the `acpi` crate walks them.
//!
//! It steps by the length that each entry states and takes its contents to be there: a length of zero keeps it for
//! ever, a short one lets it read the next entry's bytes as this one's.

/// Bytes of an entry's header: type, length.
const HEADER: usize = 2;

/// Whether every entry is as long as its type needs (ACPI 6.5, 5.2.12). One that reaches beyond the end is where
/// the walk ends, and no damage.
#[must_use]
pub fn are_whole(mut entries: &[u8]) -> bool {
    while let [kind, length, ..] = *entries {
        let least = match kind {
            // Local APIC; IOAPIC; override of an ISA line; of the local APIC's address; local x2APIC.
            0 => 8,
            1 | 5 => 12,
            2 => 10,
            9 => 16,
            _ => HEADER,
        };
        if usize::from(length) < least {
            return false;
        }
        let Some(rest) = entries.get(usize::from(length)..) else { return true };
        entries = rest;
    }
    // Of a single byte left, the walk would take what follows the table for the length.
    entries.is_empty()
}

#[cfg(test)]
mod tests {
    use super::are_whole;

    const LOCAL_APIC: [u8; 8] = [0, 8, 0, 0, 1, 0, 0, 0];

    #[test]
    fn entries_of_all_lengths_that_their_types_allow() {
        assert!(are_whole(&[]));
        assert!(are_whole(&LOCAL_APIC));
        assert!(are_whole(&[0x80, 2, 0x7f, 4, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0]));
    }

    #[test]
    fn an_entry_without_length_is_damage() {
        assert!(!are_whole(&[0, 0]));
        assert!(!are_whole(&[0x80, 0, 0, 0]), "of an unknown type as well");
        assert!(!are_whole(&[0x80, 1]));
    }

    #[test]
    fn an_entry_too_short_for_its_type_is_damage() {
        for (kind, length) in [(0, 7), (1, 11), (2, 9), (5, 11), (9, 15)] {
            assert!(!are_whole(&[kind, length, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]), "{kind}");
        }
    }

    #[test]
    fn an_entry_that_is_cut_off_ends_the_walk() {
        assert!(are_whole(&LOCAL_APIC[..5]));
    }

    #[test]
    fn a_single_byte_at_the_end_is_damage() {
        assert!(!are_whole(&[0]));
        assert!(!are_whole(&[0x80, 2, 0x80]));
    }
}
