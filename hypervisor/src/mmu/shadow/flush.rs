//! Flush: what the guest wants forgotten is forgotten, here and in the hardware; more may be.

use super::super::bits::{LARGE, PRESENT};
use super::super::memory::{ShadowTables, Table};
use super::super::{HYPERVISOR_FIRST_SLOT, HYPERVISOR_SLOTS, index, span};
use super::{
    CachedRoot, MAX_PARTS_IN_ALL_ROOTS, MAX_PARTS_ONE_BY_ONE, MAX_ROOTS, OWN, PIECES, STALE, Shadow,
};

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
    #[inline(never)]
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
        let slot = index(address, 4);
        let CachedRoot { kernel, user, .. } = self.roots[number % MAX_ROOTS];
        if slot.wrapping_sub(HYPERVISOR_FIRST_SLOT) < HYPERVISOR_SLOTS {
            return false;
        }
        if self.is_common(slot) {
            if mutant!(CommonSlotNotFlushed) {
                return false;
            }
            // A root need not be linked to all common subtrees.
            let common = self.common.unwrap_or(kernel);
            return self.drop_below(self.entry_of(common, slot), address, level);
        }
        let user_entry = self.entry_of(user, slot);
        let kernel_entry = self.entry_of(kernel, slot);
        // Otherwise it is the user view's subtree, or nothing.
        let had_tables = kernel_entry & OWN != 0 && self.drop_below(kernel_entry, address, level);
        self.drop_below(user_entry, address, level) | had_tables
    }

    /// The same in the subtree of a PML4 entry. What the guest has as one page goes as a whole.
    fn drop_below(&mut self, entry: u64, address: u64, level: u8) -> bool {
        if entry & PRESENT == 0 {
            return false;
        }
        let mut table = self.tables.table_at(entry);
        for at_level in [3, 2] {
            let at = index(address, at_level);
            let entry = self.tables.read(table, at);
            if at_level == level || entry & (PRESENT | LARGE | PIECES) != PRESENT {
                let was_table = entry & (PRESENT | LARGE) == PRESENT;
                if entry & PRESENT != 0 {
                    self.tables.write(table, at, 0);
                }
                self.drop_below_entry(entry);
                return was_table;
            }
            table = self.tables.table_at(entry);
        }
        self.tables.write(table, index(address, 1), 0);
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
                (0..=parts).for_each(|part| self.flush_part(number, first + part * span(level), level));
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
    pub fn flush_all(&mut self, number: usize, every_root: bool) {
        if every_root {
            for root in self.roots.iter_mut() {
                root.linked = STALE;
            }
            self.drop_common();
            self.global_outside_common = false;
        }
        self.drop_trees(number);
    }
}
