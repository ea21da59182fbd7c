//! A guest that writes what it likes into its tables and calls the MMU with what it likes.
//!
//! Its few frames are tables, roots and data at once: tables that contain themselves, roots whose entries are
//! leaves, bits that are reserved. After each operation every table of the pool is where it belongs and maps the
//! domain's memory only; after a flush the translation is what the guest's tables say now; and no operation costs
//! more than a bound, so that no guest holds the hypervisor for long.

use crate::Outcome;
use arbitrary::{Arbitrary, Unstructured};

use hypervisor::mmu::bits::{DIRTY, GLOBAL, LARGE, NO_EXECUTE, PRESENT, USER, WRITABLE};
use hypervisor::mmu::is_guest_address;
use hypervisor::mmu::miniature::Machine;
use hypervisor::mmu::shadow::Failure;
use hypervisor::mmu::walk::{Access, Path, error, walk};

const GIB: u64 = 1 << 30;
const MIB: u64 = 1 << 20;
/// Frames that the guest writes to, from its second page on; the first is its first root.
const FRAMES: u64 = 6;
/// The frames that are tables when the guest maps as guests do: a directory of directories, a directory, a table.
const TABLES: [Frame; 3] = [Frame(1), Frame(2), Frame(3)];
/// Most operations of one guest.
const MOST_OPERATIONS: usize = 64;
/// Most work of one operation, as [`Pages`](hypervisor::mmu::miniature::hardware::Pages) counts it.
/// What costs most is to populate pages from a pool so small that each page takes the tables of another.
const MOST_WORK: u64 = 64 * 64;

/// A frame of the guest's.
#[derive(Clone, Copy, Debug, Arbitrary)]
struct Frame(u8);

impl Frame {
    const fn address(self) -> u64 {
        4096 + self.0 as u64 % FRAMES * 4096
    }
}

/// Where an entry lies: the last entries of a frame and the first are used most.
#[derive(Clone, Copy, Debug, Arbitrary)]
struct Slot(u8);

impl Slot {
    const fn index(self) -> u64 {
        const SLOTS: [u64; 8] = [0, 1, 2, 255, 256, 271, 272, 511];
        SLOTS[self.0 as usize % SLOTS.len()]
    }
}

/// A virtual address: mostly one of few, so that what is mapped is met again, else by its index at each level.
#[derive(Clone, Copy, Debug, Arbitrary)]
enum Address {
    Known(Known),
    KnownToo(Known),
    Any([Slot; 4], u16),
}

/// One of the addresses that the guest maps when it maps as guests do.
#[derive(Clone, Copy, Debug, Arbitrary)]
struct Known(u8);

impl Known {
    fn slots(self) -> [Slot; 4] {
        [[0, 0, 0, 0], [0, 0, 0, 1], [0, 0, 1, 0], [7, 7, 0, 1]][self.0 as usize % 4].map(Slot)
    }
}

impl Address {
    fn value(self) -> u64 {
        let (slots, offset) = match self {
            Self::Known(known) | Self::KnownToo(known) => (known.slots(), 0),
            Self::Any(slots, offset) => (slots, offset),
        };
        let raw = slots.iter().fold(0, |address, slot| address << 9 | slot.index());
        let low = raw << 12 | u64::from(offset) & 0xff8;
        ((low << 16) as i64 >> 16) as u64
    }
}

/// What a guest does.
#[derive(Clone, Copy, Debug, Arbitrary)]
enum Operation {
    /// Links the frames to a path of tables for an address, below the root that is loaded.
    Path {
        at: Known,
    },
    /// Maps something at the end of that path, as a page of the level.
    Leaf {
        at: Known,
        to: Frame,
        rights: u8,
        level: u8,
    },
    /// Links a frame, or any other page, into a table.
    Link {
        table: Frame,
        slot: Slot,
        to: Frame,
        rights: u8,
        level_bits: u8,
    },
    /// Writes any bits.
    Write {
        table: Frame,
        slot: Slot,
        entry: u64,
    },
    /// Changes one bit.
    Flip {
        table: Frame,
        slot: Slot,
        bit: u8,
    },
    Access {
        address: Address,
        kind: u8,
    },
    /// A fault at an address that no guest can have, or any other.
    Fault {
        address: u64,
        kind: u8,
    },
    FlushPage {
        address: Address,
    },
    FlushRange {
        address: u64,
        bytes: u64,
    },
    FlushAll {
        every_root: bool,
    },
    LoadRoot {
        root: Frame,
        keep: bool,
        other_vcpu: bool,
    },
    /// Any page of memory as root.
    LoadAnything {
        root: u32,
        keep: bool,
    },
    ReleaseRoot {
        root: Frame,
    },
    CommonSlots {
        slots: [Slot; 3],
        count: u8,
    },
    AnyCommonSlots {
        slots: [u64; 8],
    },
    Populate {
        address: Address,
        pages: u8,
    },
    Reclaim,
}

