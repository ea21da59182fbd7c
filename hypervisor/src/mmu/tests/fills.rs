//! Fills: what a fault loads, how much of it, and with which rights.

use super::*;
use crate::mmu::bits::{ACCESSED, CACHE_DISABLE, DIRTY, NO_EXECUTE, PRESENT, USER, WRITABLE, WRITE_THROUGH};
use crate::mmu::miniature::guest::TABLE;
use crate::mmu::{HYPERVISOR_LAST, HYPERVISOR_START, span};

const HOST: u64 = 8 * GIB;

#[test]
fn one_fault_loads_a_whole_page_of_each_size() {
    for level in 1..=3 {
        let mut machine = usual();
        machine.guest.map(machine.guest_root(), USER_ADDRESS, level, GIB, WRITABLE | USER);
        let last = span(level) - 8;
        assert_eq!(machine.access(USER_ADDRESS + last, USER_WRITE), Ok(HOST + GIB + last));
        assert_eq!(machine.hidden_faults, 1);
        for offset in [0, 8, span(level) / 2, last] {
            assert_eq!(machine.access(USER_ADDRESS + offset, USER_WRITE), Ok(HOST + GIB + offset));
        }
        assert_eq!(machine.hidden_faults, 1, "level {level}");
        machine.audit();
    }
}

#[test]
fn a_large_page_becomes_smaller_ones_where_host_memory_is_not_aligned() {
    let mut machine = Machine::new(4 * GIB, 8 * GIB + 2 * MIB, 64);
    machine.guest.map(machine.guest_root(), USER_ADDRESS, 3, GIB, WRITABLE | USER);
    for offset in [0, 5 * MIB, 2 * MIB - 8, GIB - 8] {
        assert_eq!(machine.access(USER_ADDRESS + offset, USER_WRITE), Ok(8 * GIB + 2 * MIB + GIB + offset));
    }
    assert_eq!(machine.hidden_faults, 3, "2 MiB at a time");
    machine.audit();
}

#[test]
fn a_large_page_at_the_end_of_memory_is_loaded_as_far_as_memory_goes() {
    let mut machine = Machine::new(GIB + 4 * MIB, 8 * GIB, 64);
    machine.guest.map(machine.guest_root(), USER_ADDRESS, 3, GIB, WRITABLE | USER);
    assert_eq!(machine.access(USER_ADDRESS + 4 * MIB - 8, USER_READ), Ok(9 * GIB + 4 * MIB - 8));
    let code = error::PRESENT | error::RESERVED | error::USER;
    assert_eq!(machine.access(USER_ADDRESS + 4 * MIB, USER_READ), Err(code));
    machine.audit();
}

#[test]
fn a_clean_page_is_loaded_read_only_and_upgraded_by_the_first_write() {
    let mut machine = usual();
    let root = machine.guest_root();
    machine.guest.map(root, USER_ADDRESS, 1, GIB, WRITABLE | USER);
    machine.access(USER_ADDRESS, USER_READ).unwrap();
    assert_eq!(machine.guest.entry(root, USER_ADDRESS, 1) & (ACCESSED | DIRTY), ACCESSED);
    assert!(!machine.is_cached(USER_ADDRESS, USER_WRITE));
    machine.access(USER_ADDRESS, USER_WRITE).unwrap();
    assert_eq!(machine.guest.entry(root, USER_ADDRESS, 1) & DIRTY, DIRTY);
    assert_eq!(machine.hidden_faults, 2);
}

#[test]
fn a_dirty_page_is_writable_at_once() {
    let mut machine = usual();
    machine.guest.map(machine.guest_root(), USER_ADDRESS, 1, GIB, WRITABLE | USER | DIRTY);
    machine.access(USER_ADDRESS, USER_READ).unwrap();
    assert!(machine.is_cached(USER_ADDRESS, USER_WRITE));
}

