//! Shadow tables that are free, and dropped subtrees on their way to become free.
//!
//! Dropping a subtree is one push, however large it is; its tables are zeroed one by one when tables are
//! needed or the CPU is idle. So no request is longer than the tables it asked for.

use super::memory::{ShadowTables, Table};
use super::{HYPERVISOR_FIRST_SLOT, HYPERVISOR_SLOTS};

/// Software bits of an entry that say to which tree the table below belongs. A tree's tables are reached through entries of
/// its kind only; other trees that it leads to are not dropped with it.
pub const KINDS: u64 = 3 << 9;

/// What is known of a pool page: a link in one of two lists, and its level and kind while in use.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct PageInfo {
    next: u32,
    level: u16,
    kind: u16,
}

/// No page has this number.
const END: u32 = u32::MAX;

/// The lists. The tables themselves are behind [`ShadowTables`].
#[derive(Debug)]
pub struct Pool {
    info: &'static mut [PageInfo],
    free: u32,
    free_count: usize,
    dropped: u32,
}

impl Pool {
    /// A pool of `info.len()` zeroed tables, all free.
    #[must_use]
    pub fn new(info: &'static mut [PageInfo]) -> Self {
        let count = info.len();
        for (number, page) in info.iter_mut().enumerate() {
            page.next = if number + 1 < count { number as u32 + 1 } else { END };
        }
        Self { info, free: if count == 0 { END } else { 0 }, free_count: count, dropped: END }
    }

    /// The same pool with its information at another address.
    #[must_use]
    pub fn moved(self, info: &'static mut [PageInfo]) -> Self {
        Self { info, ..self }
    }

    /// Tables that can be taken without reclaiming.
    #[must_use]
    pub fn free_count(&self) -> usize {
        self.free_count
    }

    fn info(&mut self, table: Table) -> &mut PageInfo {
        &mut self.info[table.number()]
    }

    /// Takes a zeroed table for `level`, of a `kind`.
    #[inline(never)]
    pub fn take(&mut self, level: u8, kind: u64) -> Option<Table> {
        let number = self.free;
        // Behind the last page nothing is known of any.
        let info = self.info.get_mut(number as usize)?;
        (info.level, info.kind) = (level.into(), kind as u16);
        self.free = info.next;
        self.free_count -= 1;
        Some(Table::numbered(number))
    }

    /// Kind for which a table was taken.
    pub fn kind(&mut self, table: Table) -> u64 {
        self.info(table).kind.into()
    }

    /// Puts an unlinked table, and with it its tree below, on the list of dropped ones. The caller flushes the hardware's
    /// caches before any of them can be taken again.
    #[inline(never)]
    pub fn drop_subtree(&mut self, table: Table) {
        let next = self.dropped;
        self.info(table).next = next;
        self.dropped = table.number() as u32;
    }

    /// Clears what leads from a table to others; those of its own tree become dropped ones.
    #[inline(never)]
    pub fn clear(&mut self, tables: &mut impl ShadowTables, table: Table) {
        let PageInfo { level, kind, .. } = *self.info(table);
        let mut index = 0;
        loop {
            let at = tables.next_filled(table, index);
            if at == 512 {
                return;
            }
            index = at + 1;
            if level == 4 && at == HYPERVISOR_FIRST_SLOT {
                index += HYPERVISOR_SLOTS - 1;
                continue;
            }
            let entry = tables.read(table, at);
            if let Some(below) = tables.table_below(entry) {
                tables.write(table, at, 0);
                if entry & KINDS == u64::from(kind) {
                    self.drop_subtree(below);
                }
            }
        }
    }

    /// Zeroes and frees one dropped table; tables below it become dropped ones. False: there was none.
    pub fn reclaim_one(&mut self, tables: &mut impl ShadowTables) -> bool {
        let number = self.dropped;
        let Some(&PageInfo { next, level, .. }) = self.info.get(number as usize) else { return false };
        self.dropped = next;
        let table = Table::numbered(number);
        if level > 1 {
            self.clear(tables, table);
        }
        tables.zero(table);
        let free = self.free;
        self.info(table).next = free;
        self.free = number;
        self.free_count += 1;
        true
    }
}

#[cfg(any(test, feature = "fuzzing"))]
impl Pool {
    /// What the pool knows of its pages, for another pool; this one has none left.
    pub(super) fn take_info(&mut self) -> &'static mut [PageInfo] {
        (self.free, self.free_count, self.dropped) = (END, 0, END);
        core::mem::take(&mut self.info)
    }

    /// Tables in the pool.
    pub(super) fn size(&self) -> usize {
        self.info.len()
    }

    /// Tables on the free list.
    pub(super) fn free_tables(&self) -> Vec<Table> {
        let tables = self.list(self.free);
        assert_eq!(tables.len(), self.free_count);
        tables
    }

    /// Roots of dropped subtrees.
    pub(super) fn dropped_tables(&self) -> Vec<Table> {
        self.list(self.dropped)
    }

    /// Level and kind for which a table was taken.
    pub(super) fn level_of(&self, table: Table) -> (u8, u64) {
        let PageInfo { level, kind, .. } = self.info[table.number()];
        (level as u8, kind.into())
    }

    fn list(&self, first: u32) -> Vec<Table> {
        let mut tables = Vec::new();
        let mut at = first;
        while at != END {
            assert!(tables.len() < self.info.len(), "the list is a ring");
            tables.push(Table::numbered(at));
            at = self.info[at as usize].next;
        }
        tables
    }
}
