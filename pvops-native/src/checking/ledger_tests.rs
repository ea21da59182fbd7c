//! Tests of the ledger: one memory of a few frames, one kernel that breaks one rule per test.

extern crate std;

use std::boxed::Box;
use std::cell::RefCell;
use std::collections::HashMap;

use pvops_abi::addr::{PhysAddr, VirtAddr};
use pvops_abi::ops::mmu::{Level, PageFlags, Retain, Slot};

use super::{ENTRIES, Flush, Frames, Ledger, Violation, needs_flush};
use crate::page_entry::{leaf, table};

const ROOT: PhysAddr = PhysAddr(0x1000);
const OTHER_ROOT: PhysAddr = PhysAddr(0x5000);
const BOOT_ROOT: PhysAddr = PhysAddr(0x9000);
/// A table's copy lies this much higher.
const COPIES: u64 = 0x1000_0000;
const PAGE: VirtAddr = VirtAddr(0x40_2000);

#[derive(Default)]
struct Memory(RefCell<HashMap<(u64, usize), u64>>);

impl Frames for Memory {
    fn load(&self, frame: PhysAddr, index: usize) -> u64 {
        self.0.borrow().get(&(frame.0, index)).copied().unwrap_or(0)
    }
    fn store(&self, frame: PhysAddr, index: usize, raw: u64) {
        self.0.borrow_mut().insert((frame.0, index), raw);
    }
}

/// A kernel with a root and one table of each level below it at frames 0x1000 to 0x4000.
struct Kernel {
    memory: Memory,
    ledger: Box<Ledger>,
    current: PhysAddr,
}

impl Kernel {
    fn new() -> Self {
        let mut kernel =
            Self { memory: Memory::default(), ledger: Box::new(Ledger::new()), current: BOOT_ROOT };
        let levels = [Level::Pml4, Level::Pdpt, Level::Pd, Level::Pt];
        for (frame, level) in (1..).zip(levels) {
            kernel.announce(PhysAddr(frame * 0x1000), level).unwrap();
        }
        for (frame, level) in (1..).zip(&levels[..3]) {
            let slot = kernel.slot(PhysAddr(frame * 0x1000), *level);
            kernel.write(slot, table(PhysAddr((frame + 1) * 0x1000), true)).unwrap();
        }
        kernel.current = ROOT;
        kernel
    }

    fn slot(&self, table: PhysAddr, level: Level) -> Slot {
        let address = VirtAddr(PAGE.0 & !(level.entry_bytes() - 1));
        Slot { table, index: PAGE.table_index(level as u8), level, address }
    }

    fn page_slot(&self) -> Slot {
        self.slot(PhysAddr(0x4000), Level::Pt)
    }

    fn announce(&mut self, frame: PhysAddr, level: Level) -> Result<bool, Violation> {
        self.ledger.announce(&self.memory, frame, level, PhysAddr(frame.0 + COPIES))
    }

    fn write(&mut self, slot: Slot, new: u64) -> Result<(), Violation> {
        self.ledger.check_write(&self.memory, slot, new)?;
        let old = self.memory.load(slot.table, slot.index);
        self.memory.store(slot.table, slot.index, new);
        self.ledger.written(&self.memory, slot, old, new, self.current);
        Ok(())
    }

    fn load(&mut self, root: PhysAddr, retain: Retain) -> Result<(), Violation> {
        self.ledger.check_root(&self.memory, root, retain, self.current)?;
        self.ledger.loaded(root);
        self.current = root;
        Ok(())
    }

    fn release(&mut self, frame: PhysAddr, level: Level) -> Result<PhysAddr, Violation> {
        self.ledger.release(&self.memory, frame, level, self.current)
    }

    fn flush_page(&mut self) {
        self.ledger.flushed(Flush::Range { start: PAGE.0, last: PAGE.0 + 0xfff });
    }
}

fn data_leaf(frame: u64) -> u64 {
    let flags = PageFlags::PRESENT | PageFlags::WRITABLE | PageFlags::USER | PageFlags::NO_EXECUTE;
    leaf(Level::Pt, PhysAddr(frame), flags)
}

fn rule<T>(result: Result<T, Violation>) -> &'static str {
    result.err().map_or("", |violation| violation.rule)
}

