//! The usual fault, in few instructions: a page of 4 KiB of memory.
//!
//! It gives up before it loads anything; [`fill`](super::fill) then begins anew.

use super::super::bits::{ACCESSED, DIRTY, GLOBAL, NO_EXECUTE, PRESENT, USER, WRITABLE};
use super::super::index;
use super::super::memory::{GuestTables, ShadowTables, Table};
use super::super::walk::{Access, Nothing, Page, Passed, error, find, mark_tables};
use super::fill::Loaded;
use super::{COMMON, CachedRoot, MAX_ROOTS, MOST_TABLES_AT_ONCE, OWN, Shadow, TABLE_BITS};

/// The shadow leaf of a page whose entry is `marked`.
#[inline(always)]
fn leaf_entry<T>(page: &Page<T>, marked: u64, refusals: u64) -> u64 {
    let mut entry = page.host | PRESENT | USER | ACCESSED;
    if page.rights & WRITABLE != 0 && marked & DIRTY != 0 {
        entry |= WRITABLE | DIRTY;
    }
    entry | refusals & NO_EXECUTE
}

impl<T: ShadowTables> Shadow<T> {
    /// As [`Self::fault`].
    #[inline(always)]
    pub(super) fn fill_usual<'a, M: GuestTables>(
        &mut self,
        memory: &'a M,
        number: usize,
        address: u64,
        access: Access,
    ) -> Result<Loaded<M::Table<'a>>, Nothing> {
        let root = &self.roots[number % MAX_ROOTS];
        let guest_root = root.guest_root;
        let page = find(memory, guest_root, address, access)?;
        let slot = index(address, 4);
        let view = if access.is_user() {
            if self.is_common(slot) {
                return Err(Nothing::Fault(access.error_code(error::PRESENT)));
            }
            root.user
        } else {
            root.kernel
        };
        let directory = self.tables.read(view, slot);
        let mut refusals = page.refusals;
        if directory & (OWN | COMMON) != 0 {
            // Not executable for the kernel, leaf by leaf: the bit of user mode, moved.
            refusals |= (page.rights & USER) * (NO_EXECUTE / USER);
        } else if page.rights & USER == 0 {
            return Err(Nothing::Unusual);
        }
        let third = self.tables.table_below(directory).ok_or(Nothing::Unusual)?;
        let second = self.next_table(third, index(address, 3))?;
        let table = self.next_table(second, index(address, 2))?;
        let marked = page.mark(access).ok_or(Nothing::Unusual)?;
        if marked & GLOBAL != 0 && directory & COMMON == 0 {
            self.global_outside_common = true;
        }
        let entry = leaf_entry(&page, marked, refusals);
        self.tables.write(table, page.leaf.index, entry);
        Ok(Loaded { guest: Passed { entry: marked, ..page.leaf }, table, entry })
    }

    #[inline(always)]
    fn next_table(&self, above: Table, at: usize) -> Result<Table, Nothing> {
        self.tables.table_below(self.tables.read(above, at)).ok_or(Nothing::Unready)
    }

    /// Sees to it that the tables lead to the page that [`find`] found, in the guest, where they are marked, and in the
    /// view, where they are made. False: that takes more.
    #[cold]
    #[inline(never)]
    pub(super) fn make_ready(
        &mut self,
        memory: &impl GuestTables,
        number: usize,
        address: u64,
        access: Access,
    ) -> bool {
        let CachedRoot { guest_root, kernel, user, .. } = self.roots[number % MAX_ROOTS];
        // An access that is going to be refused leaves no marks.
        if access.is_user() && self.is_common(index(address, 4)) {
            return false;
        }
        // When tables are short, to get some might take those away that lead here.
        if self.pool.free_count() < MOST_TABLES_AT_ONCE || !mark_tables(memory, guest_root, address) {
            return false;
        }
        let view = if access.is_user() { user } else { kernel };
        let mut above = self.tables.read(view, index(address, 4));
        for level in [3, 2] {
            let Some(table) = self.tables.table_below(above) else { return false };
            above = self.tables.read(table, index(address, level));
            if above == 0 {
                let Some(below) = self.pool.take(level - 1) else { return false };
                above = self.tables.address(below) | TABLE_BITS;
                self.tables.write(table, index(address, level), above);
            }
        }
        true
    }
}
