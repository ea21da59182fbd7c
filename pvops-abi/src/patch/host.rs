//! The operations on a host, where tests of other crates link against this one: through the table, always.

use super::through_table;
use crate::addr::{PhysAddr, VirtAddr};
use crate::ops::CpuSet;
use crate::ops::cpu::CpuBlock;
use crate::ops::irq::IrqState;
use crate::ops::mmu::Retain;

pub(crate) use super::through_table::{
    cpu_current, cpu_spin_hint, cpu_user_access_begin, cpu_user_access_end, irq_disable, irq_enable,
    irq_enable_and_wait, time_now_ns,
};

pub(crate) fn irq_save_and_disable() -> IrqState {
    IrqState::from_raw(through_table::irq_save_and_disable())
}

pub(crate) fn irq_restore(state: IrqState) {
    through_table::irq_restore(state.to_raw());
}

pub(crate) fn irq_are_enabled() -> bool {
    through_table::irq_are_enabled() != 0
}

pub(crate) fn cpu_block() -> &'static CpuBlock {
    // SAFETY: the address of a `&'static CpuBlock`.
    unsafe { &*(through_table::cpu_block() as *const CpuBlock) }
}

/// # Safety
/// As [`crate::ops::mmu::MmuOps::load_root`].
pub(crate) unsafe fn mmu_load_root(root: PhysAddr, retain: Retain) {
    // SAFETY: the caller upholds the contract.
    unsafe { through_table::mmu_load_root(root.0, u64::from(retain == Retain::Keep)) }
}

pub(crate) fn mmu_flush_page(address: VirtAddr, cpus: CpuSet) {
    through_table::mmu_flush_page(address.0, cpus.bits());
}
