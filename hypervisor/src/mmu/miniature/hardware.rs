//! A CPU that walks shadow tables: translations are cached until they are flushed, and tables may be cached too.

use crate::mmu::bits::{ACCESSED, DIRTY, FRAME, LARGE, NO_EXECUTE, PRESENT, USER, WRITABLE};
use crate::mmu::memory::{ShadowTables, Table};
use crate::mmu::walk::Access;
use crate::mmu::{HYPERVISOR_FIRST_SLOT, HYPERVISOR_SLOTS, index, span};
use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::ops::Range;

/// Host-physical address of the pool.
const POOL: u64 = 0x7_0000_0000;

/// The pool, and the CPU.
#[derive(Debug)]
pub struct Pages {
    tables: Vec<[u64; 512]>,
    root: Cell<u64>,
    /// Cached translations: first address, bytes, entry.
    cached: RefCell<Vec<(u64, u64, u64)>>,
    /// Tables that a paging-structure cache may still lead to.
    used: RefCell<BTreeSet<usize>>,
    /// Entries read and written by the code under test, and whole tables looked through or zeroed.
    work: Cell<u64>,
}

impl Pages {
    /// A pool of `count` tables, all zero.
    #[must_use]
    pub fn new(count: u32) -> Self {
        Self {
            tables: vec![[0; 512]; count as usize],
            root: Cell::new(0),
            cached: RefCell::default(),
            used: RefCell::default(),
            work: Cell::new(0),
        }
    }

    /// The work done since the last call.
    pub fn take_work(&self) -> u64 {
        self.work.take()
    }

    fn count_work(&self) {
        self.work.set(self.work.get() + 1);
    }

    /// Loads CR3, as a view is loaded: not if it is loaded already.
    pub fn load_root(&self, root: u64) {
        if self.root.replace(root) != root {
            self.forget_all();
        }
    }

    fn forget_all(&self) {
        self.cached.borrow_mut().clear();
        self.used.borrow_mut().clear();
    }

    /// Sizes of the pages under which `address` is cached.
    pub fn cached_sizes(&self, address: u64) -> Vec<u64> {
        let cached = self.cached.borrow();
        cached
            .iter()
            .filter(|(start, bytes, _)| address & !(bytes - 1) == *start)
            .map(|cached| cached.1)
            .collect()
    }

    /// An access from ring 3: host address, or error code.
    pub fn access(&self, address: u64, access: Access) -> Result<u64, u64> {
        // A cached translation that refuses is dropped by the fault, so the walk below decides.
        let allowed = |entry: u64| {
            entry & USER != 0
                && (!access.writes() || entry & WRITABLE != 0)
                && (!access.fetches() || entry & NO_EXECUTE == 0)
        };
        let contains = |(start, bytes, _): &(u64, u64, u64)| address & !(bytes - 1) == *start;
        let hit = self.cached.borrow().iter().find(|cached| contains(cached) && allowed(cached.2)).copied();
        let (bytes, entry) = match hit {
            Some((_, bytes, entry)) => (bytes, entry),
            None => self.walk(address).unwrap_or((4096, 0)),
        };
        if entry & PRESENT == 0 || !allowed(entry) {
            self.cached.borrow_mut().retain(|cached| !contains(cached));
            let kind = access.error_code(4);
            return Err(kind | entry & PRESENT);
        }
        if hit.is_none() {
            self.cached.borrow_mut().push((address & !(bytes - 1), bytes, entry));
        }
        assert!(
            !access.writes() || entry & DIRTY != 0,
            "the hardware would set the dirty bit in a shadow leaf"
        );
        Ok((entry & FRAME & !(bytes - 1)) + (address & (bytes - 1)))
    }

