//! Common slots: PML4 slots that the guest declared equal in all roots. One subtree serves all of them, linked
//! into every kernel view, so that a new root finds kernel memory already translated.
//!
//! A subtree is made when it is first needed. When they go, loaded roots are emptied, and the others are marked: they
//! are emptied when they are loaded next. So neither a declaration nor a flush of everything takes longer for a guest
//! that has many roots.

use super::super::bits::{FRAME, PRESENT};
use super::super::memory::{ShadowTables, Table};
use super::super::{HYPERVISOR_FIRST_SLOT, HYPERVISOR_SLOTS};
use super::{COMMON, Failure, MAX_COMMON_SLOTS, MAX_ROOTS, Shadow, Slots, TABLE_BITS, slots_in};

impl<T: ShadowTables> Shadow<T> {
    /// Declares common slots, those of the hypervisor excepted. The subtrees start empty.
    ///
    /// # Errors
    /// [`Failure::PoolExhausted`], also for more than [`MAX_COMMON_SLOTS`].
    pub fn set_common_slots(&mut self, mut slots: Slots) -> Result<(), Failure> {
        for slot in HYPERVISOR_FIRST_SLOT..HYPERVISOR_FIRST_SLOT + HYPERVISOR_SLOTS {
            slots[slot / 64] &= !(1 << (slot % 64));
        }
        let count: u32 = slots.iter().map(|word| word.count_ones()).sum();
        if count as usize > if mutant!(FewCommonSlots) { 8 } else { MAX_COMMON_SLOTS } {
            return Err(Failure::PoolExhausted);
        }
        if self.common.is_none() {
            self.reserve(1)?;
            self.common = Some(self.take(4)?);
        }
        // With it go the translations that all roots hold in the slots as ordinary ones.
        self.drop_common();
        self.common_slots = slots;
        Ok(())
    }

    /// Drops the common subtrees, and with them all that loaded roots hold; the other roots become stale.
    pub(super) fn drop_common(&mut self) {
        let Some(common) = self.common else { return };
        for slot in slots_in(self.common_slots) {
            let entry = self.tables.read(common, slot);
            if entry & PRESENT != 0 {
                self.tables.write(common, slot, 0);
                self.pool.drop_subtree(self.tables.table_at(entry & FRAME));
            }
        }
        for number in 0..MAX_ROOTS {
            let root = &mut self.roots[number];
            match (root.in_use, root.loaded) {
                (true, true) => self.empty(number),
                (true, false) => root.stale = true,
                (false, _) => {}
            }
        }
        self.tables.flush_all();
    }

    /// Links the common subtrees there are.
    pub(super) fn link_common(&mut self, number: usize) {
        let Some(common) = self.common else { return };
        let kernel = self.roots[number].kernel;
        for slot in slots_in(self.common_slots) {
            let entry = self.tables.read(common, slot);
            if entry & PRESENT != 0 {
                self.fill_slot(number, kernel, slot, entry);
            }
        }
        self.roots[number].linked = self.common_changes;
    }

    /// The subtree of a common slot, linked into root `number`.
    pub(super) fn common_directory(&mut self, number: usize, slot: usize) -> Result<Table, Failure> {
        let common = self.common.ok_or(Failure::PoolExhausted)?;
        let mut entry = self.tables.read(common, slot);
        if entry & PRESENT == 0 {
            let directory = self.take(3)?;
            entry = self.tables.address(directory) | TABLE_BITS | COMMON;
            self.tables.write(common, slot, entry);
            self.common_changes += 1;
        }
        self.fill_slot(number, self.roots[number].kernel, slot, entry);
        Ok(self.tables.table_at(entry & FRAME))
    }
}