#[test]
fn a_new_entry_needs_no_flush() {
    let mut machine = usual();
    let root = machine.guest_root();
    assert_eq!(machine.access(USER_ADDRESS, USER_READ), Err(error::USER));
    machine.guest.map(root, USER_ADDRESS, 1, GIB, USER);
    assert_eq!(machine.access(USER_ADDRESS, USER_READ), Ok(HOST + GIB));
    machine.guest.change(root, USER_ADDRESS, 1, |entry| entry | WRITABLE);
    assert_eq!(machine.access(USER_ADDRESS, USER_WRITE), Ok(HOST + GIB));
}

#[test]
fn write_protection_holds_in_both_modes() {
    let mut machine = usual();
    machine.guest.map(machine.guest_root(), USER_ADDRESS, 1, GIB, USER | DIRTY);
    let code = error::PRESENT | error::WRITE;
    assert_eq!(machine.access(USER_ADDRESS, USER_WRITE), Err(code | error::USER));
    assert_eq!(machine.access(USER_ADDRESS, Access::KERNEL_WRITE), Err(code));
    assert!(machine.access(USER_ADDRESS, Access::KERNEL_READ).is_ok());
    assert_eq!(machine.access(USER_ADDRESS, Access::KERNEL_WRITE), Err(code));
}

#[test]
fn no_execute_pages_cannot_be_executed() {
    let mut machine = usual();
    let root = machine.guest_root();
    machine.guest.map(root, USER_ADDRESS, 1, GIB, USER | NO_EXECUTE);
    machine.guest.map(root, KERNEL_ADDRESS, 2, GIB, WRITABLE | NO_EXECUTE);
    assert!(machine.access(USER_ADDRESS, USER_READ).is_ok());
    assert!(machine.access(KERNEL_ADDRESS, Access::KERNEL_READ).is_ok());
    let code = error::PRESENT | error::FETCH;
    assert_eq!(machine.access(USER_ADDRESS, USER_FETCH), Err(code | error::USER));
    assert_eq!(machine.access(KERNEL_ADDRESS, KERNEL_FETCH), Err(code));
}

#[test]
fn the_kernel_cannot_execute_user_pages() {
    let mut machine = usual();
    let root = machine.guest_root();
    machine.guest.map(root, USER_ADDRESS, 1, GIB, USER);
    // Once borrowed from the user view, once beside kernel pages of the same slot.
    for _ in 0..2 {
        assert!(machine.access(USER_ADDRESS, USER_FETCH).is_ok());
        assert!(machine.access(USER_ADDRESS, Access::KERNEL_READ).is_ok());
        assert_eq!(machine.access(USER_ADDRESS, KERNEL_FETCH), Err(error::PRESENT | error::FETCH));
        machine.guest.map(root, USER_ADDRESS + 4096, 1, GIB, 0);
        assert!(machine.access(USER_ADDRESS + 4096, KERNEL_FETCH).is_ok());
    }
    machine.audit();
}

#[test]
fn memory_is_write_back_whatever_the_guest_asks_for() {
    let mut machine = usual();
    let flags = WRITABLE | USER | CACHE_DISABLE | WRITE_THROUGH;
    machine.guest.map(machine.guest_root(), USER_ADDRESS, 1, GIB, flags);
    machine.access(USER_ADDRESS, USER_WRITE).unwrap();
    assert_eq!(
        machine.shadow.leaf_of(machine.root.number, USER_ADDRESS) & (CACHE_DISABLE | WRITE_THROUGH),
        0
    );
}

