//! Flushes: what was flushed is gone, in the tables and in the hardware, and exactly the current entry counts.

use super::*;
use crate::mmu::bits::{DIRTY, GLOBAL, USER, WRITABLE};
use crate::mmu::span;

const FLAGS: u64 = WRITABLE | USER | DIRTY;

/// Maps `pages` pages of `level` at the user address and touches each.
fn touched(machine: &mut Machine, level: u8, pages: u64) {
    let root = machine.guest_root();
    for page in 0..pages {
        let offset = page * span(level);
        machine.guest.map(root, USER_ADDRESS + offset, level, GIB + offset, FLAGS);
        machine.access(USER_ADDRESS + offset, USER_WRITE).unwrap();
    }
}

#[test]
fn a_flushed_page_is_looked_up_again_and_its_neighbours_are_not() {
    for level in 1..=3 {
        let mut machine = usual();
        touched(&mut machine, level, 2);
        let root = machine.guest_root();
        machine.guest.map(root, USER_ADDRESS, level, 2 * GIB, USER);
        assert_eq!(machine.access(USER_ADDRESS, USER_WRITE), Ok(9 * GIB), "stale, as in a TLB");
        // Any address in the page names it.
        machine.flush_page(USER_ADDRESS + span(level) - 1);
        assert_eq!(machine.access(USER_ADDRESS, USER_READ), Ok(10 * GIB));
        assert!(machine.access(USER_ADDRESS, USER_WRITE).is_err());
        assert!(machine.is_cached(USER_ADDRESS + span(level), USER_WRITE));
        machine.audit();
    }
}

/// INVLPG drops every piece of a page, however the TLB holds it (Intel SDM volume 3, 4.10.4.1).
#[test]
fn a_flush_drops_all_of_a_large_page_that_was_loaded_in_pieces() {
    let mut machine = Machine::new(4 * GIB, 8 * GIB + 2 * MIB, 64);
    let root = machine.guest_root();
    machine.guest.map(root, USER_ADDRESS, 3, GIB, FLAGS);
    for address in [USER_ADDRESS, USER_ADDRESS + GIB / 2] {
        machine.access(address, USER_WRITE).unwrap();
        machine.access(address, Access::KERNEL_WRITE).unwrap();
    }
    machine.guest.map(root, USER_ADDRESS, 3, 2 * GIB, USER);
    machine.flush_page(USER_ADDRESS);
    // The kernel view first: it is loaded, so its translations are the hardware's to forget.
    for access in [Access::KERNEL_READ, USER_READ] {
        assert!(!machine.is_cached(USER_ADDRESS + GIB / 2, access));
        assert!(!machine.is_cached(USER_ADDRESS, access));
    }
    machine.audit();
}

#[test]
fn a_range_takes_its_pages_with_it_and_no_more() {
    for (first, bytes, gone) in
        [(0, 3 * 4096, 0..3), (4096, 1, 1..2), (4095, 2, 0..2), (8191, 4097, 1..3), (4096, 0, 1..2)]
    {
        let mut machine = usual();
        touched(&mut machine, 1, 4);
        machine.shadow.flush_range(machine.root.number, USER_ADDRESS + first, bytes);
        for page in 0..4 {
            let is_cached = machine.is_cached(USER_ADDRESS + page * 4096, USER_READ);
            assert_eq!(is_cached, !gone.contains(&page), "page {page} of {first}+{bytes}");
        }
    }
}

/// The longer a range, the larger the parts that go; other roots and what is far from it stay.
#[test]
fn a_long_range_takes_more_with_it_but_only_in_its_root() {
    const PLACES: [u64; 5] = [0, 2 * MIB, 130 * MIB, 4 * GIB, 70 * GIB];
    for (bytes, gone) in [(64 * 4096 + 1, 1), (2 * MIB + 1, 2), (129 * MIB, 3), (5 * GIB, 4), (71 * GIB, 5)] {
        let mut machine = usual();
        let first = machine.guest_root();
        let second = machine.guest.new_table();
        for root in [first, second] {
            machine.load_root(root, true).unwrap();
            for place in PLACES {
                machine.guest.map(root, USER_ADDRESS + place, 1, GIB, FLAGS);
                machine.access(USER_ADDRESS + place, USER_WRITE).unwrap();
            }
        }
        machine.shadow.flush_range(machine.root.number, USER_ADDRESS, bytes);
        machine.audit();
        let cached =
            |machine: &Machine| PLACES.map(|place| machine.is_cached(USER_ADDRESS + place, USER_READ));
        assert_eq!(cached(&machine), [0, 1, 2, 3, 4].map(|place| place >= gone), "{bytes:#x} bytes");
        machine.load_root(first, true).unwrap();
        // Whatever is longer than all parts drops everything.
        assert_eq!(cached(&machine), [bytes < 65 * GIB; 5], "{bytes:#x} bytes, the other root");
    }
}

/// A page that may be global goes in all of them.
#[test]
fn a_long_range_takes_global_pages_in_every_root() {
    let mut machine = usual();
    let roots = [machine.guest_root(), machine.guest.new_table()];
    for root in roots {
        machine.load_root(root, true).unwrap();
        for place in [0, 4 * MIB] {
            machine.guest.map(root, USER_ADDRESS + place, 1, GIB, FLAGS | GLOBAL);
            machine.access(USER_ADDRESS + place, USER_WRITE).unwrap();
        }
    }
    machine.shadow.flush_range(machine.root.number, USER_ADDRESS, 5 * 4096);
    for root in roots {
        machine.load_root(root, true).unwrap();
        assert!(!machine.is_cached(USER_ADDRESS, USER_READ));
        assert!(machine.is_cached(USER_ADDRESS + 4 * MIB, USER_READ));
        machine.audit();
    }
}

