//! Walks of guest tables.
//!
//! The result is what hardware would have found (Intel SDM volume 3, 4.6 and 4.7): translation, or error code.
//! Every entry is loaded once and the copy is checked. Accessed bits are set on the way down, the dirty bit by
//! a write, both before the translation is used, so that the guest never sees a use without its mark.
//!
//! There are two: [`walk`] for whatever tables can say, and [`find`] for what they say nearly always, which gives up
//! elsewhere and is part of the way of a hidden fault.

use super::bits::{ACCESSED, DIRTY, FRAME, GLOBAL, LARGE, NO_EXECUTE, PRESENT, USER, WRITABLE};
use super::memory::{GuestTable, GuestTables, HostPage, PageKind};
use super::{index, is_guest_address, span};

/// An access to guest-virtual memory: the bits of a page fault's error code that tell of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Access(u64);

/// Page-fault error code bits (Intel SDM volume 3, 4.7).
#[allow(missing_docs, reason = "named as the manual names them")]
pub mod error {
    pub const PRESENT: u64 = 1;
    pub const WRITE: u64 = 1 << 1;
    pub const USER: u64 = 1 << 2;
    pub const RESERVED: u64 = 1 << 3;
    pub const FETCH: u64 = 1 << 4;
}

// What an access needs of an entry, it asks for with the same bit.
const _: () = assert!(error::WRITE == WRITABLE && error::USER == USER);

impl Access {
    /// A load by the guest kernel.
    pub const KERNEL_READ: Self = Self(0);
    /// A store by the guest kernel.
    pub const KERNEL_WRITE: Self = Self(error::WRITE);

    /// From the hardware's error code and the virtual mode.
    #[must_use]
    pub const fn from_error_code(code: u64, user: bool) -> Self {
        Self(code & (error::WRITE | error::FETCH) | (user as u64 * error::USER))
    }

    /// The error code that the guest sees when this access fails with `cause` bits.
    #[must_use]
    pub const fn error_code(self, cause: u64) -> u64 {
        self.0 | cause
    }

    /// It writes.
    #[must_use]
    pub const fn writes(self) -> bool {
        self.0 & error::WRITE != 0
    }

    /// It comes from virtual user mode.
    #[must_use]
    pub const fn is_user(self) -> bool {
        self.0 & error::USER != 0
    }

    /// It fetches an instruction.
    #[must_use]
    pub const fn fetches(self) -> bool {
        self.0 & error::FETCH != 0
    }

    /// Whether entries refuse it: `rights` are the bits that all of them have, `refusals` those that any has.
    #[inline(always)]
    const fn is_refused(self, rights: u64, refusals: u64) -> bool {
        if self.0 & !rights & (WRITABLE | USER) != 0 {
            return true;
        }
        self.fetches() && (refusals & NO_EXECUTE != 0 || (!self.is_user() && rights & USER != 0))
    }

    /// The marks that it leaves in a leaf.
    const fn marks(self) -> u64 {
        ACCESSED | ((self.0 & error::WRITE) * (DIRTY / error::WRITE))
    }
}

/// A translation that a walk found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Translation {
    /// Guest-physical address of the page (of the leaf's size).
    pub page: u64,
    /// Level of the leaf: 1, 2 or 3.
    pub level: u8,
    /// Accumulated rights.
    pub writable: bool,
    /// User mode may access.
    pub user: bool,
    /// Instruction fetches are refused.
    pub no_execute: bool,
    /// The leaf's dirty bit is set.
    pub dirty: bool,
    /// The leaf is marked global.
    pub global: bool,
    /// What is behind the 4 KiB around the address.
    pub host: HostPage,
}

/// Bits 13..20 (2 MiB) or 13..29 (1 GiB) must be zero; bit 12 is PAT.
const fn large_reserved(level: u8) -> u64 {
    (span(level) - 1) & FRAME & !(1 << 12)
}

/// An entry, and where it stands.
#[derive(Clone, Copy, Debug)]
pub struct Passed<T> {
    /// The table.
    pub table: T,
    /// Its place there.
    pub index: usize,
    /// What was loaded.
    pub entry: u64,
}

