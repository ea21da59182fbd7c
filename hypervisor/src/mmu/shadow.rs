//! Cached shadow roots in two views.
//!
//! A guest root has two shadow PML4s: the *kernel view* maps everything the guest kernel may touch, the *user
//! view* only pages that are user pages at every level. Per PML4 slot the two are related in one of these ways:
//!
//! * nothing cached;
//! * **borrowed**: the user view's subtree, linked into the kernel view with no-execute: one set of leaves
//!   serves both, and the guest kernel cannot execute user pages (SMEP for guests, at no cost);
//! * **own**: the kernel view has a subtree of its own, because it holds supervisor leaves. User leaves in it
//!   carry no-execute one by one;
//! * **common**: declared by the guest to be equal in all roots and kernel memory: one subtree for all roots.
//!
//! In hardware every leaf is a user page, because guest kernels run in ring 3 too; rights come from the leaves,
//! upper entries allow everything. Leaves never carry G.

#[cfg(any(test, feature = "fuzzing"))]
mod audit;
mod boot;
mod common;
mod fill;
mod flush;

use super::bits::{ACCESSED, PRESENT, USER, WRITABLE};
use super::memory::{ShadowTables, Table};
use super::pool::{KINDS, Pool};
use super::walk::Path;

/// Roots cached per domain.
pub const MAX_ROOTS: usize = 64;
/// vCPUs per domain.
const MAX_VCPUS: usize = system_image::layout::MAX_VCPUS;
/// Tables that a fill takes at most, and a root load.
const MOST_TABLES_AT_ONCE: usize = 4;
/// Common slots that a domain may declare.
pub const MAX_COMMON_SLOTS: usize = 64;
/// Most parts in which a range is flushed; for longer ones the parts are larger.
const MAX_PARTS_ONE_BY_ONE: u64 = 64;
/// The same where each is looked for in every root.
const MAX_PARTS_IN_ALL_ROOTS: u64 = 4;

const TABLE_BITS: u64 = PRESENT | WRITABLE | USER | ACCESSED;
/// Kinds of kernel-view PML4 entries, and of those of all tables below; the user view's have neither bit.
const OWN: u64 = 1 << 9;
const COMMON: u64 = 1 << 10;
const _: () = assert!(KINDS == OWN | COMMON);
/// Software bit in an entry at whose level the guest has a leaf that was loaded in smaller pieces: a flush of any
/// address in it drops them all.
const PIECES: u64 = 1 << 11;

/// Why a fault or call could not be served.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Failure {
    /// The guest's tables do not allow the access: deliver a page fault with this error code.
    Fault(u64),
    /// The pool is too small for even one root.
    PoolExhausted,
}

/// A guest root and its two shadow PML4s.
#[derive(Clone, Copy, Debug)]
struct CachedRoot {
    /// [`NO_ROOT`]: this place is not in use.
    guest_root: u64,
    kernel: Table,
    user: Table,
    last_used: u64,
    /// Value of `common_changes` when the common slots were linked; or [`STALE`].
    linked: u64,
    vcpu: u32,
}

/// No page has this address.
const NO_ROOT: u64 = u64::MAX;
/// The root was flushed while it was not loaded and is dropped when it is loaded next: its common slots may be linked
/// to tables that are gone. No count of changes ever gets here.
const STALE: u64 = u64::MAX;
/// In place of a root's number.
const NO_NUMBER: u8 = u8::MAX;

impl CachedRoot {
    fn is_in_use(&self) -> bool {
        self.guest_root != NO_ROOT
    }

    fn is_stale(&self) -> bool {
        self.linked == STALE
    }
}

/// A bitmap of PML4 slots.
type Slots = [u64; 8];

const NO_SLOTS: Slots = [0; 8];

/// A loaded root: what a vCPU needs to run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(C)]
pub struct LoadedRoot {
    /// Index in the cache.
    pub number: usize,
    /// Host-physical address of the kernel view's PML4.
    pub kernel: u64,
    /// Host-physical address of the user view's PML4.
    pub user: u64,
    /// Guest-physical address of the guest's own.
    pub guest: u64,
}

