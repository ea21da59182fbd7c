//! Common slots: PML4 slots that the guest declared equal in all roots. One subtree serves all of them, linked
//! into every kernel view, so that a new root finds kernel memory already translated.

use super::super::bits::{FRAME, PRESENT};
use super::super::memory::ShadowTables;
use super::super::{HYPERVISOR_FIRST_SLOT, HYPERVISOR_SLOTS};
use super::{COMMON, Failure, MAX_COMMON_SLOTS, MAX_ROOTS, Shadow, TABLE_BITS};

impl<T: ShadowTables> Shadow<T> {
    /// Declares common slots, those of the hypervisor excepted. The subtrees start empty.
    ///
    /// # Errors
    /// [`Failure::PoolExhausted`], also for more than [`MAX_COMMON_SLOTS`].
    pub fn set_common_slots(&mut self, mut slots: [u64; 8]) -> Result<(), Failure> {
        for slot in HYPERVISOR_FIRST_SLOT..HYPERVISOR_FIRST_SLOT + HYPERVISOR_SLOTS {
            slots[slot / 64] &= !(1 << (slot % 64));
        }
        let count: u32 = slots.iter().map(|word| word.count_ones()).sum();
        if count as usize > MAX_COMMON_SLOTS {
            return Err(Failure::PoolExhausted);
        }
        self.reserve(count as usize + 1)?;
        self.drop_common();
        // What the slots hold as ordinary ones goes first, then they become common.
        for number in 0..MAX_ROOTS {
            if self.roots[number].in_use {
                self.drop_trees(number);
            }
        }
        self.common_slots = slots;
        let common = match self.common {
            Some(common) => common,
            None => self.take(4)?,
        };
        self.common = Some(common);
        for slot in (0..512).filter(|slot| slots[slot / 64] >> (slot % 64) & 1 != 0) {
            let directory = self.take(3)?;
            self.tables.write(common, slot, self.tables.address(directory) | TABLE_BITS | COMMON);
        }
        for number in 0..MAX_ROOTS {
            if self.roots[number].in_use {
                self.link_common(number);
            }
        }
        self.tables.flush_all();
        Ok(())
    }

    /// Unlinks and drops the common subtrees; the slots become ordinary ones.
    pub(super) fn drop_common(&mut self) {
        let Some(common) = self.common else { return };
        for slot in 0..512 {
            let entry = self.tables.read(common, slot);
            if entry & PRESENT == 0 {
                continue;
            }
            for root in self.roots.iter().filter(|root| root.in_use) {
                self.tables.write(root.kernel, slot, 0);
            }
            self.tables.write(common, slot, 0);
            self.pool.drop_subtree(self.tables.table_at(entry & FRAME));
        }
        self.common_slots = [0; 8];
        self.tables.flush_all();
    }

    pub(super) fn link_common(&mut self, number: usize) {
        let Some(common) = self.common else { return };
        let kernel = self.roots[number].kernel;
        for word in 0..8 {
            let mut left = self.common_slots[word];
            while left != 0 {
                let slot = word * 64 + left.trailing_zeros() as usize;
                left &= left - 1;
                let entry = self.tables.read(common, slot);
                self.tables.write(kernel, slot, entry);
            }
        }
    }
}