#[test]
fn a_large_page_takes_the_place_of_small_ones_and_back() {
    let mut machine = usual();
    let root = machine.guest_root();
    for page in 0..4 {
        machine.guest.map(root, USER_ADDRESS + page * 4096, 1, GIB + page * 8192, WRITABLE | USER);
        machine.access(USER_ADDRESS + page * 4096, USER_WRITE).unwrap();
    }
    machine.guest.map(root, USER_ADDRESS, 2, 2 * GIB, WRITABLE | USER);
    // Stale until flushed where they are cached, loaded as a whole elsewhere.
    assert_eq!(machine.access(USER_ADDRESS + 4 * 4096, USER_WRITE), Ok(HOST + 2 * GIB + 4 * 4096));
    assert_eq!(machine.access(USER_ADDRESS + 4096, USER_WRITE), Ok(HOST + 2 * GIB + 4096));
    machine.audit();
    machine.guest.set(root, USER_ADDRESS, 1, (3 * GIB) | PRESENT | USER, TABLE);
    machine.flush_page(USER_ADDRESS);
    assert_eq!(machine.access(USER_ADDRESS, USER_READ), Ok(HOST + 3 * GIB));
    machine.audit();
}

#[test]
fn replacing_a_large_leaf_by_a_table_leaves_no_translations_of_two_sizes() {
    let mut machine = usual();
    let root = machine.guest_root();
    machine.guest.map(root, KERNEL_ADDRESS, 2, GIB, 0);
    machine.access(KERNEL_ADDRESS, KERNEL_FETCH).unwrap();
    machine.guest.set(root, KERNEL_ADDRESS, 1, GIB | PRESENT, TABLE);
    // A fault would drop the translation by itself; here is none.
    machine.shadow.populate(&machine.guest, machine.root.number, KERNEL_ADDRESS, 1).unwrap();
    machine.access(KERNEL_ADDRESS, KERNEL_FETCH).unwrap();
    // Some CPUs stop with a machine check when they find an instruction's page in two sizes.
    assert_eq!(machine.shadow.tables().cached_sizes(KERNEL_ADDRESS), [4096]);
}

#[test]
fn populate_loads_readable_pages_and_marks_them_accessed_only() {
    let mut machine = usual();
    let root = machine.guest_root();
    for page in 0..8 {
        machine.guest.map(root, USER_ADDRESS + page * 4096, 1, GIB + page * 4096, WRITABLE | USER);
    }
    let number = machine.root.number;
    assert_eq!(machine.shadow.populate(&machine.guest, number, USER_ADDRESS, 5), Ok(5));
    for page in 0..8 {
        let address = USER_ADDRESS + page * 4096;
        assert_eq!(machine.is_cached(address, USER_READ), page < 5);
        let marks = machine.guest.entry(root, address, 1) & (ACCESSED | DIRTY);
        assert_eq!(marks, if page < 5 { ACCESSED } else { 0 });
    }
    assert_eq!(
        machine.shadow.populate(&machine.guest, number, USER_ADDRESS, 64),
        Ok(8),
        "the first gap ends it"
    );
    assert_eq!(machine.shadow.populate(&machine.guest, number, USER_ADDRESS, 0), Ok(0));
}

/// A guest may name any address. Its tables say yes to every one; the hypervisor's slots must stay as they are.
#[test]
fn populate_never_touches_addresses_that_no_guest_has() {
    let mut machine = usual();
    let root = machine.guest_root();
    for rights in [TABLE, PRESENT | WRITABLE] {
        for slot in 0..512 {
            machine.guest.write(root + slot * 8, root | rights);
        }
        machine.shadow.flush_all(machine.root.number, true);
        let odd = [HYPERVISOR_START, HYPERVISOR_LAST, 1 << 47, (1 << 47) + span(4) * 15, 1 << 48, 1 << 63];
        for address in odd {
            assert_eq!(machine.shadow.populate(&machine.guest, machine.root.number, address, 64), Ok(0));
            machine.audit();
        }
        let number = machine.root.number;
        assert_eq!(machine.shadow.populate(&machine.guest, number, (1 << 47) - 4096, 64), Ok(1));
        assert_eq!(machine.shadow.populate(&machine.guest, number, HYPERVISOR_START - 4096, 64), Ok(0));
        assert_eq!(machine.shadow.populate(&machine.guest, number, u64::MAX - 4095, 64), Ok(1));
        machine.audit();
    }
}