/// Kernels declare common slots after they mapped global pages; what was mapped before must not make every later flush one
/// of all roots.
#[test]
fn a_declaration_leaves_no_global_page_outside_the_common_slots() {
    let mut machine = usual();
    machine.guest.map(machine.guest_root(), KERNEL_ADDRESS, 1, GIB, WRITABLE | GLOBAL);
    machine.access(KERNEL_ADDRESS, Access::KERNEL_WRITE).unwrap();
    assert!(machine.shadow.flushes_pages_in_all_roots());
    machine.shadow.set_common_slots([0, 0, 0, 0, 0, 0, 0, 1 << 63]).unwrap();
    machine.access(KERNEL_ADDRESS, Access::KERNEL_WRITE).unwrap();
    assert!(!machine.shadow.flushes_pages_in_all_roots());
    machine.guest.map(machine.guest_root(), USER_ADDRESS, 1, GIB, FLAGS | GLOBAL);
    machine.access(USER_ADDRESS, USER_READ).unwrap();
    assert!(machine.shadow.flushes_pages_in_all_roots());
}

#[test]
fn odd_addresses_and_lengths_do_no_harm() {
    let mut machine = usual();
    touched(&mut machine, 1, 2);
    let addresses =
        [0, 1, USER_ADDRESS, 1 << 47, 0xffff_8000_0000_0000, 0xffff_87ff_ffff_ffff, 1 << 63, u64::MAX];
    for address in addresses {
        for bytes in [0, 1, 4096, 4097, 63 * 4096, 64 * 4096, 1 << 47, u64::MAX - 4096, u64::MAX] {
            machine.shadow.flush_range(machine.root.number, address, bytes);
            machine.audit();
        }
        machine.flush_page(address);
    }
    machine.shadow.flush_all(machine.root.number, false);
    machine.audit();
}

#[test]
fn loading_without_keep_drops_and_with_keep_does_not() {
    let mut machine = usual();
    let root = machine.guest_root();
    touched(&mut machine, 1, 1);
    machine.load_root(root, true).unwrap();
    assert!(machine.is_cached(USER_ADDRESS, USER_WRITE));
    machine.load_root(root, false).unwrap();
    assert!(!machine.is_cached(USER_ADDRESS, USER_WRITE));
    machine.audit();
}

#[test]
fn flushing_every_root_makes_those_not_loaded_stale() {
    let mut machine = usual();
    let first = machine.guest_root();
    touched(&mut machine, 1, 1);
    let second = machine.guest.new_table();
    machine.load_root(second, true).unwrap();
    touched(&mut machine, 1, 1);
    machine.shadow.flush_all(machine.root.number, false);
    assert!(!machine.is_cached(USER_ADDRESS, USER_READ));
    machine.load_root(first, true).unwrap();
    assert!(machine.is_cached(USER_ADDRESS, USER_READ), "only the current root was flushed");
    machine.load_root(second, true).unwrap();
    machine.shadow.flush_all(machine.root.number, true);
    machine.load_root(first, true).unwrap();
    assert!(!machine.is_cached(USER_ADDRESS, USER_READ));
    // Once dropped, it keeps what it loads from now on.
    machine.access(USER_ADDRESS, USER_WRITE).unwrap();
    machine.load_root(second, true).unwrap();
    machine.load_root(first, true).unwrap();
    assert!(machine.is_cached(USER_ADDRESS, USER_WRITE));
    machine.audit();
}

#[test]
fn a_page_flush_reaches_other_roots_for_global_pages_only() {
    for (flags, remains) in [(FLAGS, true), (FLAGS | GLOBAL, false)] {
        let mut machine = usual();
        let first = machine.guest_root();
        machine.guest.map(first, USER_ADDRESS, 1, GIB, flags);
        machine.access(USER_ADDRESS, USER_READ).unwrap();
        let second = machine.guest.new_table();
        machine.load_root(second, true).unwrap();
        machine.flush_page(USER_ADDRESS);
        machine.load_root(first, true).unwrap();
        assert_eq!(machine.is_cached(USER_ADDRESS, USER_READ), remains);
    }
}

#[test]
fn a_root_released_and_built_anew_starts_empty() {
    let mut machine = usual();
    let first = machine.guest_root();
    touched(&mut machine, 1, 1);
    let second = machine.guest.new_table();
    assert!(!machine.shadow.release_root(first), "a loaded root cannot go");
    assert!(machine.is_cached(USER_ADDRESS, USER_READ), "and nothing is lost by trying");
    machine.load_root(second, true).unwrap();
    assert!(machine.shadow.release_root(first));
    assert!(machine.shadow.release_root(first), "twice does no harm");
    assert!(machine.shadow.release_root(0x7777_7000), "nor does a root never seen");
    machine.audit();
    machine.load_root(first, true).unwrap();
    assert!(!machine.is_cached(USER_ADDRESS, USER_READ));
}