/// All cached translations of a domain. In this order, so that what is used most is near: an access to what is not takes a
/// longer instruction.
#[derive(Debug)]
#[repr(C)]
pub struct Shadow<T> {
    pool: Pool,
    /// A PML4 that is never loaded: holds the common subtrees, those that were needed so far.
    common: Option<Table>,
    /// Common subtrees made so far: a root that was linked before the last one lacks some.
    common_changes: u64,
    clock: u64,
    /// A global leaf was loaded outside the common slots, so page flushes concern every root.
    global_outside_common: bool,
    /// The root that each vCPU loaded last, which may be in its CPU's CR3: it is neither evicted nor released.
    loaded: [u8; MAX_VCPUS],
    tables: T,
    /// The tables that the last fill passed; here, because nothing need clear it.
    path: Path,
    common_slots: Slots,
    /// Where a root may be found, by a few bits of its address.
    hints: [u8; MAX_ROOTS],
    roots: [CachedRoot; MAX_ROOTS],
    /// The translation loaded last, for a mutant that loads it again.
    #[cfg(feature = "mutants")]
    last_loaded: Option<(usize, u64, bool, super::walk::Translation)>,
}

impl LoadedRoot {
    /// No root is loaded: the domain has not begun yet, or begins anew.
    pub const NONE: Self = Self { number: 0, kernel: 0, user: 0, guest: 0 };

    /// Whether it is not [`Self::NONE`]: no table is at address 0.
    #[must_use]
    pub const fn is_loaded(&self) -> bool {
        self.kernel != 0
    }
}

impl<T: ShadowTables> Shadow<T> {
    /// The pages behind the tables, for tests and statistics.
    pub fn tables(&self) -> &T {
        &self.tables
    }

    fn is_common(&self, slot: usize) -> bool {
        is_in(&self.common_slots, slot)
    }

    // --- Roots ---------------------------------------------------------------------------------------------

    /// Makes `guest_root` loadable by `vcpu`. `keep`: translations cached from earlier stay.
    ///
    /// # Errors
    /// [`Failure::PoolExhausted`].
    pub fn load_root(&mut self, guest_root: u64, vcpu: u32, keep: bool) -> Result<LoadedRoot, Failure> {
        let number = match self.find(guest_root, vcpu) {
            Some(number) => {
                if !keep || self.roots[number].is_stale() {
                    self.drop_trees(number);
                } else if self.roots[number].linked != self.common_changes {
                    self.link_common(number);
                }
                number
            }
            None => self.new_root(guest_root, vcpu).ok_or(Failure::PoolExhausted)?,
        };
        self.hints[Self::hint(guest_root)] = number as u8;
        Ok(self.use_root(number, vcpu))
    }

    /// The same, keeping, if the root is where it is looked for first and nothing is to be done to it.
    #[inline(always)]
    pub fn load_cached_root(&mut self, guest_root: u64, vcpu: u32) -> Option<LoadedRoot> {
        let number = usize::from(self.hints[Self::hint(guest_root)]) % MAX_ROOTS;
        let CachedRoot { guest_root: cached, vcpu: its_vcpu, linked, .. } = self.roots[number];
        // A place that is not in use is stale as well.
        let is_ready = cached == guest_root && its_vcpu == vcpu && linked == self.common_changes;
        is_ready.then(|| self.use_root(number, vcpu))
    }

    #[inline(always)]
    fn use_root(&mut self, number: usize, vcpu: u32) -> LoadedRoot {
        self.loaded[vcpu as usize % MAX_VCPUS] = number as u8;
        self.clock += 1;
        let root = &mut self.roots[number];
        root.last_used = self.clock;
        let (kernel, user) = (self.tables.address(root.kernel), self.tables.address(root.user));
        LoadedRoot { number, kernel, user, guest: root.guest_root }
    }

    fn hint(guest_root: u64) -> usize {
        (guest_root >> 12) as usize % MAX_ROOTS
    }

    /// Whether a vCPU loaded it last.
    #[inline(never)]
    fn is_loaded(&self, number: usize) -> bool {
        self.loaded.contains(&(number as u8))
    }

    /// The place of a cached root.
    fn find(&self, guest_root: u64, vcpu: u32) -> Option<usize> {
        self.roots.iter().position(|root| root.guest_root == guest_root && root.vcpu == vcpu)
    }

    fn new_root(&mut self, guest_root: u64, vcpu: u32) -> Option<usize> {
        let number = match self.roots.iter().position(|root| !root.is_in_use()) {
            Some(number) => number,
            None => self.evict()?,
        };
        self.reserve(2)?;
        let (kernel, user) = (self.new_view(OWN)?, self.new_view(0)?);
        let root = self.root(number);
        (root.guest_root, root.vcpu, root.last_used) = (guest_root, vcpu, 0);
        (root.kernel, root.user) = (kernel, user);
        self.link_common(number);
        Some(number)
    }