/// The first byte chooses the machine, the rest is operations.
pub fn run(input: &[u8]) -> Outcome {
    let mut input = Unstructured::new(input);
    let machine = u8::arbitrary(&mut input).unwrap_or(0);
    let tables = [4, 6, 8, 9, 12, 16, 32, 80][usize::from(machine & 7)];
    let bytes = if machine & 8 != 0 { 3 * GIB } else { 8 * MIB };
    let host = 8 * GIB + u64::from(machine >> 4) * (2 * MIB);
    let mut guest = Hostile { machine: Machine::new(bytes, host, tables), seen: 0 };
    for _ in 0..FRAMES {
        guest.machine.guest.new_table();
    }
    for _ in 0..MOST_OPERATIONS {
        if input.is_empty() {
            break;
        }
        let Ok(operation) = Operation::arbitrary(&mut input) else { break };
        guest.machine.shadow.tables().take_work();
        guest.perform(operation);
        let work = guest.machine.shadow.tables().take_work();
        assert!(work <= MOST_WORK, "{operation:?}: work {work}");
        guest.machine.audit();
    }
    guest.seen
}

/// A guest that knows no rules.
struct Hostile {
    machine: Machine,
    /// Kinds of results so far, a bit each.
    seen: Outcome,
}

fn access_of(kind: u8) -> Access {
    let code = [0, error::WRITE, error::FETCH, 0][usize::from(kind & 3)];
    Access::from_error_code(code, kind & 4 != 0)
}

impl Hostile {
    fn perform(&mut self, operation: Operation) {
        let number = self.machine.root.number;
        let guest = &self.machine.guest;
        let shadow = &mut self.machine.shadow;
        match operation {
            Operation::Path { at } => {
                let mut table = shadow.guest_root_of(number);
                for (slot, next) in at.slots().into_iter().zip(TABLES) {
                    guest.write(table + slot.index() * 8, next.address() | PRESENT | WRITABLE | USER);
                    table = next.address();
                }
            }
            Operation::Leaf { at, to, rights, level } => {
                let level = usize::from(level % 4).min(2);
                let large = if level > 0 { 8 * level as u8 } else { 0x20 };
                let table = TABLES[2 - level];
                guest.write(place(table, at.slots()[3 - level]), link(to, rights, large));
            }
            Operation::Link { table, slot, to, rights, level_bits } => {
                guest.write(place(table, slot), link(to, rights, level_bits));
            }
            Operation::Write { table, slot, entry } => guest.write(place(table, slot), entry),
            Operation::Flip { table, slot, bit } => {
                guest.write(place(table, slot), guest.read(place(table, slot)) ^ 1 << (bit % 64));
            }
            Operation::Access { address, kind } => self.access(address.value(), access_of(kind)),
            Operation::Fault { address, kind } => {
                let result = shadow.fault(guest, number, address, access_of(kind));
                let is_refused = matches!(result, Err(Failure::Fault(_)));
                assert!(is_guest_address(address) || is_refused, "a translation where no guest has any");
            }
            Operation::FlushPage { address } => {
                self.machine.flush_page(address.value());
                self.expect_fresh(address.value());
            }
            Operation::FlushRange { address, bytes } => {
                shadow.flush_range(number, address, bytes);
                if bytes != 0 {
                    self.expect_fresh(address & !7);
                }
            }
            Operation::FlushAll { every_root } => {
                shadow.flush_all(number, every_root);
                self.expect_all_fresh(every_root);
            }
            Operation::LoadRoot { root, keep, other_vcpu: false } => self.load_root(root.address(), keep),
            Operation::LoadRoot { root, keep, other_vcpu: true } => {
                self.seen |= seen(10, shadow.load_root(root.address(), 1, keep).is_ok());
            }
            Operation::LoadAnything { root, keep } => {
                let pages = guest.bytes / 4096;
                self.load_root((1 + u64::from(root) % (pages - 1)) * 4096, keep);
            }
            Operation::ReleaseRoot { root } => {
                let is_loaded = shadow.guest_root_of(number) == root.address();
                assert!(!shadow.release_root(root.address()) || !is_loaded, "the loaded root is gone");
            }
            Operation::CommonSlots { slots, count } => {
                let mut bits = [0; 8];
                for slot in slots.iter().take(usize::from(count % 4)) {
                    bits[slot.index() as usize / 64] |= 1 << (slot.index() % 64);
                }
                self.seen |= seen(16, shadow.set_common_slots(bits).is_ok());
            }
            Operation::AnyCommonSlots { slots } => {
                self.seen |= seen(18, shadow.set_common_slots(slots).is_ok())
            }
            Operation::Populate { address, pages } => {
                let pages = u64::from(pages % 64);
                let done = shadow.populate(guest, number, address.value(), pages);
                assert!(done.is_err() || done.is_ok_and(|done| done <= pages));
            }
            Operation::Reclaim => self.seen |= seen(20, shadow.reclaim_one()),
        }
    }

