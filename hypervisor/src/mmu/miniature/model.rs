//! A guest that does what its choices say, and a model of a TLB that judges it.
//!
//! The model keeps, per root and address, every translation that the guest's tables have held since the address
//! was flushed last. An access must give what one of these allows, or the page fault that the tables give *now*.
//! Where nothing changed since the flush, it must be exactly the current translation, marks included.

use super::guest::{Found, TABLE};
use super::{Machine, Random};
use crate::mmu::bits::{ACCESSED, CACHE_DISABLE, DIRTY, GLOBAL, LARGE, NO_EXECUTE, PRESENT, USER, WRITABLE};
use crate::mmu::shadow::Failure;
use crate::mmu::walk::{Access, error};
use crate::mmu::{index, span};

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
const KERNEL_ADDRESS: u64 = 0xffff_ffff_8000_0000;

const ROOTS: usize = 4;
/// Slots: for user pages, for both kinds, and the one that is common.
const SLOTS: [u64; 3] = [0x80_0000_0000, 0xffff_9000_0000_0000, KERNEL_ADDRESS];
const COMMON_SLOT: usize = 2;
/// Leaf rights that the guest uses.
const LEAF_BITS: [u64; 8] = [WRITABLE, USER, DIRTY, ACCESSED, GLOBAL, NO_EXECUTE, CACHE_DISABLE, 1 << 52];

/// A load, a store, a fetch.
const KINDS: [Access; 3] =
    [Access::KERNEL_READ, Access::KERNEL_WRITE, Access::from_error_code(error::FETCH, false)];

/// What is known of an address in a root since it was flushed last.
#[derive(Clone, Default)]
struct History {
    /// Translations that may be cached.
    seen: Vec<Found>,
    /// No entry on the path changed.
    is_exact: bool,
    /// Raw entries of the path when last looked at.
    path: Vec<u64>,
}

/// See the module.
pub struct Model {
    machine: Machine,
    random: Random,
    roots: Vec<u64>,
    current: usize,
    addresses: Vec<u64>,
    histories: Vec<Vec<History>>,
    /// The slot is declared.
    has_common: bool,
}

impl Model {
    /// A guest whose memory is at `host`, with a pool of `tables`.
    #[must_use]
    pub fn new(random: Random, host: u64, tables: u32) -> Self {
        let machine = Machine::new(3 * GIB + 4 * MIB, host, tables);
        let guest = &machine.guest;
        let roots: Vec<u64> =
            [machine.guest_root()].into_iter().chain((1..ROOTS).map(|_| guest.new_table())).collect();
        let kernel = guest.new_table();
        for root in &roots {
            let entry = kernel | TABLE & !USER | ACCESSED;
            guest.write(root + index(KERNEL_ADDRESS, 4) as u64 * 8, entry);
        }
        let offsets = [0, 4096, 9 * 4096, 2 * MIB, 2 * MIB + 4096, 2 * MIB * 300, GIB, GIB + 2 * MIB + 4096];
        let addresses: Vec<u64> =
            SLOTS.iter().flat_map(|slot| offsets.map(|offset| (slot & !(GIB - 1)) + offset)).collect();
        let histories = vec![vec![History::default(); addresses.len()]; ROOTS];
        let mut model = Self { machine, random, roots, current: 0, addresses, histories, has_common: false };
        model.forget(|_, _| true);
        model
    }

    /// Where the history of an address is kept: common slots have one for all roots.
    fn place(&self, root: usize, at: usize) -> (usize, usize) {
        let is_common = self.has_common && index(self.addresses[at], 4) == index(SLOTS[COMMON_SLOT], 4);
        (if is_common { 0 } else { root }, at)
    }

    fn path(&self, root: usize, at: usize) -> Vec<u64> {
        let guest = &self.machine.guest;
        (1..=4)
            .rev()
            .map_while(|level| guest.place(self.roots[root], self.addresses[at], level))
            .map(|place| guest.read(place))
            .collect()
    }

    /// What an address translates to now, marks apart.
    fn look(&self, root: usize, at: usize) -> Option<Found> {
        let found = self.machine.guest.look(self.roots[root], self.addresses[at]).ok()?;
        Some(Found { accessed: false, dirty: false, ..found })
    }

