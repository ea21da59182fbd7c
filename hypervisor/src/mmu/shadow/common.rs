//! Common slots: PML4 slots that the guest declared equal in all roots. One subtree serves all of them, linked
//! into every kernel view, so that a new root finds kernel memory already translated.
//!
//! A subtree is made when it is first needed. When they go, loaded roots are emptied, and the others are marked: they
//! are emptied when they are loaded next. So neither a declaration nor a flush of everything takes longer for a guest
//! that has many roots.

use super::super::bits::PRESENT;
use super::super::memory::ShadowTables;
use super::super::{HYPERVISOR_FIRST_SLOT, HYPERVISOR_SLOTS};
use super::{Failure, MAX_COMMON_SLOTS, MAX_ROOTS, STALE, Shadow, Slots, slots_in};

impl<T: ShadowTables> Shadow<T> {
    /// Declares common slots, those of the hypervisor excepted. The subtrees start empty.
    ///
    /// # Errors
    /// [`Failure::PoolExhausted`], also for more than [`MAX_COMMON_SLOTS`].
    pub fn set_common_slots(&mut self, mut slots: Slots) -> Result<(), Failure> {
        const { assert!(HYPERVISOR_FIRST_SLOT.is_multiple_of(64) && HYPERVISOR_SLOTS < 64) };
        slots[HYPERVISOR_FIRST_SLOT / 64] &= u64::MAX << HYPERVISOR_SLOTS;
        // One by one, because no instruction for it can be relied on.
        if slots_in(slots).count() > if mutant!(FewCommonSlots) { 8 } else { MAX_COMMON_SLOTS } {
            return Err(Failure::PoolExhausted);
        }
        if self.common.is_none() {
            let table = self.reserve(1).and_then(|()| self.pool.take(4));
            self.common = Some(table.ok_or(Failure::PoolExhausted)?);
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
            let entry = self.take_entry(common, slot);
            self.drop_below_entry(entry);
        }
        for number in 0..MAX_ROOTS {
            if self.is_loaded(number) {
                self.empty(number);
            } else {
                self.root(number).linked = STALE;
            }
        }
        // No root has any translation left.
        self.global_outside_common = false;
        self.tables.flush_all();
    }

    /// Links the common subtrees there are.
    pub(super) fn link_common(&mut self, number: usize) {
        self.root(number).linked = self.common_changes;
        let Some(common) = self.common else { return };
        for slot in slots_in(self.common_slots) {
            let entry = self.entry_of(common, slot);
            if entry & PRESENT != 0 {
                let kernel = self.note_filled(number, slot).kernel;
                self.tables.write(kernel, slot, entry);
            }
        }
    }
}