    /// Bytes of the page and its entry with the rights of the whole path.
    fn walk(&self, address: u64) -> Option<(u64, u64)> {
        let mut table = self.table_at(self.root.get());
        let mut rights = WRITABLE | USER;
        let mut no_execute = 0;
        for level in (1..=4).rev() {
            let entry = self.read(table, index(address, level));
            if entry & PRESENT == 0 {
                return None;
            }
            assert!(entry & ACCESSED != 0, "the hardware would set the accessed bit in a shadow entry");
            rights &= entry;
            no_execute |= entry & NO_EXECUTE;
            if level == 1 || entry & LARGE != 0 {
                return Some((span(level), entry & !(WRITABLE | USER) | rights | no_execute));
            }
            if entry & USER == 0 {
                return Some((span(level), PRESENT));
            }
            table = self.table_at(entry & FRAME);
            self.used.borrow_mut().insert(table.number());
        }
        None
    }
}

impl ShadowTables for Pages {
    fn read(&self, table: Table, index: usize) -> u64 {
        self.count_work();
        self.tables[table.number()][index]
    }

    fn write(&mut self, table: Table, index: usize, entry: u64) {
        if self.address(table) == self.root.get() {
            let is_hypervisors =
                (HYPERVISOR_FIRST_SLOT..HYPERVISOR_FIRST_SLOT + HYPERVISOR_SLOTS).contains(&index);
            assert!(!is_hypervisors, "the hypervisor is unmapped or replaced in the loaded root");
        }
        self.count_work();
        self.tables[table.number()][index] = entry;
    }

    fn write_several(
        &mut self,
        table: Table,
        places: Range<usize>,
        mut entry: impl FnMut(usize) -> Option<u64>,
    ) -> usize {
        assert!(places.end <= 512);
        let first = places.start;
        for place in places.clone() {
            let Some(entry) = entry(place) else { return place - first };
            self.write(table, place, entry);
        }
        places.len()
    }

    fn next_filled(&self, table: Table, from: usize) -> usize {
        self.count_work();
        (from..512).find(|index| self.tables[table.number()][*index] != 0).unwrap_or(512)
    }

    fn zero(&mut self, table: Table) {
        assert!(self.address(table) != self.root.get(), "the loaded root is zeroed");
        assert!(
            !self.used.borrow().contains(&table.number()),
            "the hardware may still walk a table that is reused"
        );
        self.count_work();
        self.tables[table.number()] = [0; 512];
    }

    fn address(&self, table: Table) -> u64 {
        POOL + table.distance()
    }

    fn table_at(&self, address: u64) -> Table {
        let number = (address & FRAME).wrapping_sub(POOL) / 4096;
        assert!(number < self.tables.len() as u64, "{address:#x} is not a table of the pool");
        Table::numbered(number as u32)
    }

    fn table_below(&self, entry: u64) -> Option<Table> {
        let number = (entry & FRAME).wrapping_sub(POOL) / 4096;
        let is_table = number < self.tables.len() as u64;
        assert!(!is_table || entry & (PRESENT | LARGE) == PRESENT, "{entry:#x} leads into the pool");
        is_table.then(|| Table::numbered(number as u32))
    }

    fn map_hypervisor(&mut self, table: Table) {
        for slot in HYPERVISOR_FIRST_SLOT..HYPERVISOR_FIRST_SLOT + HYPERVISOR_SLOTS {
            self.write(table, slot, hypervisor_entry(slot));
        }
    }

    fn flush_page(&mut self, address: u64) {
        // INVLPG drops paging-structure caches whatever the address (Intel SDM volume 3, 4.10.4.1).
        self.used.borrow_mut().clear();
        self.cached.borrow_mut().retain(|(start, bytes, _)| address & !(bytes - 1) != *start);
    }

    fn flush_all(&mut self) {
        self.forget_all();
    }
}

/// The PML4 entry of a hypervisor's slot: not for ring 3, and in no pool.
pub fn hypervisor_entry(slot: usize) -> u64 {
    (0x1_0000_0000 + slot as u64 * 4096) | PRESENT | WRITABLE | ACCESSED
}
