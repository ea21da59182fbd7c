//! Walking and changing page tables through `ops::mmu` only: entries stay opaque, tables are announced before
//! they are linked and released after they are unlinked and flushed.

use super::frames;
use crate::arch::raw;
use pvops_abi::addr::{PAGE_SIZE, PhysAddr, VirtAddr};
use pvops_abi::ops::mmu::{Decoded, Entry, Level, MmuError, PageFlags, Slot, mmu};

/// Entries of a table.
const ENTRIES: usize = 512;

/// Why a page could not be mapped.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum MapError {
    /// No frame is free.
    NoMemory,
    /// The backend refused the table.
    Refused(MmuError),
    /// A larger page is mapped there.
    Occupied,
}

/// A page found by a walk.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Leaf {
    /// Where its entry stands.
    pub(crate) slot: Slot,
    /// The frame of the 4 KiB page asked for.
    pub(crate) frame: PhysAddr,
    /// Rights and state.
    pub(crate) flags: PageFlags,
}

/// Who may use the tables above a leaf.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Owner {
    Kernel,
    User,
}

/// The root slot that spans `address`.
pub(crate) fn root_slot(root: PhysAddr, address: VirtAddr) -> Slot {
    slot_in(root, Level::Pml4, address)
}

/// First address that the PML4 slot `index` spans.
pub(crate) fn slot_address(index: usize) -> VirtAddr {
    VirtAddr((((index as u64) << 39 << 16) as i64 >> 16) as u64)
}

/// A zeroed frame, announced as a table of `level`. Exercises `mmu::table_allocated`.
pub(crate) fn new_table(level: Level) -> Result<PhysAddr, MapError> {
    let frame = frames::allocate().ok_or(MapError::NoMemory)?;
    mmu().table_allocated(frame, level).map_err(|error| {
        frames::release(frame);
        MapError::Refused(error)
    })?;
    Ok(frame)
}

/// Gives back a table that is unlinked and flushed. Exercises `mmu::table_released`.
pub(crate) fn release_table(frame: PhysAddr, level: Level) {
    mmu().table_released(frame, level);
    frames::release(frame);
}

/// Finds the page that holds `address`. Exercises `mmu::read` and `mmu::decode`.
pub(crate) fn find(root: PhysAddr, address: VirtAddr) -> Option<Leaf> {
    walk(root, address, |slot| mmu().read(slot))
}

/// As [`find`], in the boot loader's tables: nobody announced them, so they are read by plain loads.
pub(crate) fn find_in_boot_tables(root: PhysAddr, address: VirtAddr) -> Option<Leaf> {
    walk(root, address, boot_entry)
}

/// An entry of the boot loader's tables.
pub(crate) fn boot_entry(slot: Slot) -> Entry {
    Entry::from_raw(raw::word_of_frame(slot.table, slot.index))
}

fn walk(root: PhysAddr, address: VirtAddr, read: impl Fn(Slot) -> Entry) -> Option<Leaf> {
    let mut slot = root_slot(root, address);
    loop {
        match mmu().decode(slot.level, read(slot)) {
            Decoded::Absent => return None,
            Decoded::Table(table) => slot = slot_in(table, slot.level.below()?, address),
            Decoded::Leaf(start, flags) => {
                let within = address.0 & (slot.level.entry_bytes() - 1) & !(PAGE_SIZE - 1);
                return Some(Leaf { slot, frame: PhysAddr(start.0 + within), flags });
            }
        }
    }
}

/// The slot of `level` for `address`, with the tables above it made where they are missing. Exercises
/// `mmu::table` and `mmu::set`.
pub(crate) fn make_slot(
    root: PhysAddr,
    address: VirtAddr,
    level: Level,
    owner: Owner,
) -> Result<Slot, MapError> {
    let mut slot = root_slot(root, address);
    while slot.level != level {
        let below = slot.level.below().ok_or(MapError::Occupied)?;
        let table = match mmu().decode(slot.level, mmu().read(slot)) {
            Decoded::Table(table) => table,
            Decoded::Leaf(..) => return Err(MapError::Occupied),
            Decoded::Absent => {
                let table = new_table(below)?;
                mmu().set(slot, mmu().table(table, owner == Owner::User));
                table
            }
        };
        slot = slot_in(table, below, address);
    }
    Ok(slot)
}

