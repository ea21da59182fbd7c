//! A broken rule, with the place where it was broken, in words.

use core::fmt;

use pvops_abi::addr::{PhysAddr, VirtAddr};
use pvops_abi::ops::mmu::Slot;

/// A rule that the kernel broke, and where.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Violation {
    /// What happened.
    pub(super) rule: &'static str,
    /// Table concerned.
    pub(super) frame: PhysAddr,
    /// Entry concerned.
    pub(super) index: Option<usize>,
    /// Virtual address concerned.
    pub(super) address: Option<VirtAddr>,
}

impl Violation {
    pub(super) const fn of_frame(rule: &'static str, frame: PhysAddr) -> Self {
        Self { rule, frame, index: None, address: None }
    }

    pub(super) const fn of_slot(rule: &'static str, slot: Slot) -> Self {
        Self { rule, frame: slot.table, index: Some(slot.index), address: Some(slot.address) }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: table {:?}", self.rule, self.frame)?;
        if let Some(index) = self.index {
            write!(f, ", entry {index}")?;
        }
        match self.address {
            Some(address) => write!(f, ", {address:?}"),
            None => Ok(()),
        }
    }
}
