//! The two views of a root, and the slots that all roots share.

use super::*;
use crate::mmu::bits::{ACCESSED, NO_EXECUTE, PRESENT, USER, WRITABLE};
use crate::mmu::miniature::guest::TABLE;
use crate::mmu::{HYPERVISOR_LAST, index};

/// A bitmap of PML4 slots, as MMU.set_common_slots takes it.
fn slots(addresses: &[u64]) -> [u64; 8] {
    let mut words = [0; 8];
    for address in addresses {
        let slot = index(*address, 4);
        words[slot / 64] |= 1 << (slot % 64);
    }
    words
}

// covers: MMU-002
#[test]
fn the_user_view_maps_only_pages_that_are_user_pages_at_every_level() {
    for leaf in 1..=3 {
        for level in leaf..=4 {
            let mut machine = usual();
            let root = machine.guest_root();
            machine.guest.map(root, USER_ADDRESS, leaf, GIB, WRITABLE | USER);
            machine.guest.change(root, USER_ADDRESS, level, |entry| entry & !USER);
            machine.access(USER_ADDRESS, Access::KERNEL_WRITE).unwrap();
            assert!(!machine.is_cached(USER_ADDRESS, USER_READ), "leaf {leaf}, level {level}");
            let code = error::PRESENT | error::USER;
            assert_eq!(machine.access(USER_ADDRESS, USER_READ), Err(code));
            machine.audit();
        }
    }
}

#[test]
fn both_views_share_the_leaves_of_a_user_slot() {
    let mut machine = usual();
    machine.guest.map(machine.guest_root(), USER_ADDRESS, 1, GIB, WRITABLE | USER);
    machine.access(USER_ADDRESS, USER_WRITE).unwrap();
    assert!(machine.is_cached(USER_ADDRESS, Access::KERNEL_WRITE));
    machine.guest.map(machine.guest_root(), USER_ADDRESS + 4096, 1, GIB, WRITABLE | USER);
    machine.access(USER_ADDRESS + 4096, Access::KERNEL_WRITE).unwrap();
    assert!(machine.is_cached(USER_ADDRESS + 4096, USER_WRITE));
    assert_eq!(machine.hidden_faults, 2);
    machine.audit();
}

#[test]
fn a_slot_with_kernel_pages_gets_a_subtree_of_its_own_in_the_kernel_view() {
    let mut machine = usual();
    let root = machine.guest_root();
    machine.guest.map(root, USER_ADDRESS, 1, GIB, WRITABLE | USER);
    machine.guest.map(root, USER_ADDRESS + 4096, 1, 2 * GIB, WRITABLE);
    machine.access(USER_ADDRESS, USER_WRITE).unwrap();
    assert_eq!(machine.access(USER_ADDRESS + 4096, Access::KERNEL_WRITE), Ok(10 * GIB));
    // The user view keeps what it had; the kernel view reaches both pages; the kernel page is nobody else's.
    assert!(machine.is_cached(USER_ADDRESS, USER_WRITE));
    assert_eq!(machine.access(USER_ADDRESS, Access::KERNEL_WRITE), Ok(9 * GIB));
    assert!(!machine.is_cached(USER_ADDRESS + 4096, USER_READ));
    machine.audit();
    // Flushes reach both.
    machine.flush_page(USER_ADDRESS);
    assert!(!machine.is_cached(USER_ADDRESS, USER_READ));
    assert!(!machine.is_cached(USER_ADDRESS, Access::KERNEL_READ));
    // A user page that is read by the kernel first must still reach user mode.
    machine.access(USER_ADDRESS, Access::KERNEL_READ).unwrap();
    machine.access(USER_ADDRESS, USER_READ).unwrap();
    machine.audit();
}

#[test]
fn kernel_pages_alone_make_no_user_subtree() {
    let mut machine = usual();
    let before = machine.shadow.free_tables();
    machine.guest.map(machine.guest_root(), KERNEL_ADDRESS, 1, GIB, WRITABLE);
    machine.access(KERNEL_ADDRESS, KERNEL_FETCH).unwrap();
    assert_eq!(before - machine.shadow.free_tables(), 3);
    machine.audit();
}

/// Two roots with the same kernel slot, which is declared common.
fn with_common_slot() -> (Machine, u64, u64) {
    let mut machine = usual();
    let first = machine.guest_root();
    machine.guest.map(first, KERNEL_ADDRESS, 2, GIB, WRITABLE);
    machine.guest.map(first, KERNEL_ADDRESS + 2 * MIB, 1, 2 * GIB, NO_EXECUTE);
    let second = machine.guest.new_table();
    let kernel_slot = first + index(KERNEL_ADDRESS, 4) as u64 * 8;
    machine.guest.write(second + kernel_slot % 4096, machine.guest.read(kernel_slot) & !USER);
    machine.guest.write(kernel_slot, machine.guest.read(kernel_slot) & !USER);
    let slots = slots(&[KERNEL_ADDRESS]);
    machine.shadow.set_common_slots(slots).unwrap();
    (machine, first, second)
}