impl<T: GuestTable> Passed<T> {
    /// Sets the bits of `wanted` that are not set. False: the entry changed meanwhile.
    #[inline(always)]
    pub fn mark(self, wanted: u64) -> bool {
        self.entry & wanted == wanted || self.table.set_bits(self.index, self.entry, wanted)
    }
}

/// What a walk passed on its way, by level, the lowest first; none below the leaf.
type Path<T> = [Option<Passed<T>>; 4];

impl Translation {
    /// Nothing to load: let the guest run into the fault again.
    pub const NONE: Self = Self {
        page: 0,
        level: 0,
        writable: false,
        user: false,
        no_execute: true,
        dirty: false,
        global: false,
        host: HostPage { address: 0, kind: PageKind::Memory },
    };
}

/// Walks the tables at `root` for `address`, and marks what it passed.
///
/// # Errors
/// The error code, as hardware would push it.
pub fn walk<M: GuestTables>(memory: &M, root: u64, address: u64, access: Access) -> Result<Translation, u64> {
    // An entry may change under the walk; then it starts again, as hardware does. A guest that keeps changing it
    // from another vCPU only delays itself: after a few rounds the fault is simply taken once more.
    for _ in 0..4 {
        let mut path = [None; 4];
        let translation = descend(memory, root, address, access, &mut path)?;
        if mark(&path, access) {
            return Ok(translation);
        }
    }
    Ok(Translation::NONE)
}

/// A walk that leaves no marks, for an access that is not going to be made.
///
/// # Errors
/// As [`walk`].
pub fn look<M: GuestTables>(memory: &M, root: u64, address: u64, access: Access) -> Result<Translation, u64> {
    descend(memory, root, address, access, &mut [None; 4])
}

/// Sets the accessed bits, and the dirty bit for a write. False: an entry changed meanwhile.
fn mark<T: GuestTable>(path: &Path<T>, access: Access) -> bool {
    let dirty = if mutant!(DirtyTooEarly) { DIRTY } else { 0 };
    let mut wanted = access.marks() | dirty;
    path.iter().flatten().all(|passed| {
        let marks = core::mem::replace(&mut wanted, ACCESSED);
        mutant!(AccessedLost) || passed.mark(marks)
    })
}

/// The walk itself. `path` is empty before.
#[inline(never)]
fn descend<'a, M: GuestTables>(
    memory: &'a M,
    root: u64,
    address: u64,
    access: Access,
    path: &mut Path<M::Table<'a>>,
) -> Result<Translation, u64> {
    translate(memory, root, address, access, path).map_err(|cause| access.error_code(cause))
}

/// The same with the cause of the fault only.
#[inline(always)]
fn translate<'a, M: GuestTables>(
    memory: &'a M,
    root: u64,
    address: u64,
    access: Access,
    path: &mut Path<M::Table<'a>>,
) -> Result<Translation, u64> {
    const RESERVED: u64 = error::PRESENT | error::RESERVED;
    if !is_guest_address(address) {
        return Err(if mutant!(ReservedShownPresent) { error::PRESENT } else { 0 });
    }
    let (mut entry, mut rights, mut refusals, mut level) = (root, !0, 0, 5);
    while level == 5 || (level > 1 && entry & LARGE == 0) {
        level -= 1;
        let table = memory.table(entry & FRAME).ok_or(RESERVED)?;
        let index = index(address, level);
        entry = table.load(index);
        if entry & PRESENT == 0 {
            return Err(if mutant!(AbsentShownPresent) { error::PRESENT } else { 0 });
        }
        path[usize::from(level) - 1] = Some(Passed { table, index, entry });
        rights &= entry;
        refusals |= entry;
    }
    let is_invalid = entry & large_reserved(level) != 0 && !mutant!(ReservedBitsTaken);
    if level == 4 || (level > 1 && is_invalid) {
        return Err(RESERVED);
    }
    let page_mask = span(level) - 1;
    let page = entry & FRAME & !page_mask;
    let host = memory.to_host(page + (address & page_mask & FRAME), 4096).ok_or(RESERVED)?;
    if mutant!(UpperRightsIgnored) {
        rights |= entry & WRITABLE;
    }
    if mutant!(UserViewShowsKernel) && access.is_user() {
        rights |= USER;
    }
    let is_taken = mutant!(KernelRunsUserPages) && access.fetches() && refusals & NO_EXECUTE == 0;
    if access.is_refused(rights, refusals) && !is_taken {
        if mutant!(RefusedMarks) {
            path.iter().flatten().take(1).for_each(|leaf| _ = leaf.mark(ACCESSED));
        }
        return Err(error::PRESENT);
    }
    Ok(Translation {
        page,
        level,
        writable: rights & WRITABLE != 0,
        user: rights & USER != 0,
        no_execute: refusals & NO_EXECUTE != 0,
        dirty: entry & DIRTY != 0 || access.writes(),
        global: entry & GLOBAL != 0,
        host,
    })
}