#[test]
fn an_honest_kernel_passes() {
    let mut kernel = Kernel::new();
    kernel.write(kernel.page_slot(), data_leaf(0x20_0000)).unwrap();
    kernel.load(ROOT, Retain::Drop).unwrap();
    kernel.memory.store(PhysAddr(0x4000), PAGE.table_index(1), data_leaf(0x20_0000) | 0x60);
    kernel.ledger.verify(&kernel.memory).unwrap();
    assert_eq!(kernel.ledger.leaf_at(&kernel.memory, ROOT, PAGE), Some(PhysAddr(0x20_0000)));
    kernel.write(kernel.page_slot(), 0).unwrap();
    kernel.flush_page();
    kernel.write(kernel.slot(PhysAddr(0x3000), Level::Pd), 0).unwrap();
    kernel.flush_page();
    assert_eq!(kernel.release(PhysAddr(0x4000), Level::Pt), Ok(PhysAddr(0x4000 + COPIES)));
    kernel.load(ROOT, Retain::Keep).unwrap();
}

#[test]
fn announcing() {
    let mut kernel = Kernel::new();
    assert!(rule(kernel.announce(ROOT, Level::Pml4)).contains("twice"));
    assert!(rule(kernel.announce(PhysAddr(0x7010), Level::Pt)).contains("aligned"));
    kernel.memory.store(PhysAddr(0x6000), 3, table(PhysAddr(0xabc000), false));
    assert!(rule(kernel.announce(PhysAddr(0x6000), Level::Pd)).contains("not announced"));
    for frame in 0x100.. {
        if !kernel.announce(PhysAddr(frame * 0x1000), Level::Pt).unwrap() {
            break;
        }
        assert!(frame < 0x100 + super::MAX_TABLES as u64, "bounded");
    }
}

#[test]
fn linking() {
    let mut kernel = Kernel::new();
    let slot = kernel.slot(PhysAddr(0x3000), Level::Pd);
    assert!(rule(kernel.write(slot, table(PhysAddr(0x8000), true))).contains("not announced"));
    assert!(rule(kernel.write(slot, table(PhysAddr(0x2000), true))).contains("another level"));
}

#[test]
fn slots() {
    let kernel = Kernel::new();
    let good = kernel.page_slot();
    let check = |slot| rule(kernel.ledger.check_slot(slot));
    assert_eq!(check(good), "");
    assert!(check(Slot { table: PhysAddr(0xf000), ..good }).contains("no table"));
    assert_eq!(kernel.ledger.check_read(Slot { table: PhysAddr(0xf000), ..good }), Ok(()));
    assert!(check(Slot { level: Level::Pd, ..good }).contains("level"));
    assert!(check(Slot { index: 5, ..good }).contains("index"));
    assert!(check(Slot { index: ENTRIES, ..good }).contains("index"));
    assert!(check(Slot { address: VirtAddr(PAGE.0 + 8), ..good }).contains("first"));
}

#[test]
fn leaves() {
    let mut kernel = Kernel::new();
    let flags = PageFlags::PRESENT | PageFlags::WRITABLE;
    let page = kernel.page_slot();
    assert!(rule(kernel.write(page, leaf(Level::Pt, PhysAddr(0x7000), flags))).contains("executable"));
    let large = kernel.slot(PhysAddr(0x3000), Level::Pd);
    let raw = leaf(Level::Pd, PhysAddr(0), PageFlags::PRESENT);
    assert!(rule(kernel.write(large, raw)).contains("larger"));
    assert!(rule(kernel.ledger.check_clearing(&kernel.memory, page)).contains("no leaf"));
}

#[test]
fn a_plain_store_is_noticed() {
    let mut kernel = Kernel::new();
    kernel.memory.store(PhysAddr(0x4000), 77, data_leaf(0x3000));
    let violation = kernel.load(ROOT, Retain::Drop).unwrap_err();
    assert!(violation.rule.contains("outside"));
    assert_eq!((violation.frame, violation.index), (PhysAddr(0x4000), Some(77)));
    let mut kernel = Kernel::new();
    kernel.memory.store(PhysAddr(0x4000), PAGE.table_index(1), PageFlags::ACCESSED.bits());
    assert!(rule(kernel.write(kernel.page_slot(), 0)).contains("outside"), "not even A in an absent entry");
}

#[test]
fn a_forgotten_flush_is_noticed_at_the_next_load() {
    let mut kernel = Kernel::new();
    kernel.write(kernel.page_slot(), data_leaf(0x20_0000)).unwrap();
    kernel.write(kernel.page_slot(), data_leaf(0x30_0000)).unwrap();
    let violation = kernel.load(ROOT, Retain::Drop).unwrap_err();
    assert!(violation.rule.contains("flushed"));
    assert_eq!(violation.address, Some(PAGE));
    kernel.ledger.flushed(Flush::Range { start: PAGE.0 + 0x1000, last: PAGE.0 + 0x1fff });
    assert!(kernel.load(ROOT, Retain::Drop).is_err(), "the neighbour does not count");
    kernel.flush_page();
    kernel.load(ROOT, Retain::Drop).unwrap();
}