/// From another vCPU; the fault is taken once more, and nothing was loaded that the tables did not say.
#[test]
fn an_entry_that_keeps_changing_costs_a_fault_and_loads_nothing() {
    for level in 1..=3 {
        let mut machine = usual();
        let root = machine.guest_root();
        machine.guest.map(root, USER_ADDRESS, 1, GIB, WRITABLE | USER);
        let place = machine.guest.place(root, USER_ADDRESS, level).unwrap();
        machine.guest.meddler.set(Some((place, machine.guest.read(place), 999)));
        let number = machine.root.number;
        let result = machine.shadow.fault(&machine.guest, number, USER_ADDRESS, USER_WRITE);
        // A table that comes and goes may be one without the page.
        assert!(result == Ok(()) || level > 1);
        assert!(!machine.is_cached(USER_ADDRESS, USER_READ));
        machine.audit();
        machine.guest.meddler.set(None);
        machine.guest.map(root, USER_ADDRESS, 1, 2 * GIB, USER);
        assert_eq!(machine.access(USER_ADDRESS, USER_READ), Ok(10 * GIB), "level {level}");
        machine.audit();
    }
}

/// Tables that have to be marked or made first are no reason for a second fault.
#[test]
fn a_page_below_new_tables_takes_one_fault() {
    let mut machine = usual();
    for place in [0, 4096, 2 * MIB, GIB, 512 * GIB] {
        let faults = machine.hidden_faults;
        machine.guest.map(machine.guest_root(), USER_ADDRESS + place, 1, GIB, WRITABLE | USER);
        assert_eq!(machine.access(USER_ADDRESS + place, USER_WRITE), Ok(9 * GIB));
        assert_eq!(machine.hidden_faults, faults + 1, "{place:#x}");
        for level in 2..=4 {
            let entry = machine.guest.entry(machine.guest_root(), USER_ADDRESS + place, level);
            assert_eq!(entry & (ACCESSED | DIRTY), ACCESSED, "{place:#x}, level {level}");
        }
        machine.audit();
    }
}

/// Whatever stands side by side in the guest's table, populate does what a read of each page would have done.
#[test]
fn populate_does_what_reads_do() {
    let mut random = Random::new(0x706f_7075);
    for _ in 0..rounds(60) {
        let (mut populated, mut read) = (usual(), usual());
        let pages = 1 + random.below(40);
        let first = USER_ADDRESS + random.below(512) * 4096;
        for page in 0..pages + 2 {
            let flags = random.word() & (WRITABLE | USER | DIRTY | NO_EXECUTE);
            let frame = if random.one_in(24) { 6 * GIB } else { GIB + random.below(1000) * 4096 };
            let is_absent = random.one_in(30);
            for machine in [&mut populated, &mut read] {
                let root = machine.guest_root();
                machine.guest.map(root, first + page * 4096, 1, frame, flags);
                if is_absent {
                    machine.guest.change(root, first + page * 4096, 1, |_| 0);
                }
            }
        }
        let number = populated.root.number;
        let done = populated.shadow.populate(&populated.guest, number, first, pages).unwrap();
        let readable =
            (0..pages).take_while(|page| read.access(first + page * 4096, Access::KERNEL_READ).is_ok());
        assert_eq!(done, readable.count() as u64);
        populated.audit();
        for page in 0..pages + 2 {
            let address = first + page * 4096;
            let entry = |machine: &Machine| machine.guest.entry(machine.guest_root(), address, 1);
            assert_eq!(entry(&populated), entry(&read), "page {page} of {pages}");
            for access in [Access::KERNEL_READ, Access::KERNEL_WRITE, KERNEL_FETCH] {
                let cached = [populated.is_cached(address, access), read.is_cached(address, access)];
                assert_eq!(cached[0], cached[1], "page {page} of {pages}, {access:?}");
            }
        }
    }
}
