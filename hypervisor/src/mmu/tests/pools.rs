//! The pool: eviction, exhaustion and reuse. Whatever the guest does, no table is lost, shared or reused while
//! the hardware may walk it.

use super::*;
use crate::mmu::bits::{DIRTY, GLOBAL, USER, WRITABLE};
use crate::mmu::miniature::hardware::Pages;
use crate::mmu::pool::{PageInfo, Pool};
use crate::mmu::shadow::{MAX_ROOTS, Shadow};
use crate::mmu::span;

const FLAGS: u64 = WRITABLE | USER | DIRTY;

#[test]
fn no_pool_no_root() {
    for tables in 0..2 {
        let mut shadow =
            Shadow::new(Pages::new(tables), Pool::new(vec![PageInfo::default(); tables as usize].leak()));
        assert_eq!(shadow.load_root(4096, 0, true), Err(Failure::PoolExhausted));
        assert!(!shadow.reclaim_one());
        shadow.audit(0..0, &[]);
    }
}

#[test]
fn a_pool_too_small_for_a_fill_says_so_and_loses_nothing() {
    for tables in 2..6 {
        let mut machine = Machine::new(4 * GIB, 8 * GIB, tables);
        machine.guest.map(machine.guest_root(), USER_ADDRESS, 1, GIB, FLAGS);
        assert_eq!(machine.try_access(USER_ADDRESS, USER_READ), Err(Failure::PoolExhausted));
        machine.audit();
    }
}

#[test]
fn the_smallest_pool_serves_any_number_of_pages_one_by_one() {
    let mut machine = Machine::new(4 * GIB, 8 * GIB, 6);
    let root = machine.guest_root();
    for page in 0..40 {
        let address = USER_ADDRESS + page * span(2 + (page % 3) as u8);
        machine.guest.map(root, address, 1, GIB + page * 4096, FLAGS);
        assert_eq!(machine.access(address, USER_WRITE), Ok(9 * GIB + page * 4096));
        machine.audit();
    }
}

#[test]
fn a_domain_that_begins_anew_gets_every_table_back() {
    let mut machine = usual();
    // All but the two of the first root.
    let before = machine.shadow.free_tables() + 2;
    let mut slots = [0; 8];
    slots[511 / 64] = 1 << (511 % 64);
    machine.shadow.set_common_slots(slots).unwrap();
    for number in 0..3 {
        let root = machine.guest.new_table();
        machine.load_root(root, true).unwrap();
        for page in 0..4 {
            machine.guest.map(root, USER_ADDRESS + page * span(3), 1, GIB, FLAGS);
            machine.guest.map(
                root,
                KERNEL_ADDRESS + page * span(2),
                1,
                GIB + number * 4096,
                WRITABLE | DIRTY,
            );
            machine.access(USER_ADDRESS + page * span(3), USER_READ).unwrap();
            machine.access(KERNEL_ADDRESS + page * span(2), Access::KERNEL_READ).unwrap();
        }
    }
    // The CPU is on a root without the domain's memory by then.
    machine.shadow.tables().load_root(0);
    let mut steps = 0;
    while machine.shadow.forget_one() {
        steps += 1;
        machine.audit();
    }
    assert_eq!(steps, 4 + 1, "four roots and the common slots");
    assert!(!machine.shadow.forget_one());
    while machine.shadow.reclaim_one() {}
    assert_eq!(machine.shadow.free_tables(), before);
    let root = machine.guest.new_table();
    machine.load_root(root, true).unwrap();
    machine.guest.map(root, USER_ADDRESS, 1, GIB, FLAGS);
    assert_eq!(machine.access(USER_ADDRESS, USER_READ), Ok(9 * GIB));
    machine.audit();
}

#[test]
#[cfg_attr(miri, ignore = "hundreds of audits")]
fn the_root_used_longest_ago_goes_first() {
    let mut machine = Machine::new(4 * GIB, 8 * GIB, 512);
    let roots: Vec<u64> = (0..MAX_ROOTS as u64 + 1).map(|_| machine.guest.new_table()).collect();
    for root in &roots[..MAX_ROOTS - 1] {
        machine.load_root(*root, true).unwrap();
        machine.guest.map(*root, USER_ADDRESS, 1, GIB, FLAGS);
        machine.access(USER_ADDRESS, USER_READ).ok();
        machine.audit();
    }
    machine.load_root(roots[0], true).unwrap();
    let faults = machine.hidden_faults;
    // The machine's first root goes for this one, then `roots[1]`.
    machine.load_root(roots[MAX_ROOTS - 1], true).unwrap();
    machine.load_root(roots[MAX_ROOTS], true).unwrap();
    machine.load_root(roots[0], true).unwrap();
    machine.access(USER_ADDRESS, USER_READ).unwrap();
    assert_eq!(machine.hidden_faults, faults);
    machine.load_root(roots[1], true).unwrap();
    assert!(!machine.is_cached(USER_ADDRESS, USER_READ));
    machine.audit();
}

/// The root in CR3 carries the hypervisor itself. It must survive a root load that finds the pool used up.
#[test]
fn loading_a_root_never_evicts_the_loaded_one() {
    for tables in 6..12 {
        let mut machine = Machine::new(4 * GIB, 8 * GIB, tables);
        let root = machine.guest_root();
        for page in 0..8 {
            machine.guest.map(root, USER_ADDRESS + page * GIB, 1, GIB, FLAGS);
            machine.access(USER_ADDRESS + page * GIB, USER_WRITE).unwrap();
        }
        let other = machine.guest.new_table();
        machine.guest.map(other, USER_ADDRESS, 1, 2 * GIB, FLAGS);
        machine.load_root(other, true).unwrap();
        machine.audit();
        assert_eq!(machine.access(USER_ADDRESS, USER_WRITE), Ok(10 * GIB));
        machine.audit();
    }
}