#[test]
fn too_many_changes_ask_for_a_flush_of_everything() {
    let mut kernel = Kernel::new();
    for index in 0..100 {
        let address = VirtAddr(0x40_0000 + index as u64 * 0x1000);
        let slot = Slot { index, address, ..kernel.page_slot() };
        kernel.write(slot, data_leaf(0x20_0000)).unwrap();
        kernel.write(slot, 0).unwrap();
    }
    kernel.ledger.flushed(Flush::Range { start: 0, last: u64::MAX });
    assert!(rule(kernel.load(ROOT, Retain::Drop)).contains("many"));
    kernel.ledger.flushed(Flush::All);
    kernel.load(ROOT, Retain::Drop).unwrap();
}

#[test]
fn releasing() {
    let mut kernel = Kernel::new();
    assert!(rule(kernel.release(PhysAddr(0x8000), Level::Pt)).contains("no table"));
    assert!(rule(kernel.release(PhysAddr(0x4000), Level::Pd)).contains("level"));
    assert!(rule(kernel.release(PhysAddr(0x4000), Level::Pt)).contains("linked"));
    assert!(rule(kernel.release(ROOT, Level::Pml4)).contains("in use"));
    kernel.write(kernel.slot(PhysAddr(0x3000), Level::Pd), 0).unwrap();
    assert!(rule(kernel.release(PhysAddr(0x4000), Level::Pt)).contains("before the flush"));
}

#[test]
fn a_root_changed_behind_its_back_is_not_kept() {
    let mut kernel = Kernel::new();
    kernel.write(kernel.page_slot(), data_leaf(0x20_0000)).unwrap();
    kernel.announce(OTHER_ROOT, Level::Pml4).unwrap();
    kernel.load(OTHER_ROOT, Retain::Drop).unwrap();
    kernel.write(kernel.page_slot(), 0).unwrap();
    assert!(rule(kernel.load(ROOT, Retain::Keep)).contains("kept"));
    kernel.load(ROOT, Retain::Drop).unwrap();
    kernel.load(OTHER_ROOT, Retain::Keep).unwrap();
    kernel.load(ROOT, Retain::Keep).unwrap();
}

#[test]
fn roots() {
    let mut kernel = Kernel::new();
    assert!(rule(kernel.load(OTHER_ROOT, Retain::Drop)).contains("announced"));
    assert!(rule(kernel.load(PhysAddr(0x2000), Retain::Drop)).contains("no root"));
    kernel.announce(OTHER_ROOT, Level::Pml4).unwrap();
    kernel.ledger.set_common_slots(&[1, 0, 0, 0, 0, 0, 0, 0]);
    assert!(rule(kernel.load(OTHER_ROOT, Retain::Drop)).contains("common"));
    kernel.ledger.begin_batch().unwrap();
    assert!(rule(kernel.load(ROOT, Retain::Drop)).contains("batch"));
    assert!(rule(kernel.ledger.begin_batch()).contains("within"));
    kernel.ledger.end_batch().unwrap();
    assert!(rule(kernel.ledger.end_batch()).contains("never"));
}

#[test]
fn what_needs_a_flush() {
    let read_only = data_leaf(0x2000) & !PageFlags::WRITABLE.bits();
    let needs = |old, new| needs_flush(Level::Pt, old, new);
    assert!(!needs(0, data_leaf(0x2000)), "new");
    assert!(!needs(read_only, data_leaf(0x2000)), "widened");
    assert!(!needs(data_leaf(0x2000), data_leaf(0x2000) | PageFlags::SOFTWARE_0.bits()), "a mark");
    assert!(needs(data_leaf(0x2000), read_only), "narrowed");
    assert!(needs(data_leaf(0x2000), data_leaf(0x3000)), "elsewhere");
    assert!(needs(data_leaf(0x2000), 0), "removed");
    assert!(needs(read_only & !PageFlags::NO_EXECUTE.bits(), read_only), "no longer executable");
    assert!(needs(data_leaf(0x2000) | PageFlags::DIRTY.bits(), data_leaf(0x2000)), "dirty again");
}
