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
// Inlined, so that what it passes stays in registers: a fault is mostly this.
#[inline(always)]
pub fn walk(memory: &impl GuestTables, root: u64, address: u64, access: Access) -> Result<Path, u64> {
    // An entry may change under the walk; then it starts again, as hardware does. A guest that keeps changing it
    // from another vCPU only delays itself: after a few rounds the fault is simply taken once more.
    for _ in 0..4 {
        let path = look(memory, root, address, access)?;
        let access = Access { write: access.write || mutant!(DirtyTooEarly), ..access };
        if mutant!(AccessedLost) || path.mark(memory, access) {
            return Ok(path);
        }
    }
    Ok(Path { translation: Translation::NONE, leaf: NOTHING, upper: [NOTHING; 3] })
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
#[derive(Clone, Copy, Debug)]
pub struct Path {
    /// What it found.
    pub translation: Translation,
    leaf: Passed,
    /// Those above the leaf, the lowest first; where there is none, nothing that counts.
    upper: [Passed; 3],
}

/// An entry, and where it stands.
#[derive(Clone, Copy, Debug)]
struct Passed {
    place: u64,
    entry: u64,
}

/// It is marked and allows everything.
const NOTHING: Passed = Passed { place: 0, entry: !NO_EXECUTE };

impl Path {
    /// The translation of the page that is `pages` further in the same table, for a read by the kernel, and marked so.
    /// `None`: there is none, or it takes a walk to tell.
    #[inline(always)]
    pub fn neighbour(&self, memory: &impl GuestTables, pages: u64) -> Option<Translation> {
        let place = self.leaf.place + pages * 8;
        if self.translation.level != 1 || (place ^ self.leaf.place) >> 12 != 0 {
            return None;
        }
        let entry = memory.load(place)?;
        if entry & PRESENT == 0 {
            return None;
        }
        let host = memory.to_host(entry & FRAME, 4096)?;
        if entry & ACCESSED == 0 && !memory.set_bits(place, entry, ACCESSED) {
            return None;
        }
        Some(translation(Passed { place, entry }, self.upper, 1, 0, host))
    }

    /// Sets the accessed bits, and the dirty bit for a write. False: an entry changed meanwhile.
    #[inline(always)]
    fn mark(&self, memory: &impl GuestTables, access: Access) -> bool {
        let of_leaf = if access.write { ACCESSED | DIRTY } else { ACCESSED };
        let [second, third, fourth] = self.upper;
        self.leaf.mark(memory, of_leaf)
            && second.mark(memory, ACCESSED)
            && third.mark(memory, ACCESSED)
            && fourth.mark(memory, ACCESSED)
    }
}

impl Passed {
    #[inline(always)]
    fn mark(self, memory: &impl GuestTables, wanted: u64) -> bool {
        self.entry & wanted == wanted || memory.set_bits(self.place, self.entry, wanted)
    }
}

/// The entry for `address` in the table of `LEVEL` at `table`, which is present; or the cause of the fault.
#[inline(always)]
fn entry_at<const LEVEL: u8>(memory: &impl GuestTables, table: u64, address: u64) -> Result<Passed, u64> {
    let place = (table & FRAME) + index(address, LEVEL) as u64 * 8;
    let entry = memory.load(place).ok_or(error::PRESENT | error::RESERVED)?;
    let cause = if mutant!(AbsentShownPresent) { error::PRESENT } else { 0 };
    if entry & PRESENT != 0 { Ok(Passed { place, entry }) } else { Err(cause) }
}

/// The leaf, what is above it, and its level; or the cause of the fault.
#[inline(always)]
fn descend(memory: &impl GuestTables, root: u64, address: u64) -> Result<(Passed, [Passed; 3], u8), u64> {
    const RESERVED: u64 = error::PRESENT | error::RESERVED;
    let fourth = entry_at::<4>(memory, root, address)?;
    if fourth.entry & LARGE != 0 {
        return Err(RESERVED);
    }
    let third = entry_at::<3>(memory, fourth.entry, address)?;
    if third.entry & LARGE != 0 {
        let is_valid = third.entry & large_reserved(3) == 0;
        return if is_valid { Ok((third, [fourth, NOTHING, NOTHING], 3)) } else { Err(RESERVED) };
    }
    let second = entry_at::<2>(memory, third.entry, address)?;
    if second.entry & LARGE != 0 {
        let is_valid = second.entry & large_reserved(2) == 0 || mutant!(ReservedBitsTaken);
        return if is_valid { Ok((second, [third, fourth, NOTHING], 2)) } else { Err(RESERVED) };
    }
    let first = entry_at::<1>(memory, second.entry, address)?;
    Ok((first, [second, third, fourth], 1))
}

#[inline(always)]
fn translation(leaf: Passed, upper: [Passed; 3], level: u8, page_mask: u64, host: HostPage) -> Translation {
    let [second, third, fourth] = upper.map(|passed| passed.entry);
    let rights = leaf.entry & second & third & fourth;
    let refusals = leaf.entry | second | third | fourth;
    Translation {
        page: leaf.entry & FRAME & !page_mask,
        level,
        writable: rights & WRITABLE != 0,
        user: rights & USER != 0,
        no_execute: refusals & NO_EXECUTE != 0,
        dirty: leaf.entry & DIRTY != 0,
        global: leaf.entry & GLOBAL != 0,
        host,
    }
}

/// A walk that leaves no marks, for an access that is not going to be made.
///
/// # Errors
/// As [`walk`].
#[inline(always)]
pub fn look(memory: &impl GuestTables, root: u64, address: u64, access: Access) -> Result<Path, u64> {
    let fault = |cause| access.error_code(cause);
    if !is_guest_address(address) {
        return Err(fault(if mutant!(ReservedShownPresent) { error::PRESENT } else { 0 }));
    }
    let (leaf, upper, level) = descend(memory, root, address).map_err(fault)?;
    let page_mask = span(level) - 1;
    let at = (leaf.entry & FRAME & !page_mask) + (address & page_mask & FRAME);
    let Some(host) = memory.to_host(at, 4096) else {
        return Err(fault(error::PRESENT | error::RESERVED));
    };
    let mut translation = translation(leaf, upper, level, page_mask, host);
    translation.writable |= mutant!(UpperRightsIgnored) && leaf.entry & WRITABLE != 0;
    translation.user |= mutant!(UserViewShowsKernel) && access.user;
    let Translation { writable, user, no_execute, .. } = translation;
    let refused = (access.write && !writable)
        || (access.user && !user)
        || (access.execute && (no_execute || (!access.user && user)));
    let refused = refused && !(mutant!(KernelRunsUserPages) && access.execute && !access.user && !no_execute);
    if refused && mutant!(RefusedMarks) {
        memory.set_bits(leaf.place, leaf.entry, ACCESSED);
    }
    if refused {
        return Err(fault(error::PRESENT));
    }
    translation.dirty |= access.write;
    Ok(Path { translation, leaf, upper })
}