    fn new_view(&mut self, kind: u64) -> Option<Table> {
        let table = self.pool.take(4, kind)?;
        self.tables.map_hypervisor(table);
        Some(table)
    }

    /// Forgets `guest_root` on all vCPUs. It must not be loaded; one that is loaded is left alone and false
    /// is returned.
    pub fn release_root(&mut self, guest_root: u64) -> bool {
        for number in 0..MAX_ROOTS {
            if self.roots[number].guest_root == guest_root {
                if self.is_loaded(number) {
                    return false;
                }
                self.forget(number);
            }
        }
        true
    }

    /// Frees a root's place; its tables become dropped ones.
    fn forget(&mut self, number: usize) {
        for loaded in &mut self.loaded {
            if usize::from(*loaded) == number {
                *loaded = NO_NUMBER;
            }
        }
        let root = self.root(number);
        (root.guest_root, root.linked) = (NO_ROOT, STALE);
        let CachedRoot { kernel, user, .. } = *root;
        self.pool.drop_subtree(kernel);
        self.pool.drop_subtree(user);
    }

    /// Forgets one root, loaded or not, and when there is none the common slots; for a domain that begins anew, on
    /// whose CPU none of its roots is loaded any more. False: there is nothing left.
    pub fn forget_one(&mut self) -> bool {
        if let Some(number) = self.roots.iter().position(CachedRoot::is_in_use) {
            self.forget(number);
            return true;
        }
        let is_left = self.common.is_some();
        self.drop_common();
        // Where the compiler knows the address, it stores each word at ten bytes of it.
        core::hint::black_box(&mut self.common_slots).copy_from_slice(&NO_SLOTS);
        is_left
    }

    /// Forgets the root used longest ago, but none that is loaded.
    fn evict(&mut self) -> Option<usize> {
        let (mut oldest, mut last_used) = (MAX_ROOTS, u64::MAX);
        for number in 0..MAX_ROOTS {
            let root = &self.roots[number];
            if root.last_used < last_used && root.is_in_use() && !self.is_loaded(number) {
                (oldest, last_used) = (number, root.last_used);
            }
        }
        if oldest == MAX_ROOTS {
            return None;
        }
        self.forget(oldest);
        Some(oldest)
    }

    /// Drops all translations of a root but those of common slots.
    fn drop_trees(&mut self, number: usize) {
        self.empty(number);
        self.link_common(number);
    }

    /// Drops all translations of a root, links to common subtrees included.
    #[inline(never)]
    fn empty(&mut self, number: usize) {
        let CachedRoot { kernel, user, .. } = *self.root(number);
        self.pool.clear(&mut self.tables, kernel);
        self.pool.clear(&mut self.tables, user);
        self.tables.flush_all();
    }

    /// Clears an entry, and drops the subtree that it leads to, if it does.
    #[inline(never)]
    fn drop_at(&mut self, table: Table, index: usize) -> bool {
        let below = self.tables.table_below(self.tables.read(table, index));
        self.tables.write(table, index, 0);
        below.map(|below| self.pool.drop_subtree(below)).is_some()
    }

    /// The root in a place. No number is larger than the cache: the compiler only does not know.
    fn root(&mut self, number: usize) -> &mut CachedRoot {
        &mut self.roots[number % MAX_ROOTS]
    }

    // --- Memory --------------------------------------------------------------------------------------------

    /// Sees to it that `count` tables can be taken: reclaims dropped ones, then roots that are not loaded, then
    /// what the loaded roots and the common slots cache. `None`: the pool is too small, as with all that takes tables.
    #[inline(never)]
    fn reserve(&mut self, count: usize) -> Option<()> {
        while self.pool.free_count() < count {
            if self.pool.reclaim_one(&mut self.tables) || self.evict().is_some() {
                continue;
            }
            self.drop_common();
            if !self.pool.reclaim_one(&mut self.tables) {
                return None;
            }
        }
        Some(())
    }

    /// Zeroes one dropped table, for idle time. False: there is none.
    pub fn reclaim_one(&mut self) -> bool {
        self.pool.reclaim_one(&mut self.tables)
    }
}

/// Whether a slot is in a bitmap.
fn is_in(slots: &Slots, slot: usize) -> bool {
    slots[slot / 64 % 8] >> (slot % 64) & 1 != 0
}
