//! The memories that the shadow logic works on, as traits: the machine implements them in `arch`, tests with
//! vectors.

use super::bits::{CACHE_DISABLE, FRAME, LARGE, PRESENT, WRITE_THROUGH};
use core::num::NonZeroU64;
use core::ops::Range;

// Every leaf is present, so none is zero.
const _: () = assert!(PRESENT == 1);

/// A domain's guest-physical memory, as far as walks need it.
pub trait GuestTables {
    /// See [`GuestTable`].
    type Table<'a>: GuestTable
    where
        Self: 'a;
    /// The table at `address`, a multiple of 4096. `None`: not in the domain's memory.
    fn table(&self, address: u64) -> Option<Self::Table<'_>>;
    /// What is behind the `bytes` from `address`, both multiples of `bytes`, if they are wholly in memory, or wholly
    /// the registers of one device, and equally aligned in the host.
    fn to_host(&self, address: u64, bytes: u64) -> Option<HostPage>;
    /// Host-physical address of the 4 KiB of memory at `address`, a multiple of 4096. `None`: they are no memory.
    fn page_of_memory(&self, address: u64) -> Option<u64> {
        self.to_host(address, 4096).filter(|page| page.is_memory()).map(HostPage::address)
    }
}

/// A page of a domain's memory that an entry names as a table. Indices are below 512.
pub trait GuestTable: Copy {
    /// Loads an entry.
    fn load(self, index: usize) -> u64;
    /// Sets `bits` in an entry, atomically, if it still equals `expected`; otherwise the walk is stale and false is
    /// returned.
    fn set_bits(self, index: usize, expected: u64, bits: u64) -> bool;
}

/// A page of the host that a leaf may map, as the leaf has it: its address, its size, and how it is cached. That is the host's
/// to say; the guest's tables have no say in it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct HostPage(NonZeroU64);

impl HostPage {
    /// Memory of the domain: write-back.
    #[must_use]
    pub fn memory(address: u64) -> Self {
        Self::with(address, 0)
    }

    /// Registers of a device of the domain: uncached. No table, root or shared structure is ever there.
    #[must_use]
    pub fn registers(address: u64) -> Self {
        Self::with(address, CACHE_DISABLE | WRITE_THROUGH)
    }

    fn with(address: u64, caching: u64) -> Self {
        Self(NonZeroU64::MIN | (address | caching))
    }

    /// The same as a page of so many bytes.
    #[must_use]
    pub fn sized(self, bytes: u64) -> Self {
        Self(self.0 | if bytes > 4096 { LARGE } else { 0 })
    }

    /// Host-physical address.
    #[must_use]
    pub const fn address(self) -> u64 {
        self.0.get() & FRAME
    }

    /// What a leaf has of it.
    #[must_use]
    pub const fn bits(self) -> u64 {
        self.0.get()
    }

    /// Whether it is memory.
    #[must_use]
    pub const fn is_memory(self) -> bool {
        self.bits() & CACHE_DISABLE == 0
    }
}

/// A shadow table: a page in the pool, by its distance in bytes from the first, which is a multiple of 4096.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Table(u64);

impl Table {
    /// The page with that number.
    #[must_use]
    pub const fn numbered(number: u32) -> Self {
        Self(number as u64 * 4096)
    }

    /// The page around `distance`, of which the bits are looked at that an entry has for a frame.
    #[must_use]
    pub const fn around(distance: u64) -> Self {
        Self(distance & FRAME)
    }

    /// Its number.
    #[must_use]
    pub const fn number(self) -> usize {
        (self.0 / 4096) as usize
    }

    /// Its distance in bytes from the first, a multiple of 4096.
    #[must_use]
    pub const fn distance(self) -> u64 {
        self.0
    }
}

/// The pages of the pool, and the translation caches of this CPU.
pub trait ShadowTables {
    /// Loads an entry.
    fn read(&self, table: Table, index: usize) -> u64;
    /// Stores an entry.
    fn write(&mut self, table: Table, index: usize, entry: u64);
    /// Stores what `entry` says for each of `places`, which end at 512 at the latest, until it says nothing; how many.
    fn write_several(
        &mut self,
        table: Table,
        places: Range<usize>,
        entry: impl FnMut(usize) -> Option<u64>,
    ) -> usize;
    /// Index of the first entry from `from` on that is not absent, 512 if there is none; absent ones are all zero.
    fn next_filled(&self, table: Table, from: usize) -> usize;
    /// Fills the table with absent entries.
    fn zero(&mut self, table: Table);
    /// Host-physical address of the table.
    fn address(&self, table: Table) -> u64;
    /// Inverse of [`Self::address`]; of an entry, the frame counts.
    fn table_at(&self, address: u64) -> Table;
    /// The table that an entry of this domain's leads to. `None`: it is absent, or a leaf, since none of those leads into
    /// the pool, or the hypervisor's.
    fn table_below(&self, entry: u64) -> Option<Table>;
    /// Stores the PML4 entries of the hypervisor's slots, as the vCPU has them that will use a root.
    fn map_hypervisor(&mut self, table: Table);
    /// Drops this CPU's cached translation of the page at `address`.
    fn flush_page(&mut self, address: u64);
    /// Drops all of this CPU's cached translations, paging structures included.
    fn flush_all(&mut self);
}
