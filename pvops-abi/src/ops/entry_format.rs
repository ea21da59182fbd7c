//! Page-table entries in the native format (Intel SDM volume 3, 4.5), for the backends that use it as it is:
//! bare metal and hypervisors that speak the ABI.

use super::mmu::{Decoded, Entry, Level, PageFlags};
use crate::addr::PhysAddr;

/// Bits 51..12: the frame.
pub const FRAME_MASK: u64 = 0x000f_ffff_ffff_f000;
/// Bit 7 of entries above the page table: a leaf.
pub const LARGE: u64 = 1 << 7;
const TABLE_FLAGS: u64 = PageFlags::PRESENT.bits() | PageFlags::WRITABLE.bits();

/// A leaf for a table of `level`.
#[must_use]
pub const fn leaf(level: Level, phys: PhysAddr, flags: PageFlags) -> Entry {
    let large = if matches!(level, Level::Pt) { 0 } else { LARGE };
    Entry::from_raw(phys.0 & FRAME_MASK | flags.bits() | large)
}

/// An entry that leads to `table`.
#[must_use]
pub const fn table(table: PhysAddr, user: bool) -> Entry {
    let user = if user { PageFlags::USER.bits() } else { 0 };
    Entry::from_raw(table.0 & FRAME_MASK | TABLE_FLAGS | user)
}

/// What `entry`, read from a table of `level`, says.
#[must_use]
pub const fn decode(level: Level, entry: Entry) -> Decoded {
    let raw = entry.to_raw();
    if raw & PageFlags::PRESENT.bits() == 0 {
        return Decoded::Absent;
    }
    let is_leaf = match level {
        Level::Pt => true,
        Level::Pd | Level::Pdpt => raw & LARGE != 0,
        Level::Pml4 => false,
    };
    if !is_leaf {
        return Decoded::Table(PhysAddr(raw & FRAME_MASK));
    }
    let frame = raw & FRAME_MASK & !(level.entry_bytes() - 1);
    Decoded::Leaf(PhysAddr(frame), PageFlags::from_bits_truncate(raw & !(FRAME_MASK | LARGE)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leaves_and_tables_round_trip() {
        let flags = PageFlags::PRESENT | PageFlags::USER | PageFlags::NO_EXECUTE | PageFlags::SOFTWARE_0;
        for (level, phys) in [(Level::Pt, 0x1234_5000), (Level::Pd, 0x4020_0000), (Level::Pdpt, 0x4000_0000)]
        {
            let entry = leaf(level, PhysAddr(phys), flags);
            assert_eq!(decode(level, entry), Decoded::Leaf(PhysAddr(phys), flags));
        }
        assert_eq!(decode(Level::Pd, table(PhysAddr(0x7000), true)), Decoded::Table(PhysAddr(0x7000)));
        assert_eq!(decode(Level::Pml4, Entry::ABSENT), Decoded::Absent);
    }
}
