//! Device registers in memory, by volatile accesses through the kernel's present map.

use core::ptr::NonNull;

use pvops_abi::addr::PhysAddr;
use volatile::VolatilePtr;

use crate::machine::phys_to_virt;

/// A block of 32- and 64-bit registers.
#[derive(Clone, Copy)]
pub(crate) struct Registers {
    base: PhysAddr,
}

impl Registers {
    /// The block at `base`.
    ///
    /// # Safety
    /// `base` is a block of device registers that this backend alone drives, and every map that the kernel
    /// uses from now on carries it ([`pvops_abi::ops::mmu::MmuOps::required_mappings`]).
    pub(crate) const unsafe fn new(base: PhysAddr) -> Self {
        Self { base }
    }

    /// The register at `offset` bytes. Looked up each time: the kernel may have switched tables.
    fn at<T>(&self, offset: usize) -> VolatilePtr<'_, T> {
        let address = phys_to_virt(PhysAddr(self.base.0 + offset as u64)).0 as *mut T;
        // SAFETY: the maker of `self` vouches for a mapped register block; it is not at address 0 in a kernel.
        unsafe { VolatilePtr::new(NonNull::new_unchecked(address)) }
    }

    pub(crate) fn read32(&self, offset: usize) -> u32 {
        self.at(offset).read()
    }

    pub(crate) fn write32(&self, offset: usize, value: u32) {
        self.at(offset).write(value);
    }

    pub(crate) fn read64(&self, offset: usize) -> u64 {
        self.at(offset).read()
    }

    pub(crate) fn write64(&self, offset: usize, value: u64) {
        self.at(offset).write(value);
    }
}
