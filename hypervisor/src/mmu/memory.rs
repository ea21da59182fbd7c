//! The memories that the shadow logic works on, as traits: the machine implements them in `arch`, tests with
//! vectors.

/// A domain's guest-physical memory, as far as walks need it.
pub trait GuestTables {
    /// Loads the entry at `address` (a multiple of 8). `None`: not in the domain's memory.
    fn load(&self, address: u64) -> Option<u64>;
    /// Sets `bits` in the entry at `address`, atomically, if it still equals `expected` but for accessed and
    /// dirty bits; otherwise the walk is stale and false is returned.
    fn set_bits(&self, address: u64, expected: u64, bits: u64) -> bool;
    /// What is behind the `bytes` from `address`, both multiples of `bytes`, if they are wholly in memory, or wholly
    /// the registers of one device, and equally aligned in the host.
    fn to_host(&self, address: u64, bytes: u64) -> Option<HostPage>;
}

/// A page of the host that a leaf may map.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct HostPage {
    /// Host-physical address.
    pub address: u64,
    /// What it is.
    pub kind: PageKind,
}

/// What a page of the host is. The kind decides how it is cached; the guest's tables have no say in that.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PageKind {
    /// Memory of the domain: write-back.
    Memory,
    /// Registers of a device of the domain: uncached. No table, root or shared structure is ever there.
    Registers,
}

/// A shadow table: number of a page in the pool.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Table(pub u32);

/// The pages of the pool, and the translation caches of this CPU.
pub trait ShadowTables {
    /// Loads an entry.
    fn read(&self, table: Table, index: usize) -> u64;
    /// Stores an entry.
    fn write(&mut self, table: Table, index: usize, entry: u64);
    /// Index of the first entry from `from` on that is not absent; absent ones are all zero.
    fn next_filled(&self, table: Table, from: usize) -> Option<usize>;
    /// Fills the table with absent entries.
    fn zero(&mut self, table: Table);
    /// Host-physical address of the table.
    fn address(&self, table: Table) -> u64;
    /// Inverse of [`Self::address`].
    fn table_at(&self, address: u64) -> Table;
    /// The PML4 entries of the hypervisor's slots for the vCPU that will use a root.
    fn hypervisor_entry(&self, slot: usize) -> u64;
    /// Drops this CPU's cached translation of the page at `address`.
    fn flush_page(&mut self, address: u64);
    /// Drops all of this CPU's cached translations, paging structures included.
    fn flush_all(&mut self);
}
