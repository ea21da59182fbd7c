//! Registers of devices: at their own addresses, uncached whatever the guest says, and never a table.

use super::*;
use crate::mmu::bits::{ACCESSED, CACHE_DISABLE, DIRTY, LARGE, PRESENT, USER, WRITABLE, WRITE_THROUGH};
use crate::mmu::miniature::guest::TABLE;
use crate::mmu::span;

const HOST: u64 = 16 * GIB;
/// Memory ends in the middle of a 2 MiB page, and a device's registers begin there.
const MEMORY: u64 = GIB + MIB;
const RESERVED: u64 = error::PRESENT | error::RESERVED;
const UNCACHED: u64 = CACHE_DISABLE | WRITE_THROUGH;

/// A guest with memory below [`MEMORY`] and the registers of two devices: 12 KiB right behind memory, and 6 MiB from
/// 4 GiB + 2 MiB - 4 KiB.
fn machine() -> Machine {
    let mut machine = Machine::new(MEMORY, HOST, 64);
    machine.guest.registers = vec![MEMORY..MEMORY + 0x3000, FAR..FAR + 6 * MIB];
    machine
}

const FAR: u64 = 4 * GIB + 2 * MIB - 4096;

// covers: DEV-003, DEV-005
#[test]
fn registers_stand_at_their_own_address_and_are_uncached_whatever_the_guest_says() {
    for flags in [0, CACHE_DISABLE, WRITE_THROUGH, UNCACHED] {
        let mut machine = machine();
        machine.guest.map(machine.guest_root(), USER_ADDRESS, 1, FAR, WRITABLE | USER | flags);
        assert_eq!(machine.access(USER_ADDRESS + 8, USER_WRITE), Ok(FAR + 8));
        let leaf = machine.shadow.leaf_of(machine.root.number, USER_ADDRESS);
        assert_eq!(leaf & UNCACHED, UNCACHED);
        machine.audit();
    }
}

#[test]
fn memory_is_cached_whatever_the_guest_says() {
    for flags in [0, CACHE_DISABLE, WRITE_THROUGH, UNCACHED] {
        let mut machine = machine();
        machine.guest.map(machine.guest_root(), USER_ADDRESS, 1, 0x5000, WRITABLE | USER | flags);
        assert_eq!(machine.access(USER_ADDRESS, USER_WRITE), Ok(HOST + 0x5000));
        let leaf = machine.shadow.leaf_of(machine.root.number, USER_ADDRESS);
        assert_eq!(leaf & UNCACHED, 0);
    }
}

#[test]
fn a_leaf_across_the_end_of_memory_is_memory_here_and_registers_there() {
    for level in [2, 3] {
        let mut machine = machine();
        machine.guest.map(machine.guest_root(), USER_ADDRESS, level, GIB, WRITABLE | USER);
        let cases = [
            (MIB - 4096, Ok(HOST + MEMORY - 4096), 0),
            (MIB, Ok(MEMORY), UNCACHED),
            (MIB + 0x2ff8, Ok(MEMORY + 0x2ff8), UNCACHED),
            (MIB + 0x3000, Err(RESERVED | error::WRITE | error::USER), 0),
        ];
        for (offset, expected, caching) in cases {
            assert_eq!(machine.access(USER_ADDRESS + offset, USER_WRITE), expected, "{offset:#x}");
            let leaf = machine.shadow.leaf_of(machine.root.number, USER_ADDRESS + offset);
            assert_eq!((leaf & UNCACHED, leaf & LARGE), (caching, 0), "{offset:#x}");
        }
        machine.audit();
        // One flush anywhere in the guest's page drops all pieces, of both kinds.
        machine.flush_page(USER_ADDRESS + MIB);
        assert!(!machine.is_cached(USER_ADDRESS + MIB, USER_READ));
        assert!(!machine.is_cached(USER_ADDRESS + MIB - 4096, USER_READ));
    }
}

#[test]
fn large_leaves_are_used_where_they_are_wholly_registers() {
    let mut machine = machine();
    machine.guest.map(machine.guest_root(), USER_ADDRESS, 3, 4 * GIB, WRITABLE | USER);
    let cases = [
        (2 * MIB - 8192, Err(RESERVED | error::USER), false),
        (2 * MIB - 4096, Ok(FAR), false),
        (2 * MIB, Ok(4 * GIB + 2 * MIB), true),
        (6 * MIB - 8, Ok(4 * GIB + 6 * MIB - 8), true),
        (8 * MIB - 8192, Ok(4 * GIB + 8 * MIB - 8192), false),
        (8 * MIB - 4096, Err(RESERVED | error::USER), false),
    ];
    for (offset, expected, is_large) in cases {
        assert_eq!(machine.access(USER_ADDRESS + offset, USER_READ), expected, "{offset:#x}");
        let leaf = machine.shadow.leaf_of(machine.root.number, USER_ADDRESS + offset);
        assert_eq!(leaf & LARGE != 0, is_large, "{offset:#x}");
    }
    machine.audit();
}

#[test]
fn a_page_that_changes_its_kind_changes_its_caching() {
    let mut machine = machine();
    let root = machine.guest_root();
    for (phys, caching) in [(0x5000, 0), (FAR, UNCACHED), (0x6000, 0)] {
        machine.guest.map(root, USER_ADDRESS, 1, phys, USER);
        machine.flush_page(USER_ADDRESS);
        machine.access(USER_ADDRESS, USER_READ).unwrap();
        assert_eq!(machine.shadow.leaf_of(machine.root.number, USER_ADDRESS) & UNCACHED, caching);
        machine.audit();
    }
}

// covers: DEV-006
/// A device could answer anything at each look: what is checked once would not be what is used.
#[test]
fn registers_are_never_tables() {
    for level in 2..=4 {
        let mut machine = machine();
        let root = machine.guest_root();
        machine.guest.map(root, USER_ADDRESS, 1, 0x5000, WRITABLE | USER);
        // Present entries in the registers, which must not even be looked at.
        (0..512).for_each(|at| machine.guest.write(FAR + at * 8, 0x5000 | TABLE));
        machine.guest.change(root, USER_ADDRESS, level, |_| FAR | TABLE);
        assert_eq!(machine.access(USER_ADDRESS, USER_READ), Err(RESERVED | error::USER), "level {level}");
    }
}

/// What lies between, before and behind is nobody's.
#[test]
fn only_assigned_registers_are_mapped() {
    let mut machine = machine();
    let root = machine.guest_root();
    for phys in [MEMORY + 0x3000, 2 * GIB, FAR - 4096, FAR + 6 * MIB, HOST, 0x000f_ffff_ffff_f000] {
        machine.guest.map(root, USER_ADDRESS, 1, phys, WRITABLE | USER);
        assert_eq!(machine.access(USER_ADDRESS, USER_READ), Err(RESERVED | error::USER), "{phys:#x}");
    }
    assert_eq!(machine.guest.entry(root, USER_ADDRESS, 1) & (ACCESSED | DIRTY | PRESENT), PRESENT);
    assert!(FAR.is_multiple_of(span(1)));
}
