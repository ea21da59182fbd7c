//! Addresses and frames as distinct types.
//!
//! They are our own and not the `x86_64` crate's, because they are part of a published ABI whose major
//! version must not follow another crate's.

use core::fmt;

/// Bytes in a 4 KiB page, the unit of frames and of table memory.
pub const PAGE_SIZE: u64 = 4096;

/// A physical address as this kernel sees it: guest-physical under a hypervisor, host-physical on the metal.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[repr(transparent)]
pub struct PhysAddr(pub u64);

/// A virtual address. May be non-canonical; whoever dereferences it checks.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[repr(transparent)]
pub struct VirtAddr(pub u64);

impl PhysAddr {
    /// Rounds down to a page boundary.
    #[must_use]
    pub const fn page_base(self) -> Self {
        Self(self.0 & !(PAGE_SIZE - 1))
    }
    /// Whether the address is a multiple of 4096.
    #[must_use]
    pub const fn is_page_aligned(self) -> bool {
        self.0.is_multiple_of(PAGE_SIZE)
    }
}

impl VirtAddr {
    /// Rounds down to a page boundary.
    #[must_use]
    pub const fn page_base(self) -> Self {
        Self(self.0 & !(PAGE_SIZE - 1))
    }
    /// Whether bits 63..47 are all equal, as 4-level paging demands (Intel SDM volume 1, 3.3.7.1).
    #[must_use]
    pub const fn is_canonical(self) -> bool {
        ((self.0 as i64) << 16 >> 16) as u64 == self.0
    }
    /// Index into the table of `level` (1 = page table … 4 = PML4).
    #[must_use]
    pub const fn table_index(self, level: u8) -> usize {
        ((self.0 >> (12 + 9 * (level as u32 - 1))) & 0x1ff) as usize
    }
}

impl fmt::Debug for PhysAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "phys:{:#x}", self.0)
    }
}

impl fmt::Debug for VirtAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "virt:{:#x}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn canonical_addresses() {
        assert!(VirtAddr(0x7fff_ffff_ffff).is_canonical());
        assert!(VirtAddr(0xffff_8000_0000_0000).is_canonical());
        assert!(!VirtAddr(0x8000_0000_0000).is_canonical());
        assert!(!VirtAddr(0xfff_8000_0000_0000).is_canonical());
    }

    #[test]
    fn table_indices() {
        let va = VirtAddr(0xffff_8000_4020_1000);
        assert_eq!([4, 3, 2, 1].map(|level| va.table_index(level)), [256, 1, 1, 1]);
    }
}
