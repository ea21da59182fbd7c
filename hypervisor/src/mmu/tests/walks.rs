//! Walks: rights, error codes, marks, and tables made to mislead.

use super::*;
use crate::mmu::bits::{ACCESSED, DIRTY, GLOBAL, LARGE, NO_EXECUTE, PRESENT, USER, WRITABLE};
use crate::mmu::memory::GuestTables;
use crate::mmu::miniature::guest::{Guest, TABLE};
use crate::mmu::walk::{Path, Translation, mark};
use crate::mmu::{HYPERVISOR_LAST, HYPERVISOR_START, span};

const ALL_ACCESSES: [Access; 6] =
    [Access::KERNEL_READ, Access::KERNEL_WRITE, KERNEL_FETCH, USER_READ, USER_WRITE, USER_FETCH];
const EVERYTHING: u64 = WRITABLE | USER;

/// A walk with its marks; `None`: an entry kept changing.
fn walk(guest: &Guest, root: u64, address: u64, access: Access) -> Result<Option<Translation>, u64> {
    for _ in 0..4 {
        let mut path = Path::default();
        let mut found = crate::mmu::walk::walk(guest, root, address, access, &mut path)?;
        if mark(guest, root, address, access, &path, &mut found) {
            return Ok(Some(found.1));
        }
    }
    Ok(None)
}

/// The same where nothing changes: guest-physical address of the page, and its size.
fn page(guest: &Guest, root: u64, address: u64, access: Access) -> Result<(u64, u64), u64> {
    walk(guest, root, address, access).map(|found| {
        let found = found.expect("nothing changes");
        (found.page(), found.bytes())
    })
}

fn guest() -> (Guest, u64) {
    let guest = Guest::new(4 * GIB, 8 * GIB);
    let root = guest.new_table();
    (guest, root)
}

#[test]
fn every_level_can_take_each_right_away() {
    for leaf in 1..=3 {
        for weak in leaf..=4 {
            for bit in [WRITABLE, USER, NO_EXECUTE] {
                let (guest, root) = guest();
                guest.map(root, USER_ADDRESS, leaf, GIB, EVERYTHING);
                guest.change(root, USER_ADDRESS, weak, |entry| entry ^ bit);
                for access in ALL_ACCESSES {
                    let expected = guest.expect(root, USER_ADDRESS, access).map(|_| ());
                    let is_refused = match bit {
                        WRITABLE => access.writes(),
                        USER => access.is_user(),
                        _ => access.fetches(),
                    } || (access == KERNEL_FETCH && bit != USER);
                    assert_eq!(expected.is_err(), is_refused, "the reference itself");
                    let result = walk(&guest, root, USER_ADDRESS, access).map(|_| ());
                    assert_eq!(result, expected, "leaf {leaf}, level {weak}, bit {bit:#x}, {access:?}");
                }
            }
        }
    }
}

#[test]
fn an_absent_entry_at_any_level_gives_a_code_without_present() {
    for absent in 1..=4 {
        let (guest, root) = guest();
        guest.map(root, USER_ADDRESS, 1, GIB, EVERYTHING);
        guest.change(root, USER_ADDRESS, absent, |entry| entry & !PRESENT);
        assert_eq!(walk(&guest, root, USER_ADDRESS, USER_WRITE), Err(error::WRITE | error::USER));
        assert_eq!(walk(&guest, root, USER_ADDRESS, KERNEL_FETCH), Err(error::FETCH));
    }
}

#[test]
fn reserved_bits_of_large_pages_are_refused_and_the_pat_bit_is_not() {
    for level in [2, 3] {
        for bit in 12..(12 + 9 * (u32::from(level) - 1)) {
            let (guest, root) = guest();
            guest.map(root, USER_ADDRESS, level, GIB | 1 << bit, EVERYTHING);
            let expected = if bit == 12 { Ok(GIB) } else { Err(error::PRESENT | error::RESERVED) };
            let result = page(&guest, root, USER_ADDRESS, Access::KERNEL_READ).map(|found| found.0);
            assert_eq!(result, expected, "level {level}, bit {bit}");
        }
    }
}

