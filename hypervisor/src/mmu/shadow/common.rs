//! Common slots: PML4 slots that the guest declared equal in all roots. One subtree serves all of them, linked
//! into every kernel view, so that a new root finds kernel memory already translated.
//!
//! A subtree is made when it is first needed, and so is the table that holds them. When they go, loaded roots are emptied, and the others are marked: they
//! are emptied when they are loaded next. So neither a declaration nor a flush of everything takes longer for a guest
//! that has many roots.

use super::super::memory::{ShadowTables, Table};
use super::super::{HYPERVISOR_FIRST_SLOT, HYPERVISOR_SLOTS};
use super::{COMMON, Failure, MAX_COMMON_SLOTS, MAX_ROOTS, STALE, Shadow, Slots, is_in};

impl<T: ShadowTables> Shadow<T> {
    /// Declares common slots, those of the hypervisor excepted. The subtrees start empty.
    ///
    /// # Errors
    /// [`Failure::PoolExhausted`] for more than [`MAX_COMMON_SLOTS`].
    pub fn set_common_slots(&mut self, mut slots: Slots) -> Result<(), Failure> {
        const { assert!(HYPERVISOR_FIRST_SLOT.is_multiple_of(64) && HYPERVISOR_SLOTS < 64) };
        slots[HYPERVISOR_FIRST_SLOT / 64] &= u64::MAX << HYPERVISOR_SLOTS;
        // One by one, because no instruction for it can be relied on.
        let count = (0..512).filter(|slot| is_in(&slots, *slot)).count();
        if count > if mutant!(FewCommonSlots) { 8 } else { MAX_COMMON_SLOTS } {
            return Err(Failure::PoolExhausted);
        }
        // With it go the translations that all roots hold in the slots as ordinary ones.
        self.drop_common();
        self.common_slots = slots;
        Ok(())
    }

    /// Drops the common subtrees, and with them all that loaded roots hold; the other roots become stale.
    pub(super) fn drop_common(&mut self) {
        if let Some(common) = self.common.take() {
            self.pool.drop_subtree(common);
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

    /// The PML4 that holds the common subtrees, made if need be.
    pub(super) fn common(&mut self) -> Option<Table> {
        if self.common.is_none() {
            self.common = self.pool.take(4, COMMON);
        }
        self.common
    }

    /// Links the common subtrees there are.
    pub(super) fn link_common(&mut self, number: usize) {
        self.root(number).linked = self.common_changes;
        let Some(common) = self.common else { return };
        let kernel = self.root(number).kernel;
        let mut slot = self.tables.next_filled(common, 0);
        while slot < 512 {
            let entry = self.tables.read(common, slot);
            self.tables.write(kernel, slot, entry);
            slot = self.tables.next_filled(common, slot + 1);
        }
    }
}