    /// After the guest wrote tables: what the addresses translate to now may be cached as well.
    fn note_changes(&mut self) {
        for root in 0..ROOTS {
            for at in 0..self.addresses.len() {
                let path = self.path(root, at);
                let now = self.look(root, at);
                let (root, at) = self.place(root, at);
                let history = &mut self.histories[root][at];
                if history.path != path {
                    history.path = path;
                    history.is_exact = false;
                    history.seen.extend(now.filter(|found| !history.seen.contains(found)));
                }
            }
        }
    }

    /// After the hypervisor set marks, which are no changes.
    fn note_marks(&mut self) {
        for root in 0..ROOTS {
            for at in 0..self.addresses.len() {
                let path = self.path(root, at);
                let (root, at) = self.place(root, at);
                self.histories[root][at].path = path;
            }
        }
    }

    /// A flush of the addresses (root, place) that `is_flushed` names: only the current translation is left.
    fn forget(&mut self, is_flushed: impl Fn(usize, usize) -> bool) {
        for root in 0..ROOTS {
            for at in (0..self.addresses.len()).filter(|at| is_flushed(root, *at)) {
                let now = self.look(root, at);
                let path = self.path(root, at);
                let (root, at) = self.place(root, at);
                self.histories[root][at] = History { seen: now.into_iter().collect(), is_exact: true, path };
            }
        }
    }

    /// A flush of one address: exact for its page, and all of a large page that contains it goes as well.
    fn forget_page(&mut self, address: u64) {
        let addresses = self.addresses.clone();
        let current = self.current;
        self.forget(|root, at| root == current && addresses[at] >> 12 == address >> 12);
        for root in 0..ROOTS {
            for at in 0..addresses.len() {
                let now = self.look(root, at);
                let (place, at) = self.place(root, at);
                self.histories[place][at].seen.retain(|found| {
                    let is_same_page = addresses[at] / span(found.level) == address / span(found.level);
                    let is_flushed = is_same_page && (root == current || found.global);
                    !is_flushed || now == Some(*found)
                });
            }
        }
    }

    fn some_address(&mut self) -> u64 {
        let addresses = self.addresses.clone();
        self.random.pick(&addresses)
    }

    /// The guest changes a table entry of one of its roots.
    fn change_tables(&mut self) {
        let root = self.random.pick(&self.roots.clone());
        let address = self.some_address();
        let random = &mut self.random;
        let guest = &self.machine.guest;
        let is_kernel = index(address, 4) == index(SLOTS[COMMON_SLOT], 4);
        let level = random.pick(&[1, 1, 1, 2, 2, 3]);
        let mut flags = 0;
        for bit in LEAF_BITS {
            if random.one_in(2) {
                flags |= bit;
            }
        }
        if level == 3 && random.one_in(2) {
            // Pages of 1 GiB hide all others, so they are rare.
            return;
        }
        match random.below(8) {
            0 => guest.set(root, address, level, 0, TABLE),
            1 => {
                // Rights of whatever entry is there; the common slot's root entry stays equal everywhere.
                let level = if is_kernel { 1 + random.below(3) } else { 1 + random.below(4) } as u8;
                let bit = random.pick(&[WRITABLE, USER, NO_EXECUTE, DIRTY, ACCESSED]);
                if let Some(place) = guest.place(root, address, level) {
                    let entry = guest.read(place);
                    let is_leaf = level == 1 || (level < 4 && entry & LARGE != 0);
                    if entry & PRESENT != 0 && (is_leaf || bit != DIRTY) {
                        guest.write(place, entry ^ bit);
                    }
                }
            }
            _ => {
                let phys = GIB / 2 + random.below(2 * GIB / 4096) * 4096;
                let aligned = phys & !(span(level) - 1);
                guest.map(root, address, level, aligned, flags);
            }
        }
        self.note_changes();
    }

