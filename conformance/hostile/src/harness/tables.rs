//! Page tables as words: roots with all that the boot root maps, and whatever an attack puts beside it.

use super::{call, world};
use core::sync::atomic::{AtomicU64, Ordering};
use pvops_abi::call::Mmu;

/// Entry bits (Intel SDM volume 3, 4.5).
pub(crate) const P: u64 = 1;
pub(crate) const W: u64 = 1 << 1;
pub(crate) const U: u64 = 1 << 2;
pub(crate) const PS: u64 = 1 << 7;
pub(crate) const G: u64 = 1 << 8;
pub(crate) const NX: u64 = 1 << 63;
pub(crate) const FRAME: u64 = 0x000f_ffff_ffff_f000;

/// Bytes that a PML4 slot spans.
pub(crate) const SLOT_BYTES: u64 = 1 << 39;

static BASE_ROOT: AtomicU64 = AtomicU64::new(0);

/// Slot 1 of the user programs, 2 and up of experiments: none of them is in the boot root of this guest, which runs
/// in the upper half or high in the lower one.
pub(crate) const USER_SLOT: u64 = 1;
/// First slot for experiments; 16 are free.
pub(crate) const WINDOW_SLOT: u64 = 2;
/// Start of the first one.
pub(crate) const WINDOW: u64 = WINDOW_SLOT * SLOT_BYTES;

/// Makes the root that all attacks start in, and loads it.
pub(crate) fn prepare() {
    for slot in USER_SLOT..WINDOW_SLOT + 16 {
        assert_eq!(world::get(world::boot().boot_root.0 + slot * 8), 0, "slot {slot} is free");
    }
    let root = world::frame();
    fill_root(root);
    BASE_ROOT.store(root, Ordering::Relaxed);
    load_base_root();
}

/// The root that attacks start in.
pub(crate) fn base_root() -> u64 {
    BASE_ROOT.load(Ordering::Relaxed)
}

/// Loads it.
pub(crate) fn load_base_root() {
    assert_eq!(load(base_root(), 1), 0, "the base root can always be loaded");
}

/// Loads `root`; the status.
pub(crate) fn load(root: u64, flags: u64) -> i64 {
    call(Mmu::LoadRoot.id(), &[root, flags]).status
}

/// Drops all cached translations of every root.
pub(crate) fn flush_everything() {
    assert_eq!(call(Mmu::FlushAll.id(), &[0, u64::MAX, 1]).status, 0, "a flush of everything");
}

/// Empties the slots for experiments in the base root, but not the last, which holds what attempts need.
pub(crate) fn clear_windows() {
    load_base_root();
    (WINDOW_SLOT..WINDOW_SLOT + 15).for_each(|slot| world::put(base_root() + slot * 8, 0));
    flush_everything();
}

/// Drops the translation of one page.
pub(crate) fn flush(address: u64) {
    assert_eq!(call(Mmu::FlushPage.id(), &[address, 0, u64::MAX]).status, 0, "a flush of a page");
}

/// Makes the frame `root` a copy of the boot root.
pub(crate) fn fill_root(root: u64) {
    for index in 0..512 {
        world::put(root + index * 8, world::get(world::boot().boot_root.0 + index * 8));
    }
}

/// A root with what the base root maps at this moment.
pub(crate) fn copy_of_base_root() -> u64 {
    let root = world::frame();
    for index in 0..512 {
        world::put(root + index * 8, world::get(base_root() + index * 8));
    }
    root
}

/// Where the entry of `level` (1 to 4) for `address` stands; tables above it are made where there are none.
pub(crate) fn entry(root: u64, address: u64, level: u8) -> u64 {
    let mut table = root;
    let mut at = 4;
    loop {
        let place = table + (address >> (12 + 9 * (at - 1)) & 0x1ff) * 8;
        if at == u64::from(level) {
            return place;
        }
        if world::get(place) & P == 0 {
            world::put(place, world::frame() | P | W | U);
        }
        table = world::get(place) & FRAME;
        at -= 1;
    }
}

/// Maps the page at `address` to `frame` with the rights `flags`.
pub(crate) fn map(root: u64, address: u64, frame: u64, flags: u64) {
    world::put(entry(root, address, 1), frame | flags | P);
}
