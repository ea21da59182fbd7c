//! Page tables: opaque entries, tables announced before use, flushes by CPU set.
//!
//! The rules are those of a hardware TLB: a new or widened entry needs no flush (a stale miss is retried);
//! after an entry was removed, weakened or pointed elsewhere, the kernel flushes the addresses concerned, and
//! a table's frame is reused only after [`MmuOps::table_released`], which follows the flush.
//! Entries are written only through these operations, so that backends which must be asked (Xen PV) or told
//! (a checking backend) fit in. Tables are read by plain loads.

use super::CpuSet;
use crate::addr::{PhysAddr, VirtAddr};
use crate::layout::start_info::VirtRange;
use crate::patch::{Code, Operation, calls};
use core::ops::Deref;

bitflags::bitflags! {
    /// Rights and state of a leaf. A table entry above it is always writable, user-accessible exactly when
    /// asked, and executable.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub struct PageFlags: u64 {
        /// The entry is present.
        const PRESENT = 1;
        /// Writes are allowed, in both modes (write protection holds for the kernel too).
        const WRITABLE = 1 << 1;
        /// User mode may access.
        const USER = 1 << 2;
        /// Uncached: device registers.
        const UNCACHED = 1 << 4;
        /// Set by the CPU (or the hypervisor) when the entry was used.
        const ACCESSED = 1 << 5;
        /// Set likewise when the page was written.
        const DIRTY = 1 << 6;
        /// The same translation is valid in every root.
        const GLOBAL = 1 << 8;
        /// For the kernel's use, never interpreted (copy-on-write marks and the like).
        const SOFTWARE_0 = 1 << 9;
        /// For the kernel's use.
        const SOFTWARE_1 = 1 << 10;
        /// Instruction fetches are refused.
        const NO_EXECUTE = 1 << 63;
    }
}

/// A page-table entry. Opaque: made by [`MmuOps::leaf`] and [`MmuOps::table`], taken apart by
/// [`MmuOps::decode`]. The absent entry is [`Entry::ABSENT`].
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(transparent)]
pub struct Entry(u64);

impl Entry {
    /// Nothing mapped.
    pub const ABSENT: Self = Self(0);
    /// For backends: an entry from its bits in the table.
    #[must_use]
    pub const fn from_raw(raw: u64) -> Self {
        Self(raw)
    }
    /// For backends: the bits in the table.
    #[must_use]
    pub const fn to_raw(self) -> u64 {
        self.0
    }
}

/// What an entry says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Decoded {
    /// Not present.
    Absent,
    /// Leads to the table in this frame.
    Table(PhysAddr),
    /// Maps the page at this address.
    Leaf(PhysAddr, PageFlags),
}

/// Level of a table: where its entries stand in the walk.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[repr(u8)]
pub enum Level {
    /// Page table: entries map 4 KiB.
    Pt = 1,
    /// Page directory: entries map 2 MiB or lead to a page table.
    Pd = 2,
    /// Page-directory-pointer table: entries map 1 GiB or lead to a page directory.
    Pdpt = 3,
    /// Root: entries lead to page-directory-pointer tables.
    Pml4 = 4,
}

impl Level {
    /// Bytes that one entry of this level spans.
    #[must_use]
    pub const fn entry_bytes(self) -> u64 {
        1 << (12 + 9 * (self as u64 - 1))
    }
    /// The level of the tables that entries of this level lead to.
    #[must_use]
    pub const fn below(self) -> Option<Self> {
        match self {
            Self::Pt => None,
            Self::Pd => Some(Self::Pt),
            Self::Pdpt => Some(Self::Pd),
            Self::Pml4 => Some(Self::Pdpt),
        }
    }
}

/// Where an entry stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Slot {
    /// Frame of the table.
    pub table: PhysAddr,
    /// Index in it, 0..512.
    pub index: usize,
    /// The table's level.
    pub level: Level,
    /// First virtual address that the entry spans, in the root for which it is changed.
    pub address: VirtAddr,
}

/// What a backend allows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MmuCaps {
    /// 2 MiB leaves are allowed.
    pub pages_2m: bool,
    /// 1 GiB leaves are allowed.
    pub pages_1g: bool,
    /// Translations of several roots are kept at a time (PCID, cached shadows): `Retain::Keep` is worth using.
    pub keeps_roots: bool,
}

/// What happens to translations of a root cached from earlier.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Retain {
    /// They stay valid: the kernel has flushed whatever it changed meanwhile.
    Keep,
    /// They are dropped, but for global pages and common slots.
    Drop,
}

/// A mapping that a backend needs in every root (device registers, the hypercall page).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RequiredMapping {
    /// Page-aligned virtual address.
    pub virt: VirtAddr,
    /// Page-aligned physical address.
    pub phys: PhysAddr,
    /// Multiple of 4096.
    pub bytes: u64,
    /// Flags of the leaves. Never user.
    pub flags: PageFlags,
}

/// Why a table was refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MmuError {
    /// The backend has no resources for another table.
    NoResources,
    /// The frame is not fit to be a table.
    BadFrame,
}

