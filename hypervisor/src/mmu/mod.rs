//! Virtual memory for guests: the software TLB.
//!
//! Guest tables are ordinary guest memory. What the hardware walks are *shadow* tables from a bounded pool,
//! and these are treated exactly as a TLB is: a tree per guest root, keyed by virtual address, that caches
//! translations. Any entry may be dropped at any time; a flush must drop it. Nothing here depends on which
//! guest table an entry came from, so there are no typed page references to get wrong.
//!
//! 1. [`memory`]: the two memories, abstract, so that all of this runs on a host.
//! 2. [`walk`]: a guest-table walk, with rights, accessed and dirty bits and error codes as hardware has them.
//! 3. [`pool`]: free shadow tables, and dropped subtrees waiting to be zeroed.
//! 4. [`shadow`]: cached roots in two views, fill, flush, reclaim.

pub mod memory;
#[cfg(any(test, feature = "fuzzing"))]
pub mod miniature;
pub mod pool;
pub mod shadow;
#[cfg(test)]
mod tests;
pub mod walk;

/// First PML4 slot that belongs to the hypervisor.
pub const HYPERVISOR_FIRST_SLOT: usize = 256;
/// Number of PML4 slots that belong to the hypervisor.
pub const HYPERVISOR_SLOTS: usize = 16;
/// First address of the hypervisor's slots.
pub const HYPERVISOR_START: u64 = 0xffff_8000_0000_0000;
/// Last address of the hypervisor's slots.
pub const HYPERVISOR_LAST: u64 = 0xffff_87ff_ffff_ffff;

/// Entry bits of the native format (Intel SDM volume 3, 4.5).
#[allow(missing_docs, reason = "named as the manual names them")]
pub mod bits {
    pub const PRESENT: u64 = 1;
    pub const WRITABLE: u64 = 1 << 1;
    pub const USER: u64 = 1 << 2;
    pub const WRITE_THROUGH: u64 = 1 << 3;
    pub const CACHE_DISABLE: u64 = 1 << 4;
    pub const ACCESSED: u64 = 1 << 5;
    pub const DIRTY: u64 = 1 << 6;
    pub const LARGE: u64 = 1 << 7;
    pub const GLOBAL: u64 = 1 << 8;
    pub const NO_EXECUTE: u64 = 1 << 63;
    pub const FRAME: u64 = 0x000f_ffff_ffff_f000;
}

/// Index into the table of `level` (1..=4) for `address`.
#[must_use]
pub const fn index(address: u64, level: u8) -> usize {
    ((address >> (12 + 9 * (level as u32 - 1))) & 0x1ff) as usize
}

/// Bytes spanned by an entry of `level`.
#[must_use]
pub const fn span(level: u8) -> u64 {
    1 << (12 + 9 * (level as u32 - 1))
}

/// Whether a guest can have a translation at `address`: canonical (Intel SDM volume 1, 3.3.7.1) and not in the
/// hypervisor's slots. Others must never reach a table: the index is taken from the low bits, so an address that
/// is not canonical would name a hypervisor's slot.
#[must_use]
pub const fn is_guest_address(address: u64) -> bool {
    ((address << 16) as i64 >> 16) as u64 == address && !is_reserved(address)
}

/// Whether `address` lies in the hypervisor's slots.
#[must_use]
pub const fn is_reserved(address: u64) -> bool {
    address >= HYPERVISOR_START && address <= HYPERVISOR_LAST
}
