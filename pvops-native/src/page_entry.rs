//! Page-table entries in the hardware's format (Intel SDM volume 3, 4.5.5).
//!
//! [`PageFlags`] stand where the hardware has them, so making and taking apart an entry costs a mask.

use pvops_abi::addr::PhysAddr;
use pvops_abi::ops::mmu::{Decoded, Level, PageFlags};

/// PS: a leaf at a level above 1.
const LARGE: u64 = 1 << 7;
/// Bits 51..12.
const ADDRESS: u64 = 0x000f_ffff_ffff_f000;

/// A leaf of a table of `level`.
pub(crate) fn leaf(level: Level, phys: PhysAddr, flags: PageFlags) -> u64 {
    let size = if level == Level::Pt { 0 } else { LARGE };
    phys.0 & ADDRESS | flags.bits() | size
}

/// An entry that leads to `table`.
pub(crate) fn table(table: PhysAddr, user: bool) -> u64 {
    let mut flags = PageFlags::PRESENT | PageFlags::WRITABLE;
    flags.set(PageFlags::USER, user);
    table.0 & ADDRESS | flags.bits()
}

/// What an entry of a table of `level` says.
pub(crate) fn decode(level: Level, raw: u64) -> Decoded {
    if raw & PageFlags::PRESENT.bits() == 0 {
        Decoded::Absent
    } else if level == Level::Pt || raw & LARGE != 0 {
        // The lowest address bit of a large leaf is its PAT bit, which no entry of ours sets.
        let phys = PhysAddr(raw & ADDRESS & !(level.entry_bytes() - 1));
        Decoded::Leaf(phys, PageFlags::from_bits_truncate(raw))
    } else {
        Decoded::Table(PhysAddr(raw & ADDRESS))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leaves_come_back_as_they_were_made() {
        let flags = PageFlags::PRESENT | PageFlags::USER | PageFlags::NO_EXECUTE | PageFlags::SOFTWARE_1;
        for (level, phys) in
            [(Level::Pt, 0x1234_5000), (Level::Pd, 0x4020_0000), (Level::Pdpt, 0x8_4000_0000)]
        {
            let phys = PhysAddr(phys);
            assert_eq!(decode(level, leaf(level, phys, flags)), Decoded::Leaf(phys, flags));
        }
    }

    #[test]
    fn tables_and_absence() {
        let frame = PhysAddr(0x7000);
        assert_eq!(table(frame, false), 0x7003);
        assert_eq!(table(frame, true), 0x7007);
        assert_eq!(decode(Level::Pml4, 0x7007), Decoded::Table(frame));
        assert_eq!(decode(Level::Pt, 0x7006), Decoded::Absent);
    }
}
