//! Flush: what the guest wants forgotten is forgotten, here and in the hardware; more may be.

use super::super::bits::{FRAME, LARGE, PRESENT};
use super::super::memory::ShadowTables;
use super::super::{HYPERVISOR_FIRST_SLOT, HYPERVISOR_SLOTS, index};
use super::{CachedRoot, MAX_PAGES_IN_ALL_ROOTS, MAX_PAGES_ONE_BY_ONE, MAX_ROOTS, PIECES, Shadow};

impl<T: ShadowTables> Shadow<T> {
    /// Drops the translation of the page at `address` in root `number`, and in every root if it may be global.
    pub fn flush_page(&mut self, number: usize, address: u64) {
        let mut had_pieces = false;
        if self.global_outside_common {
            for other in 0..MAX_ROOTS {
                if self.roots[other].in_use && !self.roots[other].stale {
                    had_pieces |= self.forget_page(other, address);
                }
            }
        } else {
            had_pieces = self.forget_page(number, address);
        }
        if had_pieces {
            self.tables.flush_all();
        } else {
            self.tables.flush_page(address);
        }
    }

    /// Whether a page is flushed in every root, which takes as much longer as there are roots.
    pub fn flushes_pages_in_all_roots(&self) -> bool {
        self.global_outside_common
    }

    /// Clears the leaves of `address` in both views of a root. True: the guest's page was cached in pieces, which
    /// are dropped, and the hardware may have cached any of them.
    fn forget_page(&mut self, number: usize, address: u64) -> bool {
        let slot = index(address, 4);
        let hypervisor = HYPERVISOR_FIRST_SLOT..HYPERVISOR_FIRST_SLOT + HYPERVISOR_SLOTS;
        if hypervisor.contains(&slot) {
            return false;
        }
        let mut had_pieces = false;
        let CachedRoot { kernel, user, .. } = self.roots[number];
        // A root need not be linked to all common subtrees.
        let kernel = if self.is_common(slot) { self.common.unwrap_or(kernel) } else { kernel };
        for root in [kernel, user] {
            let mut table = root;
            for level in (1..=4).rev() {
                let at = index(address, level);
                let entry = self.tables.read(table, at);
                if entry & PRESENT == 0 {
                    break;
                }
                if level == 1 || (level < 4 && entry & LARGE != 0) {
                    self.tables.write(table, at, 0);
                    break;
                }
                let next = self.tables.table_at(entry & FRAME);
                if level < 4 && entry & PIECES != 0 {
                    self.tables.write(table, at, 0);
                    self.pool.drop_subtree(next);
                    had_pieces = true;
                    break;
                }
                table = next;
            }
        }
        had_pieces
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
