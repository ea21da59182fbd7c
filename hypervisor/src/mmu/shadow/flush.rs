//! Flush: what the guest wants forgotten is forgotten, here and in the hardware; more may be.

use super::super::bits::{LARGE, PRESENT};
use super::super::memory::{ShadowTables, Table};
use super::super::{HYPERVISOR_FIRST_SLOT, HYPERVISOR_SLOTS, index};
use super::{
    CachedRoot, MAX_PAGES_IN_ALL_ROOTS, MAX_PAGES_ONE_BY_ONE, MAX_ROOTS, OWN, PIECES, STALE, Shadow,
};

impl<T: ShadowTables> Shadow<T> {
    /// Drops the translation of the page at `address` in root `number`, and in every root if it may be global.
    #[inline(always)]
    pub fn flush_page(&mut self, number: usize, address: u64) {
        match self.only_table_of(number, address) {
            Some(table) => {
                self.tables.write(table, index(address, 1), 0);
                self.tables.flush_page(address);
            }
            None => self.flush_anywhere(number, address),
        }
    }

    /// The table of 4 KiB leaves for `address`, if there is one and no other place holds a translation of it.
    #[inline(always)]
    fn only_table_of(&self, number: usize, address: u64) -> Option<Table> {
        let below = |entry: u64, otherwise: u64| {
            if entry & otherwise == 0 { self.tables.table_below(entry) } else { None }
        };
        if self.global_outside_common || mutant!(any) {
            return None;
        }
        // What is not the view's own is borrowed from the user view, or common.
        let directory = self.tables.read(self.roots[number % MAX_ROOTS].kernel, index(address, 4));
        let third = below(directory, OWN)?;
        let second = below(self.tables.read(third, index(address, 3)), PIECES)?;
        below(self.tables.read(second, index(address, 2)), PIECES)
    }

    #[inline(never)]
    fn flush_anywhere(&mut self, number: usize, address: u64) {
        let had_pieces = if self.global_outside_common && !mutant!(GlobalFlushedInOneRoot) {
            self.forget_page_everywhere(address)
        } else {
            self.forget_page(number, address)
        };
        if had_pieces {
            self.tables.flush_all();
        } else {
            self.tables.flush_page(address);
        }
    }

    fn forget_page_everywhere(&mut self, address: u64) -> bool {
        let mut had_pieces = false;
        for number in 0..MAX_ROOTS {
            if !self.roots[number].is_stale() {
                had_pieces |= self.forget_page(number, address);
            }
        }
        had_pieces
    }

    /// Whether a page is flushed in every root, which takes as much longer as there are roots.
    pub fn flushes_pages_in_all_roots(&self) -> bool {
        self.global_outside_common
    }

    /// Clears the leaves of `address` in both views of a root. True: the guest's page was cached in pieces, which
    /// are dropped, and the hardware may have cached any of them.
    fn forget_page(&mut self, number: usize, address: u64) -> bool {
        let slot = index(address, 4);
        let CachedRoot { kernel, user, .. } = self.roots[number];
        if slot.wrapping_sub(HYPERVISOR_FIRST_SLOT) < HYPERVISOR_SLOTS {
            return false;
        }
        if self.is_common(slot) {
            if mutant!(CommonSlotNotFlushed) {
                return false;
            }
            // A root need not be linked to all common subtrees.
            let common = self.common.unwrap_or(kernel);
            return self.forget_below(self.tables.read(common, slot), address);
        }
        let user_entry = self.tables.read(user, slot);
        let kernel_entry = self.tables.read(kernel, slot);
        // Otherwise it is the user view's subtree, or nothing.
        let had_pieces = kernel_entry & OWN != 0 && self.forget_below(kernel_entry, address);
        self.forget_below(user_entry, address) | had_pieces
    }

    /// The same in the subtree of a PML4 entry.
    fn forget_below(&mut self, entry: u64, address: u64) -> bool {
        if entry & PRESENT == 0 {
            return false;
        }
        let mut table = self.tables.table_at(entry);
        for level in [3, 2] {
            let at = index(address, level);
            let entry = self.tables.read(table, at);
            if entry & (PRESENT | LARGE | PIECES) != PRESENT {
                let had_pieces = entry & (PRESENT | LARGE) == PRESENT;
                if entry & PRESENT != 0 {
                    self.tables.write(table, at, 0);
                }
                if had_pieces {
                    self.pool.drop_subtree(self.tables.table_at(entry));
                }
                return had_pieces;
            }
            table = self.tables.table_at(entry);
        }
        self.tables.write(table, index(address, 1), 0);
        false
    }

    /// Drops the translations of `bytes` from `address` in root `number`.
    pub fn flush_range(&mut self, number: usize, address: u64, bytes: u64) {
        let first = address & !0xfff;
        let last = address.saturating_add(bytes.saturating_sub(1));
        // A page that concerns every root is as long as many that do not.
        let most = if self.global_outside_common { MAX_PAGES_IN_ALL_ROOTS } else { MAX_PAGES_ONE_BY_ONE };
        if (last - first) / 4096 < most {
            let mut at = first;
            loop {
                self.flush_page(number, at);
                match at.checked_add(4096) {
                    Some(next) if next <= last => at = next,
                    _ => return,
                }
            }
        }
        // A cache may always drop more than it must.
        self.flush_all(number, true);
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
