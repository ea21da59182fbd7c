//! Where text may be written: at an alias that is the same memory, and never where it is executed.

use super::Refusal;
use crate::addr::PhysAddr;
use crate::ops::mmu::PageFlags;

/// A translation: the frame's byte, and the rights to it.
pub(super) type Translation = Option<(PhysAddr, PageFlags)>;

/// Whether a byte of text may be written through an alias in the map of physical memory.
pub(super) fn check(text: Translation, alias: Translation) -> Result<(), Refusal> {
    let (Some((byte, text)), Some((same, alias))) = (text, alias) else { return Err(Refusal::NotMapped) };
    if text.intersects(PageFlags::WRITABLE | PageFlags::NO_EXECUTE) {
        return Err(Refusal::TextWritable);
    }
    if same != byte || !alias.contains(PageFlags::WRITABLE | PageFlags::NO_EXECUTE) {
        return Err(Refusal::NoWritableAlias);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const READ: PageFlags = PageFlags::PRESENT.union(PageFlags::ACCESSED);
    const DATA: PageFlags = READ.union(PageFlags::WRITABLE).union(PageFlags::NO_EXECUTE);

    fn at(byte: u64, flags: PageFlags) -> Translation {
        Some((PhysAddr(byte), flags))
    }

    #[test]
    fn text_is_written_where_it_is_data() {
        assert_eq!(check(at(0x1234, READ), at(0x1234, DATA)), Ok(()));
    }

    #[test]
    fn an_alias_without_rights_is_refused() {
        for flags in [READ, READ | PageFlags::WRITABLE, READ | PageFlags::NO_EXECUTE] {
            assert_eq!(check(at(1, READ), at(1, flags)), Err(Refusal::NoWritableAlias), "{flags:?}");
        }
        assert_eq!(check(at(1, READ), at(2, DATA)), Err(Refusal::NoWritableAlias), "other memory");
    }

    #[test]
    fn text_that_is_none_is_refused() {
        for flags in [READ | PageFlags::WRITABLE, READ | PageFlags::NO_EXECUTE, DATA] {
            assert_eq!(check(at(1, flags), at(1, DATA)), Err(Refusal::TextWritable), "{flags:?}");
        }
    }

    #[test]
    fn holes_are_refused() {
        assert_eq!(check(None, at(1, DATA)), Err(Refusal::NotMapped));
        assert_eq!(check(at(1, READ), None), Err(Refusal::NotMapped));
    }
}