    fn access(&mut self) {
        let address = self.some_address();
        let offset = self.random.below(512) * 8;
        let access = Access::from_error_code(self.random.pick(&KINDS).error_code(0), self.random.one_in(2));
        let root = self.roots[self.current];
        let expected = self.machine.guest.expect(root, address + offset, access);
        let result = match self.machine.try_access(address + offset, access) {
            Ok(host) => host.map(|host| host - self.machine.guest.host),
            Err(Failure::Fault(code)) => Err(code),
            Err(Failure::PoolExhausted) => panic!("the pool is exhausted"),
        };
        let at = self.addresses.iter().position(|known| *known == address).unwrap();
        let (place, at) = self.place(self.current, at);
        let history = &self.histories[place][at];
        let context = format!("{access:?} at {address:#x}: {result:x?}, tables say {expected:x?}");
        match result {
            Err(_) => assert_eq!(result, expected, "{context}"),
            Ok(phys) => {
                let is_known =
                    history.seen.iter().any(|found| found.phys + offset == phys && found.allows(access));
                assert!(is_known, "{context}, but may only be one of {:x?}", history.seen);
                if history.is_exact {
                    assert_eq!(result, expected, "{context}");
                    let now = self.machine.guest.look(root, address).unwrap();
                    assert!(now.accessed && (now.dirty || !access.writes()), "{context}, without marks");
                }
            }
        }
        self.note_marks();
    }

    fn flush(&mut self) {
        let number = self.machine.root.number;
        let current = self.current;
        let address = self.some_address() + self.random.below(4096);
        let common = index(SLOTS[COMMON_SLOT], 4);
        match self.random.below(8) {
            0 => {
                self.machine.shadow.flush_all(number, true);
                self.forget(|_, _| true);
            }
            1 => {
                self.machine.shadow.flush_all(number, false);
                let spared = self.has_common;
                let addresses = self.addresses.clone();
                self.forget(|root, at| root == current && !(spared && index(addresses[at], 4) == common));
            }
            2 => {
                let bytes = 1 + self.random.below(12 * 4096);
                self.machine.shadow.flush_range(number, address, bytes);
                for page in address >> 12..=(address + bytes - 1) >> 12 {
                    self.forget_page(page << 12);
                }
            }
            _ => {
                self.machine.flush_page(address);
                self.forget_page(address);
            }
        }
    }

    fn change_root(&mut self) {
        let number = self.random.below(ROOTS as u64) as usize;
        let common = index(SLOTS[COMMON_SLOT], 4);
        let spared = self.has_common;
        let addresses = self.addresses.clone();
        let keep = !self.random.one_in(4);
        if number != self.current && self.random.one_in(6) {
            assert!(self.machine.shadow.release_root(self.roots[number]));
        } else {
            self.current = number;
            self.machine.load_root(self.roots[number], keep).unwrap();
            if keep {
                return;
            }
        }
        self.forget(|root, at| root == number && !(spared && index(addresses[at], 4) == common));
    }

    /// Declaring drops everything.
    fn declare_common(&mut self) {
        self.has_common = !self.has_common;
        let slot = index(SLOTS[COMMON_SLOT], 4);
        let mut slots = [0; 8];
        slots[slot / 64] = u64::from(self.has_common) << (slot % 64);
        self.machine.shadow.set_common_slots(slots).unwrap();
        self.forget(|_, _| true);
    }

    /// One operation. Panics when its result is not what the model allows.
    pub fn step(&mut self) {
        match self.random.below(100) {
            0..45 => self.access(),
            45..75 => self.change_tables(),
            75..90 => self.flush(),
            90..96 => self.change_root(),
            96 => {
                self.machine.shadow.reclaim_one();
            }
            97..99 => {
                let address = self.some_address();
                let pages = self.random.below(16);
                let number = self.machine.root.number;
                self.machine.shadow.populate(&self.machine.guest, number, address, pages).unwrap();
                self.note_marks();
            }
            _ => {
                if self.random.one_in(10) {
                    self.declare_common();
                }
            }
        }
    }

    /// Panics when the tables are not as they must always be.
    pub fn audit(&self) {
        self.machine.audit();
    }

    /// Choices of a fuzzer that are left.
    #[must_use]
    pub fn choices_left(&self) -> usize {
        self.random.left()
    }
}