#[test]
fn a_large_bit_in_the_root_is_reserved() {
    let (guest, root) = guest();
    guest.map(root, USER_ADDRESS, 1, GIB, EVERYTHING);
    guest.change(root, USER_ADDRESS, 4, |entry| entry | LARGE);
    assert_eq!(
        walk(&guest, root, USER_ADDRESS, USER_READ),
        Err(error::PRESENT | error::RESERVED | error::USER)
    );
}

#[test]
fn tables_and_pages_outside_memory_are_reserved_frames() {
    for level in 1..=4u8 {
        for frame in [4 * GIB, 8 * GIB, 0x000f_ffff_c000_0000] {
            let (guest, root) = guest();
            guest.map(root, USER_ADDRESS, 1, GIB, EVERYTHING);
            guest.change(root, USER_ADDRESS, level, |_| frame | TABLE);
            let result = walk(&guest, root, USER_ADDRESS, Access::KERNEL_WRITE);
            assert_eq!(result, Err(error::PRESENT | error::RESERVED | error::WRITE), "level {level}");
        }
    }
}

#[test]
fn a_large_page_is_refused_only_where_it_leaves_memory() {
    let guest = Guest::new(GIB + 6 * MIB, 8 * GIB);
    let root = guest.new_table();
    guest.map(root, 0, 3, GIB, EVERYTHING);
    let read = |address| walk(&guest, root, address, Access::KERNEL_READ);
    assert!(read(6 * MIB - 1).is_ok());
    assert_eq!(read(6 * MIB), Err(error::PRESENT | error::RESERVED));
}

#[test]
fn reads_mark_the_path_accessed_and_only_writes_mark_the_leaf_dirty() {
    for leaf in 1..=3 {
        let (guest, root) = guest();
        guest.map(root, USER_ADDRESS, leaf, GIB, EVERYTHING);
        walk(&guest, root, USER_ADDRESS, USER_READ).unwrap();
        for level in leaf..=4 {
            assert_eq!(guest.entry(root, USER_ADDRESS, level) & (ACCESSED | DIRTY), ACCESSED);
        }
        walk(&guest, root, USER_ADDRESS, USER_WRITE).unwrap();
        for level in leaf..=4 {
            let marks = if level == leaf { ACCESSED | DIRTY } else { ACCESSED };
            assert_eq!(guest.entry(root, USER_ADDRESS, level) & (ACCESSED | DIRTY), marks, "level {level}");
        }
    }
}

#[test]
fn a_refused_access_marks_nothing() {
    let (guest, root) = guest();
    guest.map(root, USER_ADDRESS, 1, GIB, NO_EXECUTE);
    for access in [Access::KERNEL_WRITE, KERNEL_FETCH, USER_READ, USER_WRITE, USER_FETCH] {
        assert!(walk(&guest, root, USER_ADDRESS, access).is_err());
    }
    for level in 1..=4 {
        assert_eq!(guest.entry(root, USER_ADDRESS, level) & (ACCESSED | DIRTY), 0);
    }
}

#[test]
fn the_translation_tells_size_and_rights() {
    let (guest, root) = guest();
    guest.map(root, USER_ADDRESS, 2, GIB, WRITABLE | NO_EXECUTE | GLOBAL | DIRTY);
    let found = walk(&guest, root, USER_ADDRESS + 0x1234, Access::KERNEL_READ).unwrap().unwrap();
    assert_eq!((found.page(), found.bytes()), (GIB, 2 * MIB));
    assert_eq!(found.rights & (WRITABLE | USER | NO_EXECUTE), WRITABLE);
    assert_eq!(found.entry & (ACCESSED | DIRTY | GLOBAL), ACCESSED | DIRTY | GLOBAL);
    let host = guest.to_host(GIB, 2 * MIB).unwrap().sized(2 * MIB);
    assert_eq!((found.host, found.host_level), (host, 2));
}

