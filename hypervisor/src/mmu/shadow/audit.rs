//! Audit for tests and fuzzing: every table of the pool is in exactly one place, and each place holds only what belongs
//! there.

use super::super::bits::{
    CACHE_DISABLE, FRAME, GLOBAL, LARGE, NO_EXECUTE, PRESENT, USER, WRITABLE, WRITE_THROUGH,
};
use super::super::memory::{ShadowTables, Table};
use super::super::miniature::hardware::hypervisor_entry;
use super::super::pool::{KINDS, PageInfo};
use super::super::{HYPERVISOR_FIRST_SLOT, HYPERVISOR_SLOTS, index, span};
use super::{COMMON, CachedRoot, OWN, Shadow};
use core::ops::Range;

/// What the audit counts on its way.
struct Found<'a> {
    times: Vec<u32>,
    /// What leaves may map, and nothing else: the domain's memory, cached,
    memory: Range<u64>,
    /// and registers of its devices, uncached.
    registers: &'a [Range<u64>],
}

impl<T: ShadowTables> Shadow<T> {
    /// Panics when a table is lost, in two places, or holds what it must not.
    pub fn audit(&self, memory: Range<u64>, registers: &[Range<u64>]) {
        let mut found = Found { times: vec![0; self.pool.size()], memory, registers };
        for table in self.pool.free_tables() {
            found.times[table.number()] += 1;
            let is_zero = cfg!(miri) || (0..512).all(|at| self.tables.read(table, at) == 0);
            assert!(is_zero, "free table {table:?} is not zero");
        }
        for table in self.pool.dropped_tables() {
            let (level, kind) = self.pool.level_of(table);
            self.audit_tree(table, level, kind, &mut found);
        }
        for root in self.roots.iter().filter(|root| root.is_in_use()) {
            self.audit_root(root, &mut found);
        }
        if let Some(common) = self.common {
            found.times[common.number()] += 1;
            for slot in 0..512 {
                let entry = self.tables.read(common, slot);
                assert!(entry & PRESENT == 0 || self.is_common(slot), "common slot {slot}");
                if entry & PRESENT != 0 {
                    assert_eq!(entry & KINDS, COMMON);
                    self.audit_tree(self.tables.table_at(entry & FRAME), 3, COMMON, &mut found);
                }
            }
        }
        let wrong = found.times.iter().position(|times| *times != 1);
        assert!(wrong.is_none(), "table {wrong:?} is in {} places", found.times[wrong.unwrap_or(0)]);
    }

    fn audit_root(&self, root: &CachedRoot, found: &mut Found<'_>) {
        let hypervisor = HYPERVISOR_FIRST_SLOT..HYPERVISOR_FIRST_SLOT + HYPERVISOR_SLOTS;
        found.times[root.kernel.number()] += 1;
        found.times[root.user.number()] += 1;
        for slot in 0..512 {
            let kernel = self.tables.read(root.kernel, slot);
            let user = self.tables.read(root.user, slot);
            if hypervisor.contains(&slot) {
                assert_eq!(kernel, hypervisor_entry(slot), "kernel view, slot {slot}");
                assert_eq!(user, hypervisor_entry(slot), "user view, slot {slot}");
                continue;
            }
            if user & PRESENT != 0 {
                assert!(root.is_stale() || !self.is_common(slot));
                assert!(
                    kernel & PRESENT != 0,
                    "a flush that looks into slot {slot} of the kernel view misses this"
                );
                assert!(user & (NO_EXECUTE | KINDS) == 0);
                self.audit_tree(self.tables.table_at(user & FRAME), 3, 0, found);
            }
            if kernel & COMMON != 0 && root.is_stale() {
                // Perhaps to a subtree that is gone; it is not followed.
            } else if kernel & COMMON != 0 {
                let common = self.common.expect("a common slot without common table");
                assert_eq!(kernel, self.tables.read(common, slot), "slot {slot} is not the common one");
            } else if kernel & OWN != 0 {
                self.audit_tree(self.tables.table_at(kernel & FRAME), 3, OWN, found);
            } else if kernel & PRESENT != 0 {
                assert_eq!(kernel, user | NO_EXECUTE, "slot {slot} is not borrowed from the user view");
            }
        }
    }

    fn audit_tree(&self, table: Table, level: u8, kind: u64, found: &mut Found<'_>) {
        found.times[table.number()] += 1;
        assert_eq!(self.pool.level_of(table), (level, kind), "table {table:?} is not what it was taken for");
        for at in 0..512 {
            let entry = self.tables.read(table, at);
            if entry & PRESENT == 0 {
                assert_eq!(entry, 0, "an absent entry is not zero");
            } else if level == 4 && (self.tables.table_below(entry).is_none() || entry & KINDS != kind) {
                // A root that was dropped: the hypervisor's entry, or one to a subtree of another.
            } else if level == 1 || entry & LARGE != 0 {
                let host = entry & FRAME & !(span(level) - 1);
                assert!(level < 4 && entry & USER != 0 && entry & GLOBAL == 0);
                let is_in = |range: &Range<u64>| range.start <= host && host + span(level) <= range.end;
                let is_owned = match entry & (CACHE_DISABLE | WRITE_THROUGH) {
                    0 => is_in(&found.memory),
                    caching => caching.count_ones() == 2 && found.registers.iter().any(is_in),
                };
                assert!(
                    is_owned,
                    "a leaf maps {host:#x}, which is not the domain's, or not cached like this"
                );
            } else {
                assert!(entry & (USER | WRITABLE | KINDS) == USER | WRITABLE | kind);
                self.audit_tree(self.tables.table_at(entry & FRAME), level - 1, kind, found);
            }
        }
    }
}

impl<T: ShadowTables> Shadow<T> {
    /// What the pool knows of its pages; nothing can be done with this value afterwards.
    pub fn take_page_info(&mut self) -> &'static mut [PageInfo] {
        self.pool.take_info()
    }

    /// The guest root that is cached as `number`.
    pub fn guest_root_of(&self, number: usize) -> u64 {
        self.roots[number].guest_root
    }

    /// Whether `address` lies in a common slot.
    pub fn is_common_address(&self, address: u64) -> bool {
        self.is_common(index(address, 4))
    }

    /// Tables that can be taken at once.
    pub fn free_tables(&self) -> usize {
        self.pool.free_count()
    }

    /// The leaf that the user view of root `number` has for `address`; 0: none.
    pub fn leaf_of(&self, number: usize, address: u64) -> u64 {
        let mut table = self.roots[number].user;
        for level in (1..=4).rev() {
            let entry = self.tables.read(table, index(address, level));
            if entry & PRESENT == 0 || level == 1 || entry & LARGE != 0 {
                return entry;
            }
            table = self.tables.table_at(entry & FRAME);
        }
        0
    }
}