    fn load_root(&mut self, root: u64, keep: bool) {
        let loaded = self.machine.load_root(root, keep).is_ok();
        self.seen |= seen(0, loaded);
        if loaded && !keep {
            self.expect_all_fresh(false);
        }
    }

    /// An access may find what was cached earlier, but only memory of the domain.
    fn access(&mut self, address: u64, access: Access) {
        if !is_guest_address(address) {
            return;
        }
        let (start, bytes) = (self.machine.guest.host, self.machine.guest.bytes);
        match self.machine.try_access(address, access) {
            Ok(Ok(host)) => {
                assert!((start..start + bytes).contains(&host), "{host:#x} is not the domain's");
                self.seen |= seen(2, access.is_user());
            }
            Ok(Err(_)) => unreachable!("either it is served or it is a fault"),
            Err(Failure::Fault(code)) => self.seen |= seen(4 + (code as u32 & 1) * 2, access.is_user()),
            Err(Failure::PoolExhausted) => self.seen |= seen(8, access.is_user()),
        }
    }

    /// After a flush of `address`: every access there gives what the guest's tables say now.
    fn expect_fresh(&mut self, address: u64) {
        if !is_guest_address(address) {
            return;
        }
        let root = self.machine.guest_root();
        let is_common = self.machine.shadow.is_common_address(address);
        for kind in 0..8 {
            let access = access_of(kind);
            let expected = self.machine.guest.expect(root, address, access);
            let host = self.machine.guest.host;
            let result = match self.machine.try_access(address, access) {
                Ok(host_address) => host_address.map(|at| at - host),
                Err(Failure::Fault(code)) => Err(code),
                Err(Failure::PoolExhausted) => continue,
            };
            if access.is_user() && is_common {
                assert!(result.is_err(), "user mode reaches a common slot");
                continue;
            }
            assert_eq!(result, expected, "{access:?} at {address:#x}");
            if result.is_ok() {
                let found = walk(&self.machine.guest, root, address, access, &mut Path::default());
                let (_, found) = found.expect("it was allowed");
                assert!(found.entry & DIRTY != 0 || !access.writes(), "written without a mark");
            }
        }
    }

    /// After a flush of everything, or of everything but the common slots.
    fn expect_all_fresh(&mut self, common_too: bool) {
        for slots in [[0; 4], [7; 4], [7, 7, 0, 0], [1, 0, 7, 0], [0, 1, 1, 1], [6, 6, 6, 6], [3, 0, 0, 7]] {
            let address = Address::Any(slots.map(Slot), 0).value();
            if common_too || !self.machine.shadow.is_common_address(address) {
                self.expect_fresh(address);
            }
        }
    }
}

/// A bit for one of the two results of an operation's kind.
fn seen(kind: u32, yes: bool) -> Outcome {
    1 << (kind + u32::from(yes))
}

fn place(table: Frame, slot: Slot) -> u64 {
    table.address() + slot.index() * 8
}

/// An entry with the usual bits, mostly present.
fn link(to: Frame, rights: u8, level_bits: u8) -> u64 {
    let mut entry = to.address();
    for (number, bit) in [WRITABLE, USER, NO_EXECUTE, GLOBAL].into_iter().enumerate() {
        if rights >> number & 1 != 0 {
            entry |= bit;
        }
    }
    if level_bits & 7 != 7 {
        entry |= PRESENT;
    }
    match level_bits >> 3 & 7 {
        // A large page; the frame's low bits are reserved there, so some are aligned.
        0 => entry | LARGE,
        1 => LARGE | entry & !0x1f_f000,
        2 => LARGE | entry & !0x3fff_f000,
        3 => entry | 1 << 40,
        _ => entry,
    }
}

/// Each operation once, a self-mapped root, and noise.
#[must_use]
pub fn seeds() -> Vec<Vec<u8>> {
    let mut random = hypervisor::mmu::miniature::Random::new(0xc0ffee);
    let mut seeds: Vec<Vec<u8>> =
        (0..24).map(|number| (0..64 << (number % 4)).map(|_| random.word() as u8).collect()).collect();
    for (number, seed) in seeds.iter_mut().enumerate() {
        seed[0] = number as u8;
    }
    seeds
}