/// Operations on page tables.
pub trait MmuOps: Sync {
    /// What is allowed here. Does not change after `init`.
    fn caps(&self) -> MmuCaps;
    /// A leaf for a table of `level`. `phys` is aligned to the level's span, which [`Self::caps`] allows.
    fn leaf(&self, level: Level, phys: PhysAddr, flags: PageFlags) -> Entry;
    /// An entry that leads to `table`; `user`: some leaf below it is for user mode.
    fn table(&self, table: PhysAddr, user: bool) -> Entry;
    /// What `entry`, read from a table of `level`, says.
    fn decode(&self, level: Level, entry: Entry) -> Decoded;
    /// Reads an entry.
    fn read(&self, slot: Slot) -> Entry;
    /// Writes an entry; atomic for concurrent walks. When the old entry was present, the caller flushes.
    fn set(&self, slot: Slot, entry: Entry);
    /// Writes an entry and returns the old one, with the accessed and dirty bits it had at that instant.
    fn exchange(&self, slot: Slot, entry: Entry) -> Entry;
    /// Clears `flags` in a present leaf and returns the entry from before. The caller flushes.
    fn clear_flags(&self, slot: Slot, flags: PageFlags) -> Entry;
    /// Announces that `frame`, zeroed or filled with entries, will be linked as a table of `level`. After this
    /// it is written only through these operations.
    ///
    /// # Errors
    /// The frame cannot be a table now.
    fn table_allocated(&self, frame: PhysAddr, level: Level) -> Result<(), MmuError>;
    /// Announces that `frame`, unlinked and flushed (a root: not loaded anywhere), is no longer a table.
    fn table_released(&self, frame: PhysAddr, level: Level);
    /// Makes `root` the calling CPU's address space. Interrupts masked.
    ///
    /// # Safety
    /// `root` was announced, maps the running code, its stack and data as the current root does, and carries
    /// [`Self::required_mappings`].
    unsafe fn load_root(&self, root: PhysAddr, retain: Retain);
    /// The root loaded on the calling CPU.
    fn current_root(&self) -> PhysAddr;
    /// Drops translations of the page at `address` in the current root (and, for global pages, in all) on
    /// `cpus`. When it returns, none of `cpus` uses one any more.
    fn flush_page(&self, address: VirtAddr, cpus: CpuSet);
    /// As [`Self::flush_page`] for `bytes` from `address`.
    fn flush_range(&self, address: VirtAddr, bytes: u64, cpus: CpuSet);
    /// Drops all translations of every root, global ones included, on `cpus`.
    fn flush_all(&self, cpus: CpuSet);
    /// Hint: the kernel is about to touch `pages` pages from `address` and has just mapped them.
    fn populate(&self, address: VirtAddr, pages: usize);
    /// Declares that the PML4 slots in `slots` (bit = index; word = index / 64) hold equal entries in every root
    /// from now on, and that their subtrees are kernel memory. Each root loaded later obeys. Replaces what was declared
    /// before.
    ///
    /// # Errors
    /// The backend has no resources for so many; nothing is declared then.
    fn set_common_slots(&self, slots: &[u64; 8]) -> Result<(), MmuError>;
    /// Calls `visit` with every mapping that each root must carry.
    fn required_mappings(&self, visit: &mut dyn FnMut(RequiredMapping));
    /// Virtual addresses that kernels must leave alone.
    fn reserved_ranges(&self) -> &'static [VirtRange];
    /// Begins a scope in which writes of entries may be delayed until [`Self::batch_end`] or the next flush or
    /// root load. Does not nest. Interrupts masked throughout.
    fn batch_begin(&self) {}
    /// Ends the scope: all writes have been done when it returns.
    fn batch_end(&self) {}
    /// What the call sites of `operation`, one of this group, become. `None`: they stay calls of the method.
    fn code(&self, operation: Operation) -> Option<Code> {
        _ = operation;
        None
    }
}

/// The MMU group: what [`mmu`] returns. Operations are those of [`MmuOps`]; the ones defined here are patched.
#[derive(Clone, Copy, Debug)]
pub struct Mmu(());

/// The MMU group.
#[inline]
#[must_use]
pub fn mmu() -> Mmu {
    Mmu(())
}

impl Mmu {
    /// See [`MmuOps::load_root`]. Patched.
    ///
    /// # Safety
    /// As there.
    #[inline]
    pub unsafe fn load_root(self, root: PhysAddr, retain: Retain) {
        // SAFETY: the caller upholds the contract.
        unsafe { calls::mmu_load_root(root, retain) }
    }
    /// See [`MmuOps::flush_page`]. Patched.
    #[inline]
    pub fn flush_page(self, address: VirtAddr, cpus: CpuSet) {
        calls::mmu_flush_page(address, cpus);
    }
}

impl Deref for Mmu {
    type Target = dyn MmuOps;
    fn deref(&self) -> &Self::Target {
        super::ops().mmu
    }
}
