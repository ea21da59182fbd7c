//! Walks of guest tables.
//!
//! The result is what hardware would have found (Intel SDM volume 3, 4.6 and 4.7): translation, or error code.
//! Every entry is loaded once and the copy is checked. Accessed bits are set when the access is known to be allowed, the
//! dirty bit by a write, both before the translation is used, so that the guest never sees a use without its mark.

use super::bits::{ACCESSED, DIRTY, FRAME, LARGE, NO_EXECUTE, PRESENT, USER, WRITABLE};
use super::memory::{GuestTable, GuestTables, HostPage};
use super::{is_guest_address, span};

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

    /// Whether entries refuse it that have these [`Translation::rights`].
    #[inline(always)]
    const fn is_refused(self, rights: u64) -> bool {
        if self.0 & !rights & (WRITABLE | USER) != 0 {
            return true;
        }
        self.fetches() && (rights & NO_EXECUTE == 0 || (!self.is_user() && rights & USER != 0))
    }

    /// The marks that it leaves in a leaf.
    fn marks(self) -> u64 {
        let dirty = if mutant!(DirtyTooEarly) { DIRTY } else { 0 };
        ACCESSED | dirty | ((self.0 & error::WRITE) * (DIRTY / error::WRITE))
    }
}

/// A translation that a walk found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Translation {
    /// The leaf's entry.
    pub entry: u64,
    /// Level of the leaf: 1, 2 or 3.
    pub level: u8,
    /// The bits that all entries have that lead to the page; [`ACCESSED`] is that of the tables, and [`NO_EXECUTE`] the
    /// other way round: that none has it.
    pub rights: u64,
    /// What is behind the largest part of the page, around the address, that the host has as one.
    pub host: HostPage,
    /// Level of that part.
    pub host_level: u8,
}

impl Translation {
    /// Size of the page.
    #[must_use]
    pub const fn bytes(&self) -> u64 {
        span(self.level)
    }

    /// Its guest-physical address.
    #[must_use]
    pub const fn page(&self) -> u64 {
        self.entry & FRAME & !(self.bytes() - 1)
    }
}

/// Where an entry stands.
#[derive(Clone, Copy, Debug)]
pub struct Place<T> {
    /// The table.
    pub table: T,
    /// Its index there.
    pub index: usize,
}

/// A leaf, and what it says with all that leads to it.
pub type Found<T> = (Place<T>, Translation);

/// Bits 13..20 (2 MiB) or 13..29 (1 GiB) must be zero; bit 12 is PAT.
const fn large_reserved(level: u8) -> u64 {
    (span(level) - 1) & FRAME & !(1 << 12)
}

/// The entries of tables that a walk passed, by level.
pub type Path = [u64; 5];

/// Walks the tables at `root` for `address`. It leaves no marks, but in `path` what [`mark`] needs.
///
/// # Errors
/// The error code, as hardware would push it.
#[inline(always)]
pub fn walk<'a, M: GuestTables>(
    memory: &'a M,
    root: u64,
    address: u64,
    access: Access,
    path: &mut Path,
) -> Result<Found<M::Table<'a>>, u64> {
    const RESERVED: u64 = error::PRESENT | error::RESERVED;
    let fault = |cause| access.error_code(cause);
    if !is_guest_address(address) {
        return Err(fault(if mutant!(ReservedShownPresent) { error::PRESENT } else { 0 }));
    }
    let (mut above, mut rights, mut level) = (root, !0, 4_usize);
    // The indices that are left, the next one in front.
    let mut indices = address << 16;
    let (leaf, entry) = loop {
        let table = memory.table(above & FRAME).ok_or(fault(RESERVED))?;
        let index = (indices >> 55) as usize;
        let entry = table.load(index);
        if level == 1 || entry & (PRESENT | LARGE) != PRESENT {
            break (Place { table, index }, entry);
        }
        path[level] = entry;
        rights &= entry ^ NO_EXECUTE;
        above = entry;
        indices <<= 9;
        level -= 1;
    };
    if entry & PRESENT == 0 {
        return Err(fault(if mutant!(AbsentShownPresent) { error::PRESENT } else { 0 }));
    }
    rights &= (entry | ACCESSED) ^ NO_EXECUTE;
    let level = level as u8;
    let page = if level == 1 { memory.page_of_memory(entry & FRAME) } else { None };
    let (host, host_level) = match page {
        Some(host) => (HostPage::memory(host), 1),
        None => largest_part(memory, entry, level, address).ok_or(fault(RESERVED))?,
    };
    if mutant!(UpperRightsIgnored) {
        rights |= entry & WRITABLE;
    }
    if mutant!(UserViewShowsKernel) && access.is_user() {
        rights |= USER;
    }
    let is_taken = mutant!(KernelRunsUserPages) && access.fetches() && rights & NO_EXECUTE != 0;
    if access.is_refused(rights) && !is_taken {
        if mutant!(RefusedMarks) {
            leaf.table.set_bits(leaf.index, entry, ACCESSED);
        }
        return Err(fault(error::PRESENT));
    }
    Ok((leaf, Translation { entry, level, rights, host, host_level }))
}

/// Marks what a walk passed, and what it found. False: an entry changed meanwhile; the walk is to be made again, as hardware
/// does it.
#[inline(always)]
pub fn mark<'a, M: GuestTables>(
    memory: &'a M,
    root: u64,
    address: u64,
    access: Access,
    path: &Path,
    (leaf, found): &mut Found<M::Table<'a>>,
) -> bool {
    let (old, marks) = (found.entry, access.marks());
    found.entry |= marks;
    if mutant!(AccessedLost) {
        return true;
    }
    if found.rights & ACCESSED == 0 && !mark_tables(memory, root, address, path, found.level) {
        return false;
    }
    found.entry == old || leaf.table.set_bits(leaf.index, old, marks)
}

/// Marks the tables that lead to a leaf of `level`.
#[cold]
#[inline(never)]
fn mark_tables(memory: &impl GuestTables, root: u64, address: u64, path: &Path, level: u8) -> bool {
    let (mut above, mut at_level) = (root, 4_usize);
    let mut indices = address << 16;
    while at_level > level.into() {
        let entry = path[at_level];
        if entry & ACCESSED == 0 {
            let table = memory.table(above & FRAME);
            if !table.is_some_and(|table| table.set_bits((indices >> 55) as usize, entry, ACCESSED)) {
                return false;
            }
        }
        above = entry;
        indices <<= 9;
        at_level -= 1;
    }
    true
}

/// The largest part, around `address`, of the page of a leaf of `level` that the host has as one.
#[cold]
#[inline(never)]
fn largest_part(memory: &impl GuestTables, entry: u64, level: u8, address: u64) -> Option<(HostPage, u8)> {
    let is_invalid = entry & large_reserved(level) != 0 && !mutant!(ReservedBitsTaken);
    if level == 4 || (level > 1 && is_invalid) {
        return None;
    }
    let offset = span(level) - 1;
    let page = entry & FRAME & !offset | address & offset;
    let mut part = level;
    while part > 0 {
        let bytes = span(part);
        if let Some(host) = memory.to_host(page & !(bytes - 1), bytes) {
            return Some((host.sized(bytes), part));
        }
        part -= 1;
    }
    None
}