/// Why [`find`] found nothing.
#[derive(Clone, Copy, Debug)]
pub enum Nothing {
    /// The tables do not allow the access: the error code.
    Fault(u64),
    /// Tables that lead to the page were not marked yet, or there is no shadow of them.
    Unready,
    /// The tables are not as they nearly always are.
    Unusual,
}

/// A page of 4 KiB that [`find`] found.
#[derive(Clone, Copy, Debug)]
pub struct Page<T> {
    /// Its entry.
    pub leaf: Passed<T>,
    /// The bits that all entries have that lead to it.
    pub rights: u64,
    /// The bits that any has.
    pub refusals: u64,
    /// Its host-physical address.
    pub host: u64,
}

/// What [`look`] finds, where that is a page of memory, of 4 KiB, below tables that are marked.
///
/// # Errors
/// [`Nothing`].
#[inline(always)]
pub fn find<M: GuestTables>(
    memory: &M,
    root: u64,
    address: u64,
    access: Access,
) -> Result<Page<M::Table<'_>>, Nothing> {
    if !is_guest_address(address) {
        return Err(Nothing::Unusual);
    }
    let step = |above: u64, level: u8| {
        let table = memory.table(above & FRAME).ok_or(Nothing::Unusual)?;
        let index = index(address, level);
        let entry = table.load(index);
        if entry & PRESENT == 0 {
            return Err(Nothing::Fault(access.error_code(0)));
        }
        if level > 1 && entry & LARGE != 0 {
            return Err(Nothing::Unusual);
        }
        Ok(Passed { table, index, entry })
    };
    // They are not kept one by one, since registers are few.
    let fourth = step(root, 4)?.entry;
    let third = step(fourth, 3)?.entry;
    let (rights, refusals) = (fourth & third, fourth | third);
    let second = step(third, 2)?.entry;
    let (rights, refusals) = (rights & second, refusals | second);
    let leaf = step(second, 1)?;
    let host = memory.page_of_memory(leaf.entry & FRAME).ok_or(Nothing::Unusual)?;
    // Whether the leaf is marked is seen to later.
    let (rights, refusals) = (rights & (leaf.entry | ACCESSED), refusals | leaf.entry);
    if access.is_refused(rights, refusals) {
        return Err(Nothing::Fault(access.error_code(error::PRESENT)));
    }
    if rights & ACCESSED == 0 {
        return Err(Nothing::Unready);
    }
    Ok(Page { leaf, rights, refusals, host })
}

impl<T: GuestTable> Page<T> {
    /// Marks its entry for `access`, and returns that. `None`: it changed meanwhile.
    #[inline(always)]
    pub fn mark(&self, access: Access) -> Option<u64> {
        let marks = access.marks();
        self.leaf.mark(marks).then_some(self.leaf.entry | marks)
    }
}

/// Marks the tables accessed that lead to a leaf of 4 KiB for `address`. False: they do not.
pub fn mark_tables(memory: &impl GuestTables, root: u64, address: u64) -> bool {
    let mut above = root;
    [4, 3, 2].into_iter().all(|level| {
        let Some(table) = memory.table(above & FRAME) else { return false };
        let index = index(address, level);
        let entry = table.load(index);
        above = entry;
        entry & (PRESENT | LARGE) == PRESENT && Passed { table, index, entry }.mark(ACCESSED)
    })
}