#[test]
fn many_loads_in_one_batch_never_evict_the_root_that_is_running() {
    let mut machine = Machine::new(4 * GIB, 8 * GIB, 8);
    for _ in 0..3 * MAX_ROOTS {
        let root = machine.guest.new_table();
        machine.load_root(root, true).unwrap();
        machine.audit();
    }
}

#[test]
fn two_vcpus_have_shadows_of_their_own_and_neither_evicts_the_others() {
    let mut machine = Machine::new(4 * GIB, 8 * GIB, 4);
    let root = machine.guest_root();
    let other = machine.shadow.load_root(root, 1, true).unwrap();
    assert_ne!(other.number, machine.root.number);
    assert_eq!(machine.shadow.load_root(8 * MIB, 1, true), Err(Failure::PoolExhausted));
    machine.audit();
    assert_eq!(machine.shadow.load_root(root, 0, true), Ok(machine.root));
    assert_eq!(machine.shadow.load_root(root, 1, true), Ok(other));
    assert!(!machine.shadow.release_root(root));
}

#[test]
fn common_slots_in_a_small_pool_are_served_or_not_but_never_half() {
    for tables in 2..12 {
        let mut machine = Machine::new(4 * GIB, 8 * GIB, tables);
        machine.shadow.set_common_slots([0, 0, 0, 0, 0, 0, 0, u64::MAX]).unwrap();
        machine.audit();
        let address = KERNEL_ADDRESS;
        machine.guest.map(machine.guest_root(), address, 1, GIB, WRITABLE | DIRTY);
        let served = machine.try_access(address, Access::KERNEL_WRITE);
        assert_eq!(served, if tables >= 6 { Ok(Ok(9 * GIB)) } else { Err(Failure::PoolExhausted) });
        machine.audit();
        // Again, while the old ones still take their tables.
        machine.shadow.set_common_slots([0, 0, 0, 0, 0, 0, 0, u64::MAX]).unwrap();
        machine.audit();
    }
}

/// Nothing that a guest asks for takes as long as it has roots, or as common slots have pages: whoever is preferred
/// waits for it.
#[test]
fn no_request_is_longer_because_much_is_cached() {
    const MOST_WORK: u64 = 1200;
    let mut machine = Machine::new(4 * GIB, 8 * GIB, 1024);
    machine.shadow.set_common_slots([0, 0, 0, 0, 0, 0, 0, u64::MAX]).unwrap();
    let fill = |machine: &mut Machine, slots: core::ops::Range<u64>| {
        for slot in slots {
            let address = slot << 39;
            machine.guest.map(machine.guest_root(), address, 1, GIB, FLAGS | GLOBAL);
            machine.access(address, Access::KERNEL_READ).unwrap();
        }
    };
    let roots = if cfg!(miri) { 4 } else { MAX_ROOTS };
    for _ in 0..roots {
        let root = machine.guest.new_table();
        machine.load_root(root, true).unwrap();
        fill(&mut machine, 1..4);
    }
    let first = machine.guest_root();
    machine.shadow.tables().take_work();
    let within = |machine: &mut Machine, what: &str, request: &dyn Fn(&mut Machine)| {
        request(machine);
        let work = machine.shadow.tables().take_work();
        assert!(work <= MOST_WORK, "{what}: {work}");
        machine.audit();
        machine.shadow.tables().take_work();
    };
    let number = machine.root.number;
    within(&mut machine, "a long flush", &|machine| machine.shadow.flush_range(number, 0, 63 * 4096));
    within(&mut machine, "a flush of all", &|machine| machine.shadow.flush_all(number, true));
    let new = machine.guest.new_table();
    within(&mut machine, "a new root", &|machine| machine.load_root(new, true).unwrap());
    within(&mut machine, "a stale root", &|machine| machine.load_root(first, true).unwrap());
    within(&mut machine, "common slots", &|machine| {
        machine.shadow.set_common_slots([u64::MAX, 0, 0, 0, 0, 0, 0, 0]).unwrap();
    });
    within(&mut machine, "no common slots", &|machine| machine.shadow.set_common_slots([0; 8]).unwrap());
}

#[test]
fn dropped_subtrees_are_reclaimed_one_table_at_a_time() {
    let mut machine = usual();
    let all = machine.shadow.free_tables();
    machine.guest.map(machine.guest_root(), USER_ADDRESS, 1, GIB, FLAGS);
    machine.access(USER_ADDRESS, USER_WRITE).unwrap();
    machine.shadow.flush_all(machine.root.number, true);
    assert_eq!(machine.shadow.free_tables(), all - 3);
    for free in [all - 2, all - 1, all] {
        assert!(machine.shadow.reclaim_one());
        assert_eq!(machine.shadow.free_tables(), free);
        machine.audit();
    }
    assert!(!machine.shadow.reclaim_one());
}

/// Common subtrees are the last that a full pool gives up, and the hardware walks them meanwhile.
#[test]
fn a_pool_full_of_common_pages_serves_more_of_them() {
    let mut machine = Machine::new(4 * GIB, 8 * GIB, 10);
    let root = machine.guest_root();
    machine.shadow.set_common_slots([0, 0, 0, 0, 0, 0, 0, 1 << 63]).unwrap();
    for page in 0..20 {
        let address = (KERNEL_ADDRESS & !(GIB - 1)) + page * 8 * MIB;
        machine.guest.map(root, address, 1, GIB + page * 4096, WRITABLE | DIRTY);
        assert_eq!(machine.access(address, Access::KERNEL_WRITE), Ok(9 * GIB + page * 4096));
        machine.audit();
    }
}
