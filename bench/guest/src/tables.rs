//! Page tables as plain words: what is measured is a store into one, not the library's checks around it.
//!
//! Roots are copies of the boot root. Its slots are declared common, as a kernel would do with its own; so is
//! [`Place::Common`], which is linked into every root. The other places are in one root each.

use super::world::{self, word};
use core::sync::atomic::Ordering;
use pvops_abi::addr::{PhysAddr, VirtAddr};
use pvops_abi::layout::start_info::VirtRange;
use pvops_abi::ops::mmu::{Level, PageFlags, Retain, mmu};
use pvops_abi::ops::{CpuSet, irq};
use spin::Once;

/// Bytes that a PML4 slot spans.
pub(crate) const SLOT_BYTES: u64 = 1 << 39;

const PRESENT: u64 = PageFlags::PRESENT.bits();
const WRITABLE: u64 = PageFlags::WRITABLE.bits();
pub(crate) const USER: u64 = PageFlags::USER.bits();
const NO_EXECUTE: u64 = PageFlags::NO_EXECUTE.bits();
const ADDRESS: u64 = 0x000f_ffff_ffff_f000;

/// A new page of data, as kernels enter it: neither accessed nor dirty.
pub(crate) const DATA: u64 = PRESENT | WRITABLE | NO_EXECUTE;
/// User code.
pub(crate) const USER_CODE: u64 = PRESENT | USER;
/// User data.
pub(crate) const USER_DATA: u64 = DATA | USER;

/// PML4 slots that this program uses, counted from the first free one.
#[derive(Clone, Copy)]
pub(crate) enum Place {
    /// User programs, in the base root.
    User = 0,
    /// Kernel pages in every root.
    Common = 1,
    /// Kernel pages of one root.
    Window = 2,
    /// The first of many slots that hold nothing.
    Empty = 4,
}

static BASE_ROOT: Once<u64> = Once::new();
static FIRST_FREE: Once<u64> = Once::new();

/// Makes the base root and loads it.
pub(crate) fn start() {
    let boot = world::boot();
    FIRST_FREE.call_once(|| {
        let is_free_run = |first: &u64| (*first..first + 160).all(is_free_slot);
        (1..256).find(is_free_run).expect("160 neighbouring free PML4 slots")
    });
    let used = (0..512).filter(|index| word(boot.boot_root.0 + index * 8).load(Ordering::Relaxed) != 0);
    let mut common = [0; 8];
    for slot in used.chain([address(Place::Common) / SLOT_BYTES]) {
        common[slot as usize / 64] |= 1 << (slot % 64);
    }
    mmu().set_common_slots(&common).expect("few slots are in use");
    let base = BASE_ROOT.call_once(|| copy_of(boot.boot_root.0));
    entry_of(*base, address(Place::Common), Level::Pdpt, 0);
    load(*base);
    mmu().table_released(boot.boot_root, Level::Pml4);
}

/// The root that everything starts in.
pub(crate) fn base_root() -> u64 {
    *BASE_ROOT.get().expect("made at start")
}

/// A root with all that the base root shares.
pub(crate) fn new_root() -> u64 {
    let root = copy_of(base_root());
    for place in [Place::User, Place::Window] {
        word(root + address(place) / SLOT_BYTES * 8).store(0, Ordering::Relaxed);
    }
    root
}

fn copy_of(other: u64) -> u64 {
    let root = world::frame();
    for offset in (0..4096).step_by(8) {
        word(root + offset).store(word(other + offset).load(Ordering::Relaxed), Ordering::Relaxed);
    }
    mmu().table_allocated(PhysAddr(root), Level::Pml4).expect("a frame of memory can be a table");
    root
}

/// Loads a root of this file; what is cached of it stays.
pub(crate) fn load(root: u64) {
    // SAFETY: roots of this file hold all that the boot root does, and were announced.
    irq::without(|| unsafe { mmu().load_root(PhysAddr(root), Retain::Keep) });
}

/// First address of a place.
pub(crate) fn address(place: Place) -> u64 {
    (FIRST_FREE.get().expect("found at start") + place as u64) * SLOT_BYTES
}

fn is_free_slot(index: u64) -> bool {
    let boot = world::boot();
    let mut reserved =
        boot.reserved_ranges[..boot.reserved_range_count].iter().chain(mmu().reserved_ranges());
    let (first, last) = (index * SLOT_BYTES, index * SLOT_BYTES + (SLOT_BYTES - 1));
    let clashes = |range: &VirtRange| range.start <= last && first <= range.last;
    let usable = boot.usable_range.start <= first && last <= boot.usable_range.last;
    usable && !reserved.any(clashes) && word(boot.boot_root.0 + index * 8).load(Ordering::Relaxed) == 0
}

/// Physical address of the entry of `level` for `address`; tables above it are made where they are missing, with
/// `rights` beyond those of every table.
pub(crate) fn entry_of(root: u64, address: u64, level: Level, rights: u64) -> u64 {
    let mut table = root;
    for above in (level as u8 + 1..=4).rev() {
        let entry = word(table + index(address, above) * 8);
        if entry.load(Ordering::Relaxed) == 0 {
            entry.store(table_entry(world::frame()) | rights, Ordering::Relaxed);
        }
        table = entry.load(Ordering::Relaxed) & ADDRESS;
    }
    table + index(address, level as u8) * 8
}

/// An entry that leads to a table.
pub(crate) fn table_entry(table: u64) -> u64 {
    table | PRESENT | WRITABLE
}

fn index(address: u64, level: u8) -> u64 {
    VirtAddr(address).table_index(level) as u64
}

/// Maps a page and returns where its entry stands.
pub(crate) fn map(root: u64, address: u64, frame: u64, rights: u64) -> u64 {
    let entry = entry_of(root, address, Level::Pt, rights & USER);
    word(entry).store(frame | rights, Ordering::Relaxed);
    entry
}

/// Drops a translation of the current root.
pub(crate) fn flush(address: u64) {
    mmu().flush_page(VirtAddr(address), CpuSet::single(0));
}

/// Writes to a page, a user's too.
pub(crate) fn touch(address: u64) {
    // SAFETY: callers name pages that they mapped and that nobody else uses.
    pvops_abi::ops::cpu::with_user_access(|| unsafe { (address as *mut u64).write_volatile(1) });
}