#[test]
fn addresses_of_the_hypervisor_and_beyond_the_canonical_ones_are_never_translated() {
    let (guest, root) = guest();
    for slot in 0..512 {
        guest.write(root + slot * 8, root | TABLE);
    }
    let holes = [
        HYPERVISOR_START,
        HYPERVISOR_LAST,
        1 << 47,
        (1 << 47) + 5 * span(4),
        HYPERVISOR_START - 1,
        1 << 48,
        1 << 63,
        0x00ff_ffff_8000_0000,
    ];
    for address in holes {
        for access in ALL_ACCESSES {
            assert_eq!(walk(&guest, root, address, access), Err(access.error_code(0)), "{address:#x}");
        }
    }
    assert!(walk(&guest, root, HYPERVISOR_START - span(4) * 256 - 1, Access::KERNEL_READ).is_err());
    assert!(walk(&guest, root, HYPERVISOR_LAST + 1, Access::KERNEL_READ).is_ok());
    assert!(walk(&guest, root, (1 << 47) - 1, Access::KERNEL_READ).is_ok());
}

#[test]
fn tables_that_lead_to_themselves_end_after_four_levels() {
    let (guest, root) = guest();
    guest.write(root, root | TABLE);
    assert_eq!(page(&guest, root, 0, Access::KERNEL_WRITE), Ok((root, 4096)));
    assert_eq!(guest.read(root), root | TABLE | ACCESSED | DIRTY);
    // Two tables in a ring, and the recursive slot that many kernels use.
    let other = guest.new_table();
    guest.write(root + 8, other | TABLE);
    guest.write(other, root | TABLE);
    guest.write(root + 511 * 8, root | TABLE);
    assert!(walk(&guest, root, span(4), Access::KERNEL_READ).is_ok());
    let window = 0xffff_ffff_ffff_f000;
    assert_eq!(page(&guest, root, window, Access::KERNEL_READ), Ok((root, 4096)));
}

#[test]
fn an_entry_that_changes_under_the_walk_is_walked_again() {
    let (guest, root) = guest();
    guest.map(root, USER_ADDRESS, 1, GIB, EVERYTHING);
    let place = guest.place(root, USER_ADDRESS, 1).unwrap();
    let entry = guest.read(place);
    guest.meddler.set(Some((place, entry, 1)));
    assert_eq!(page(&guest, root, USER_ADDRESS, USER_WRITE), Ok((GIB | 4096, 4096)));
    assert_eq!(guest.read(place), entry | 4096 | ACCESSED | DIRTY);
}

#[test]
fn a_guest_that_never_stops_changing_an_entry_gets_nothing() {
    let (guest, root) = guest();
    guest.map(root, USER_ADDRESS, 1, GIB, EVERYTHING);
    let place = guest.place(root, USER_ADDRESS, 1).unwrap();
    guest.meddler.set(Some((place, guest.read(place), 999)));
    assert_eq!(walk(&guest, root, USER_ADDRESS, USER_WRITE), Ok(None));
}

/// Tables of garbage that often lead to one another: no panic, and the result is the reference's.
#[test]
fn garbage_gives_what_the_reference_says() {
    let mut random = Random::new(0x5eed);
    for _ in 0..rounds(300) {
        let (guest, root) = guest();
        for table in 1..8 {
            for index in 0..512 {
                let mut entry = random.word();
                if !random.one_in(4) {
                    entry = entry & !0x000f_ffff_ffff_f000 | random.below(10) << 12;
                }
                guest.write(table * 4096 + index * 8, entry | u64::from(!random.one_in(5)));
            }
        }
        for _ in 0..200 {
            let address = ((random.word() << 16) as i64 >> 16) as u64;
            if crate::mmu::is_reserved(address) {
                continue;
            }
            let access = random.pick(&ALL_ACCESSES);
            let expected = guest.expect(root, address, access);
            let phys = page(&guest, root, address, access).map(|(page, bytes)| page | address & (bytes - 1));
            assert_eq!(phys, expected, "{access:?} at {address:#x}");
        }
    }
}
