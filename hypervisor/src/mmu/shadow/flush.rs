//! Flush: what the guest wants forgotten is forgotten, here and in the hardware; more may be.

use super::super::memory::{ShadowTables, Table};
use super::super::{index, span};
use super::{CachedRoot, MAX_PARTS_IN_ALL_ROOTS, MAX_PARTS_ONE_BY_ONE, MAX_ROOTS, OWN, PIECES, Shadow};

impl<T: ShadowTables> Shadow<T> {
    /// Drops the translation of the page at `address` in root `number`, and in every root if it may be global.
    #[inline(never)]
    pub fn flush_page(&mut self, number: usize, address: u64) {
        if let Some(table) = self.only_table_of(number, address) {
            self.tables.write(table, index(address, 1), 0);
        } else if self.drop_part(number, address, 1) {
            return self.tables.flush_all();
        }
        self.tables.flush_page(address);
    }

    /// The table of 4 KiB leaves for `address`, if there is one and no other place holds a translation of it.
    #[inline(always)]
    fn only_table_of(&self, number: usize, address: u64) -> Option<Table> {
        let below = |entry: u64| if entry & PIECES == 0 { self.tables.table_below(entry) } else { None };
        if self.global_outside_common || mutant!(any) {
            return None;
        }
        let CachedRoot { kernel, user, .. } = self.roots[number % MAX_ROOTS];
        let slot = index(address, 4);
        let directory = self.tables.read(kernel, slot);
        // What is not the view's own is borrowed from the user view, or common.
        if directory & OWN != 0 && self.tables.read(user, slot) != 0 {
            return None;
        }
        let third = self.tables.table_below(directory)?;
        let second = below(self.tables.read(third, index(address, 3)))?;
        below(self.tables.read(second, index(address, 2)))
    }

    /// Drops what is cached of the part of `level` around `address`, in every root if it may be global. True: tables went
    /// with it, which the hardware may have cached.
    fn drop_part(&mut self, number: usize, address: u64, level: u8) -> bool {
        if !self.global_outside_common || mutant!(GlobalFlushedInOneRoot) {
            return self.drop_part_in(number, address, level);
        }
        let mut had_tables = false;
        for number in 0..MAX_ROOTS {
            if !self.roots[number].is_stale() {
                had_tables |= self.drop_part_in(number, address, level);
            }
        }
        had_tables
    }

    /// Whether a page is flushed in every root, which takes as much longer as there are roots.
    pub fn flushes_pages_in_all_roots(&self) -> bool {
        self.global_outside_common
    }

    /// The same in both views of a root.
    fn drop_part_in(&mut self, number: usize, address: u64, level: u8) -> bool {
        let CachedRoot { kernel, user, .. } = *self.root(number);
        let slot = index(address, 4);
        // A root need not be linked to all common subtrees.
        let view = if self.is_common(slot) { self.common.unwrap_or(kernel) } else { kernel };
        if self.is_common(slot) && mutant!(CommonSlotNotFlushed) {
            return false;
        }
        let entry = self.tables.read(view, slot);
        let had_tables = self.drop_below(entry, address, level);
        // What is not the view's own is borrowed from the user view, or common.
        entry & OWN != 0 && self.drop_below(self.tables.read(user, slot), address, level) || had_tables
    }

    /// The same in the subtree of a PML4 entry, if it leads to one. What the guest has as one page goes as a whole.
    fn drop_below(&mut self, mut entry: u64, address: u64, level: u8) -> bool {
        let mut at_level = 4;
        while let Some(table) = self.tables.table_below(entry) {
            at_level -= 1;
            let at = index(address, at_level);
            entry = self.tables.read(table, at);
            if at_level == level || entry & PIECES != 0 || self.tables.table_below(entry).is_none() {
                return self.drop_at(table, at);
            }
        }
        false
    }

    /// Drops the translations of `bytes` from `address` in root `number`. A cache may always drop more than it must: the
    /// longer the range, the larger the parts, so that it takes no longer.
    pub fn flush_range(&mut self, number: usize, address: u64, bytes: u64) {
        let last = address.saturating_add(bytes.saturating_sub(1));
        // A part that concerns every root is as long as many that do not.
        let most = if self.global_outside_common { MAX_PARTS_IN_ALL_ROOTS } else { MAX_PARTS_ONE_BY_ONE };
        for level in 1..=3 {
            let first = address & !(span(level) - 1);
            let parts = (last - first) / span(level);
            if parts < most {
                for part in 0..parts + 1 {
                    self.flush_part(number, first + part * span(level), level);
                }
                return;
            }
        }
        self.flush_all(number, true);
    }

    fn flush_part(&mut self, number: usize, address: u64, level: u8) {
        if level == 1 {
            self.flush_page(number, address);
        } else {
            self.drop_part(number, address, level);
            self.tables.flush_all();
        }
    }

    /// Drops all translations of root `number`; `every_root`: of all roots and of the common slots.
    #[inline(never)]
    pub fn flush_all(&mut self, number: usize, every_root: bool) {
        if every_root {
            self.drop_common();
        }
        self.drop_trees(number);
    }
}
