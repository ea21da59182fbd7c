//! Flush: what the guest wants forgotten is forgotten, here and in the hardware; more may be.

use super::super::bits::{FRAME, LARGE, PRESENT};
use super::super::memory::{ShadowTables, Table};
use super::super::{HYPERVISOR_FIRST_SLOT, HYPERVISOR_SLOTS, index};
use super::{CachedRoot, MAX_PAGES_IN_ALL_ROOTS, MAX_PAGES_ONE_BY_ONE, MAX_ROOTS, OWN, PIECES, Shadow};

/// What a level of a subtree holds for an address.
enum Step {
    /// A table.
    Table(Table),
    /// A leaf, pieces of a larger page of the guest's, or nothing: it is gone now.
    End {
        /// It was pieces.
        had_pieces: bool,
    },
}

impl<T: ShadowTables> Shadow<T> {
    /// Drops the translation of the page at `address` in root `number`, and in every root if it may be global.
    pub fn flush_page(&mut self, number: usize, address: u64) {
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

    #[inline(never)]
    fn forget_page_everywhere(&mut self, address: u64) -> bool {
        let mut had_pieces = false;
        for number in 0..MAX_ROOTS {
            if self.roots[number].in_use && !self.roots[number].stale {
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
    #[inline]
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
        let third = self.tables.table_at(entry & FRAME);
        let second = match self.step::<3>(third, address) {
            Step::Table(table) => table,
            Step::End { had_pieces } => return had_pieces,
        };
        match self.step::<2>(second, address) {
            Step::Table(table) => {
                self.tables.write(table, index(address, 1), 0);
                false
            }
            Step::End { had_pieces } => had_pieces,
        }
    }

    /// One level down on the way to the leaf of `address`; clears it if it is here.
    #[inline(always)]
    fn step<const LEVEL: u8>(&mut self, table: Table, address: u64) -> Step {
        let at = index(address, LEVEL);
        let entry = self.tables.read(table, at);
        if entry & (PRESENT | LARGE | PIECES) == PRESENT {
            return Step::Table(self.tables.table_at(entry & FRAME));
        }
        if entry & PRESENT != 0 {
            self.tables.write(table, at, 0);
        }
        let had_pieces = entry & (PRESENT | LARGE) == PRESENT;
        if had_pieces {
            self.pool.drop_subtree(self.tables.table_at(entry & FRAME));
        }
        Step::End { had_pieces }
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
                root.stale = true;
            }
            self.drop_common();
            self.global_outside_common = false;
        }
        self.drop_trees(number);
        self.roots[number].stale = false;
    }
}
