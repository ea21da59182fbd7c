//! Walks of guest tables.
//!
//! The result is what hardware would have found (Intel SDM volume 3, 4.6 and 4.7): translation, or error code.
//! Every entry is loaded once and the copy is checked. Accessed bits are set on the way down, the dirty bit by
//! a write, both before the translation is used, so that the guest never sees a use without its mark.

use super::bits::{ACCESSED, DIRTY, FRAME, GLOBAL, LARGE, NO_EXECUTE, PRESENT, USER, WRITABLE};
use super::memory::GuestTables;
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
    };
}

/// What a walk passed on its way.
pub struct Path {
    /// What it found.
    pub translation: Translation,
    /// Places and entries by level, from the leaf's to the root's.
    entries: [(u64, u64); 4],
}

impl Path {
    /// Sets the accessed bits, and the dirty bit for a write. False: an entry changed meanwhile.
    fn mark(&self, memory: &impl GuestTables, access: Access) -> bool {
        let leaf = self.translation.level;
        (leaf..=4).rev().all(|level| {
            let (place, entry) = self.entries[usize::from(level) - 1];
            let wanted = if level == leaf && access.write { ACCESSED | DIRTY } else { ACCESSED };
            entry & wanted == wanted || memory.set_bits(place, entry, wanted)
        })
    }
}

/// A walk that leaves no marks, for an access that is not going to be made.
///
/// # Errors
/// As [`walk`].
pub fn look(memory: &impl GuestTables, root: u64, address: u64, access: Access) -> Result<Path, u64> {
    let fault = |cause| Err(access.error_code(cause));
    if !is_guest_address(address) {
        return fault(0);
    }
    let mut entries = [(0u64, 0u64); 4];
    let mut table = root & FRAME;
    let (mut writable, mut user, mut no_execute) = (true, true, false);
    let mut level = 4u8;
    let leaf = loop {
        let place = table + index(address, level) as u64 * 8;
        let Some(entry) = memory.load(place) else {
            return fault(error::PRESENT | error::RESERVED);
        };
        if entry & PRESENT == 0 {
            return fault(0);
        }
        entries[usize::from(level) - 1] = (place, entry);
        writable &= entry & WRITABLE != 0;
        user &= entry & USER != 0;
        no_execute |= entry & NO_EXECUTE != 0;
        let large = level > 1 && entry & LARGE != 0;
        if large && (level == 4 || entry & large_reserved(level) != 0) {
            return fault(error::PRESENT | error::RESERVED);
        }
        if large || level == 1 {
            break entry;
        }
        table = entry & FRAME;
        level -= 1;
    };
    let page = leaf & FRAME & !(span(level) - 1);
    if memory.to_host(page + (address & (span(level) - 1) & FRAME), 4096).is_none() {
        return fault(error::PRESENT | error::RESERVED);
    }
    let refused = (access.write && !writable)
        || (access.user && !user)
        || (access.execute && (no_execute || (!access.user && user)));
    if refused {
        return fault(error::PRESENT);
    }
    let translation = Translation {
        page,
        level,
        writable,
        user,
        no_execute,
        dirty: access.write || leaf & DIRTY != 0,
        global: leaf & GLOBAL != 0,
    };
    Ok(Path { translation, entries })
}