#[test]
fn a_new_root_finds_the_common_slots_filled() {
    let (mut machine, first, second) = with_common_slot();
    machine.access(KERNEL_ADDRESS, Access::KERNEL_WRITE).unwrap();
    machine.access(KERNEL_ADDRESS + 2 * MIB, Access::KERNEL_READ).unwrap();
    let faults = machine.hidden_faults;
    for root in [second, first, second] {
        for keep in [true, false] {
            machine.load_root(root, keep).unwrap();
            machine.access(KERNEL_ADDRESS + 8, Access::KERNEL_WRITE).unwrap();
            machine.access(KERNEL_ADDRESS + 2 * MIB, Access::KERNEL_READ).unwrap();
            machine.audit();
        }
    }
    assert_eq!(machine.hidden_faults, faults);
}

#[test]
fn a_root_seen_before_takes_no_hidden_fault() {
    let mut machine = usual();
    let first = machine.guest_root();
    let second = machine.guest.new_table();
    for root in [first, second] {
        machine.guest.map(root, USER_ADDRESS, 1, GIB, WRITABLE | USER);
        machine.load_root(root, true).unwrap();
        machine.access(USER_ADDRESS, USER_WRITE).unwrap();
    }
    for root in [first, second, first] {
        machine.load_root(root, true).unwrap();
        machine.access(USER_ADDRESS, USER_WRITE).unwrap();
    }
    assert_eq!(machine.hidden_faults, 2);
}

#[test]
fn a_flush_in_one_root_reaches_a_common_page_in_all() {
    let (mut machine, _, second) = with_common_slot();
    machine.access(KERNEL_ADDRESS, Access::KERNEL_WRITE).unwrap();
    machine.load_root(second, true).unwrap();
    machine.flush_page(KERNEL_ADDRESS + 0x5000);
    for root in [second, machine.guest_root()] {
        machine.load_root(root, true).unwrap();
        assert!(!machine.is_cached(KERNEL_ADDRESS, Access::KERNEL_READ));
    }
}

// covers: MMU-017
#[test]
fn user_mode_never_reaches_a_common_slot() {
    let (mut machine, first, _) = with_common_slot();
    for level in 2..=4 {
        machine.guest.change(first, KERNEL_ADDRESS, level, |entry| entry | USER);
    }
    let code = error::PRESENT | error::USER;
    assert_eq!(machine.access(KERNEL_ADDRESS, USER_READ), Err(code));
    assert_eq!(machine.access(KERNEL_ADDRESS + 4 * MIB, USER_READ), Err(error::USER), "absent");
    let marks = machine.guest.entry(first, KERNEL_ADDRESS, 2) & ACCESSED;
    assert_eq!(marks, 0, "an access that is not made leaves no mark");
    machine.access(KERNEL_ADDRESS, Access::KERNEL_READ).unwrap();
    assert!(!machine.is_cached(KERNEL_ADDRESS, USER_READ));
    assert_eq!(machine.access(KERNEL_ADDRESS, KERNEL_FETCH), Err(error::PRESENT | error::FETCH));
    machine.audit();
}

// covers: MMU-017
#[test]
fn an_access_that_a_common_slot_refuses_marks_no_table_on_the_way() {
    let (mut machine, first, _) = with_common_slot();
    let address = KERNEL_ADDRESS + GIB;
    machine.guest.set(first, address, 1, GIB | PRESENT | WRITABLE | USER, TABLE);
    machine.guest.change(first, address, 4, |entry| (entry | USER) & !ACCESSED);
    let code = error::PRESENT | error::USER;
    assert_eq!(machine.access(address, USER_READ), Err(code));
    for level in 1..=4 {
        assert_eq!(machine.guest.entry(first, address, level) & ACCESSED, 0, "level {level}");
    }
}

#[test]
fn common_slots_can_be_declared_again_and_taken_back() {
    let (mut machine, first, second) = with_common_slot();
    machine.guest.map(first, USER_ADDRESS, 1, GIB, WRITABLE);
    for addresses in [&[KERNEL_ADDRESS, USER_ADDRESS][..], &[USER_ADDRESS], &[KERNEL_ADDRESS], &[]] {
        machine.access(KERNEL_ADDRESS, Access::KERNEL_WRITE).unwrap();
        machine.access(USER_ADDRESS, Access::KERNEL_WRITE).unwrap();
        machine.shadow.set_common_slots(slots(addresses)).unwrap();
        machine.audit();
        assert!(!machine.is_cached(KERNEL_ADDRESS, Access::KERNEL_READ));
        assert!(!machine.is_cached(USER_ADDRESS, Access::KERNEL_READ));
        machine.access(KERNEL_ADDRESS, Access::KERNEL_WRITE).unwrap();
        machine.load_root(second, true).unwrap();
        machine.audit();
        machine.load_root(first, true).unwrap();
    }
    assert!(machine.shadow.release_root(second));
    machine.audit();
}

#[test]
fn too_many_common_slots_are_refused_and_the_hypervisors_are_left_out() {
    let mut machine = usual();
    assert_eq!(machine.shadow.set_common_slots([0, 0, 0, 0, 0, 0, 1, u64::MAX]), Err(Failure::PoolExhausted));
    machine.audit();
    machine.shadow.set_common_slots([0, 0, 0, 0, 0x1_ffff, 0, 0, 0]).unwrap();
    machine.audit();
    let root = machine.guest_root();
    machine.guest.set(root, HYPERVISOR_LAST + 1, 1, GIB | PRESENT, TABLE & !USER);
    machine.access(HYPERVISOR_LAST + 1, Access::KERNEL_READ).unwrap();
    machine.audit();
}
