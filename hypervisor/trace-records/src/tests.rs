//! Rings as the hypervisor writes them, and damaged ones.

extern crate std;

use super::*;
use core::mem::offset_of;
use std::vec::Vec;
use std::{format, vec};

const HZ: u64 = 2_000_000_000;
const FIRST_TICK: u64 = 1000;

/// A ring into which `written` records went, each 20 ticks (10 ns) after the one before it.
fn ring(written: u64) -> Vec<u8> {
    let mut bytes = vec![0; RING_BYTES];
    for number in written.saturating_sub(CAPACITY as u64)..written {
        let at = HEADER_BYTES + (number % CAPACITY as u64) as usize * size_of::<Record>();
        set(&mut bytes, at + offset_of!(Record, timestamp), FIRST_TICK + 20 * number);
        bytes[at + offset_of!(Record, kind)] = Kind::Call as u8;
        bytes[at + offset_of!(Record, domain)] = 3;
        set(&mut bytes, at + offset_of!(Record, first), number);
    }
    set(&mut bytes, offset_of!(Header, magic), MAGIC);
    set(&mut bytes, offset_of!(Header, cpu), 1);
    set(&mut bytes, offset_of!(Header, capacity), CAPACITY as u64);
    set(&mut bytes, offset_of!(Header, ticks_per_second), HZ);
    set(&mut bytes, offset_of!(Header, first_tick), FIRST_TICK);
    set(&mut bytes, offset_of!(Header, written), written);
    bytes
}

fn set(bytes: &mut [u8], at: usize, word: u64) {
    bytes[at..at + 8].copy_from_slice(&word.to_le_bytes());
}

fn damage(bytes: &[u8]) -> Damage {
    match Ring::read(bytes) {
        Err(damage) => damage,
        Ok(ring) => ring.entries().find_map(Result::err).expect("damage"),
    }
}

#[test]
fn a_ring_that_is_not_full_has_everything() {
    let bytes = ring(5);
    let ring = Ring::read(&bytes).unwrap();
    assert_eq!((ring.cpu(), ring.len(), ring.lost()), (1, 5, 0));
    let entries: Vec<_> = ring.entries().map(Result::unwrap).collect();
    assert_eq!(entries.len(), 5);
    let expected = Entry { time_ns: 40, kind: Kind::Call, domain: 3, vcpu: 0, first: 4, second: 0 };
    assert_eq!(entries[4], expected);
    assert!(Ring::read(&self::ring(0)).unwrap().is_empty());
}

#[test]
fn a_full_ring_has_the_newest_in_order() {
    let written = CAPACITY as u64 + 7;
    let bytes = ring(written);
    let ring = Ring::read(&bytes).unwrap();
    // One more than were overwritten: who stopped the machine may have stopped it within a record.
    assert_eq!((ring.len(), ring.lost()), (CAPACITY as u64 - 1, 8));
    let numbers: Vec<_> = ring.entries().map(|entry| entry.unwrap().first).collect();
    assert!(numbers.iter().copied().eq(8..written));
}

#[test]
fn damage_is_told_and_ends_the_records() {
    let good = ring(5);
    assert_eq!(damage(&good[..good.len() - 1]), Damage::Size(RING_BYTES - 1));
    assert_eq!(damage(&[]), Damage::Size(0));
    let with = |at: usize, word: u64| {
        let mut bytes = good.clone();
        set(&mut bytes, at, word);
        bytes
    };
    assert_eq!(damage(&with(0, 7)), Damage::Magic(7));
    assert_eq!(damage(&with(offset_of!(Header, capacity), 5)), Damage::Capacity(5));
    assert_eq!(damage(&with(offset_of!(Header, ticks_per_second), 0)), Damage::Frequency(0));
    assert_eq!(damage(&with(offset_of!(Header, ticks_per_second), u64::MAX)), Damage::Frequency(u64::MAX));
    let second = HEADER_BYTES + size_of::<Record>();
    assert_eq!(damage(&with(second, 1)), Damage::Order(1), "before the clock began");
    assert_eq!(damage(&with(HEADER_BYTES, u64::MAX)), Damage::Order(1));
    let unknown = with(second + offset_of!(Record, kind), 99);
    assert_eq!(damage(&unknown), Damage::Kind(1, 99));
    assert_eq!(Ring::read(&unknown).unwrap().entries().count(), 2, "nothing behind it");
    // More than were written: the places that hold nothing are no records.
    assert_eq!(damage(&with(offset_of!(Header, written), 9)), Damage::Order(5));
    assert!(format!("{}", Damage::Kind(1, 99)).contains("99"));
}

#[test]
fn ticks_are_told_as_nanoseconds() {
    let mut bytes = ring(2);
    let second = HEADER_BYTES + size_of::<Record>();
    for (at, kind) in [(HEADER_BYTES, Kind::TimerSet), (second, Kind::Deadline)] {
        bytes[at + offset_of!(Record, kind)] = kind as u8;
        set(&mut bytes, at + offset_of!(Record, first), FIRST_TICK + 6);
        set(&mut bytes, at + offset_of!(Record, second), FIRST_TICK + 8);
    }
    let words = |bytes: &[u8]| -> Vec<[u64; 2]> {
        let entries = Ring::read(bytes).unwrap().entries();
        entries.map(Result::unwrap).map(|entry| [entry.first, entry.second]).collect()
    };
    assert_eq!(words(&bytes), [[3, FIRST_TICK + 8], [FIRST_TICK + 6, 4]]);
    set(&mut bytes, HEADER_BYTES + offset_of!(Record, first), u64::MAX);
    set(&mut bytes, second + offset_of!(Record, second), 0);
    assert_eq!(
        words(&bytes),
        [[u64::MAX, FIRST_TICK + 8], [FIRST_TICK + 6, 0]],
        "never, and before the clock"
    );
}

#[test]
fn any_number_of_records_may_be_claimed() {
    for written in [CAPACITY as u64 - 1, CAPACITY as u64, u64::MAX] {
        let mut bytes = ring(5);
        set(&mut bytes, offset_of!(Header, written), written);
        assert!(Ring::read(&bytes).unwrap().entries().any(|entry| entry.is_err()));
    }
}

#[test]
fn kinds_have_the_numbers_that_they_are_found_by() {
    for kind in Kind::ALL {
        assert_eq!(Kind::from_number(*kind as u16), Some(*kind));
    }
    assert_eq!(Kind::from_number(0), None, "what was never written is no record");
}