/// Maps one 4 KiB page where none is. A new entry needs no flush.
pub(crate) fn map_page(
    root: PhysAddr,
    address: VirtAddr,
    frame: PhysAddr,
    flags: PageFlags,
) -> Result<Slot, MapError> {
    let owner = if flags.contains(PageFlags::USER) { Owner::User } else { Owner::Kernel };
    let slot = make_slot(root, address, Level::Pt, owner)?;
    mmu().set(slot, mmu().leaf(Level::Pt, frame, flags));
    Ok(slot)
}

/// Takes a 4 KiB page away and returns what was there. The caller flushes.
pub(crate) fn unmap_page(root: PhysAddr, address: VirtAddr) -> Option<Leaf> {
    let leaf = find(root, address)?;
    mmu().set(leaf.slot, Entry::ABSENT);
    Some(leaf)
}

/// Maps kernel memory with the largest leaves that the backend and the alignment allow; what is mapped there
/// already stays. Exercises `mmu::caps`.
pub(crate) fn map_range(
    root: PhysAddr,
    address: VirtAddr,
    start: PhysAddr,
    bytes: u64,
    flags: PageFlags,
) -> Result<(), MapError> {
    let mut done = 0;
    while done < bytes {
        let (address, phys) = (VirtAddr(address.0 + done), PhysAddr(start.0 + done));
        done += map_largest(root, address, phys, bytes - done, flags)?;
    }
    Ok(())
}

/// Maps one leaf, as large as possible; returns its size.
fn map_largest(
    root: PhysAddr,
    address: VirtAddr,
    phys: PhysAddr,
    room: u64,
    flags: PageFlags,
) -> Result<u64, MapError> {
    for level in allowed_levels() {
        let bytes = level.entry_bytes();
        if (address.0 | phys.0) & (bytes - 1) != 0 || room < bytes {
            continue;
        }
        let slot = make_slot(root, address, level, Owner::Kernel)?;
        match mmu().decode(level, mmu().read(slot)) {
            Decoded::Absent => mmu().set(slot, mmu().leaf(level, phys, flags)),
            Decoded::Leaf(..) => {}
            Decoded::Table(_) => continue,
        }
        return Ok(bytes);
    }
    Err(MapError::Occupied)
}

fn allowed_levels() -> impl Iterator<Item = Level> {
    let caps = mmu().caps();
    let levels = [(Level::Pdpt, caps.pages_1g), (Level::Pd, caps.pages_2m), (Level::Pt, true)];
    levels.into_iter().filter(|(_, allowed)| *allowed).map(|(level, _)| level)
}

/// What [`visit`] shows.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Found {
    /// A page.
    Leaf(Leaf),
    /// A table and its level; shown before what is in it.
    Table(PhysAddr, Level),
}

/// Shows every table and page below `slot`, in order of address.
pub(crate) fn visit(slot: Slot, show: &mut dyn FnMut(Found)) {
    match mmu().decode(slot.level, mmu().read(slot)) {
        Decoded::Absent => {}
        Decoded::Leaf(frame, flags) => show(Found::Leaf(Leaf { slot, frame, flags })),
        Decoded::Table(table) => {
            let Some(level) = slot.level.below() else { return };
            show(Found::Table(table, level));
            for index in 0..ENTRIES {
                let address = VirtAddr(slot.address.0 + index as u64 * level.entry_bytes());
                visit(Slot { table, index, level, address }, show);
            }
        }
    }
}

fn slot_in(table: PhysAddr, level: Level, address: VirtAddr) -> Slot {
    let spanned = VirtAddr(address.0 & !(level.entry_bytes() - 1));
    Slot { table, index: address.table_index(level as u8), level, address: spanned }
}
