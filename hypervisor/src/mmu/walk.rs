//! Walks of guest tables.
//!
//! The result is what hardware would have found (Intel SDM volume 3, 4.6 and 4.7): translation, or error code.
//! Every entry is loaded once and the copy is checked. Accessed bits are set on the way down, the dirty bit by
//! a write, both before the translation is used, so that the guest never sees a use without its mark.

use super::bits::{ACCESSED, DIRTY, FRAME, GLOBAL, LARGE, NO_EXECUTE, PRESENT, USER, WRITABLE};
use super::memory::{GuestTables, HostPage, PageKind};
use super::{index, is_guest_address, span};

/// An access to guest-virtual memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Access {
    /// It writes.
    pub write: bool,
    /// It comes from virtual user mode.
    pub user: bool,
    /// It fetches an instruction.
    pub execute: bool,
}

/// Page-fault error code bits (Intel SDM volume 3, 4.7).
#[allow(missing_docs, reason = "named as the manual names them")]
pub mod error {
    pub const PRESENT: u64 = 1;
    pub const WRITE: u64 = 1 << 1;
    pub const USER: u64 = 1 << 2;
    pub const RESERVED: u64 = 1 << 3;
    pub const FETCH: u64 = 1 << 4;
}

impl Access {
    /// A load by the guest kernel.
    pub const KERNEL_READ: Self = Self { write: false, user: false, execute: false };
    /// A store by the guest kernel.
    pub const KERNEL_WRITE: Self = Self { write: true, user: false, execute: false };

    /// From the hardware's error code and the virtual mode.
    #[must_use]
    pub const fn from_error_code(code: u64, user: bool) -> Self {
        Self { write: code & error::WRITE != 0, user, execute: code & error::FETCH != 0 }
    }

    /// The error code that the guest sees when this access fails with `cause` bits.
    #[must_use]
    pub const fn error_code(self, cause: u64) -> u64 {
        let mut code = cause;
        if self.write {
            code |= error::WRITE;
        }
        if self.user {
            code |= error::USER;
        }
        if self.execute {
            code |= error::FETCH;
        }
        code
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

/// Walks the tables at `root` for `address`. The error is the page fault's error code.
///
/// # Errors
/// The error code, as hardware would push it.
pub fn walk(memory: &impl GuestTables, root: u64, address: u64, access: Access) -> Result<Translation, u64> {
    // An entry may change under the walk; then it starts again, as hardware does. A guest that keeps changing it
    // from another vCPU only delays itself: after a few rounds the fault is simply taken once more.
    for _ in 0..4 {
        let path = look(memory, root, address, access)?;
        if path.mark(memory, access) {
            return Ok(path.translation);
        }
    }
    Ok(Translation::NONE)
}

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

/// What a walk passed on its way.
pub struct Path {
    /// What it found.
    pub translation: Translation,
    /// Places and entries by level, from the leaf's to the root's; those below the leaf say nothing.
    entries: [Passed; 4],
}

/// An entry, and where it stands.
#[derive(Clone, Copy)]
struct Passed {
    place: u64,
    entry: u64,
}

const NOTHING: Passed = Passed { place: 0, entry: u64::MAX };

impl Path {
    /// Sets the accessed bits, and the dirty bit for a write. False: an entry changed meanwhile.
    #[inline]
    fn mark(&self, memory: &impl GuestTables, access: Access) -> bool {
        let all = self.entries.iter().fold(u64::MAX, |all, passed| all & passed.entry);
        let is_marked = all & ACCESSED != 0 && (self.translation.dirty_in_leaf(self) || !access.write);
        is_marked || self.mark_each(memory, access)
    }

    #[inline(never)]
    fn mark_each(&self, memory: &impl GuestTables, access: Access) -> bool {
        let leaf = self.translation.level;
        (leaf..=4).rev().all(|level| {
            let Passed { place, entry } = self.entries[usize::from(level) - 1];
            let wanted = if level == leaf && access.write { ACCESSED | DIRTY } else { ACCESSED };
            entry & wanted == wanted || memory.set_bits(place, entry, wanted)
        })
    }
}

impl Translation {
    fn dirty_in_leaf(&self, path: &Path) -> bool {
        path.entries[(usize::from(self.level) - 1) & 3].entry & DIRTY != 0
    }
}

/// The entry for `address` in the table of `LEVEL` at `table`, which is present; or the cause of the fault.
#[inline(always)]
fn entry_at<const LEVEL: u8>(memory: &impl GuestTables, table: u64, address: u64) -> Result<Passed, u64> {
    let place = (table & FRAME) + index(address, LEVEL) as u64 * 8;
    let entry = memory.load(place).ok_or(error::PRESENT | error::RESERVED)?;
    if entry & PRESENT != 0 { Ok(Passed { place, entry }) } else { Err(0) }
}

/// The entries on the way to the leaf, and the leaf's level; or the cause of the fault.
#[inline(always)]
fn descend(memory: &impl GuestTables, root: u64, address: u64) -> Result<([Passed; 4], u8), u64> {
    let fourth = entry_at::<4>(memory, root, address)?;
    if fourth.entry & LARGE != 0 {
        return Err(error::PRESENT | error::RESERVED);
    }
    let third = entry_at::<3>(memory, fourth.entry, address)?;
    if third.entry & LARGE != 0 {
        return large([NOTHING, NOTHING, third, fourth], 3);
    }
    let second = entry_at::<2>(memory, third.entry, address)?;
    if second.entry & LARGE != 0 {
        return large([NOTHING, second, third, fourth], 2);
    }
    let first = entry_at::<1>(memory, second.entry, address)?;
    Ok(([first, second, third, fourth], 1))
}

#[inline(never)]
fn large(entries: [Passed; 4], level: u8) -> Result<([Passed; 4], u8), u64> {
    let is_valid = entries[usize::from(level) - 1].entry & large_reserved(level) == 0;
    if is_valid { Ok((entries, level)) } else { Err(error::PRESENT | error::RESERVED) }
}

/// A walk that leaves no marks, for an access that is not going to be made.
///
/// # Errors
/// As [`walk`].
pub fn look(memory: &impl GuestTables, root: u64, address: u64, access: Access) -> Result<Path, u64> {
    let fault = |cause| access.error_code(cause);
    if !is_guest_address(address) {
        return Err(fault(0));
    }
    let (entries, level) = descend(memory, root, address).map_err(fault)?;
    let [first, second, third, fourth] = entries.map(|passed| passed.entry);
    // What every entry allows, and what one of them refuses; those that say nothing allow everything.
    let rights = first & second & third & fourth;
    let refusals = match level {
        1 => first | second | third | fourth,
        2 => second | third | fourth,
        _ => third | fourth,
    };
    let (writable, user) = (rights & WRITABLE != 0, rights & USER != 0);
    let no_execute = refusals & NO_EXECUTE != 0;
    let leaf = entries[(usize::from(level) - 1) & 3].entry;
    let offset = address & (span(level) - 1);
    let page = leaf & FRAME & !(span(level) - 1);
    let Some(host) = memory.to_host(page + (offset & FRAME), 4096) else {
        return Err(fault(error::PRESENT | error::RESERVED));
    };
    let refused = (access.write && !writable)
        || (access.user && !user)
        || (access.execute && (no_execute || (!access.user && user)));
    if refused {
        return Err(fault(error::PRESENT));
    }
    let translation = Translation {
        page,
        level,
        writable,
        user,
        no_execute,
        dirty: access.write || leaf & DIRTY != 0,
        global: leaf & GLOBAL != 0,
        host,
    };
    Ok(Path { translation, entries })
}
