//! The operations through the table: what a site does before it is patched, and for good where it is not.

use crate::addr::{PhysAddr, VirtAddr};
use crate::ops::irq::IrqState;
use crate::ops::mmu::Retain;
use crate::ops::{CpuSet, ops};

/// Bits of which one is set in what `irq_are_enabled` returns when interrupts are enabled. Either is free of
/// other meaning in what the sites read: bit 9 is RFLAGS.IF and bit 16 RF, which `pushfq` stores as 0; in the
/// first word of a vCPU area bit 16 is the lowest of `events_enabled` and bit 9 belongs to the version.
pub(crate) const ENABLED_BITS: u64 = 1 << 9 | 1 << 16;
/// What `mmu_load_root` takes for [`Retain::Keep`]; 0 stands for [`Retain::Drop`].
pub(crate) const KEEP: u64 = 1;

pub(crate) extern "C" fn irq_disable() {
    ops().irq.disable();
}

pub(crate) extern "C" fn irq_enable() {
    ops().irq.enable();
}

pub(crate) extern "C" fn irq_save_and_disable() -> usize {
    ops().irq.save_and_disable().to_raw()
}

pub(crate) extern "C" fn irq_restore(state: usize) {
    ops().irq.restore(IrqState::from_raw(state));
}

pub(crate) extern "C" fn irq_are_enabled() -> u64 {
    if ops().irq.are_enabled() { ENABLED_BITS } else { 0 }
}

pub(crate) extern "C" fn irq_enable_and_wait() {
    ops().irq.enable_and_wait();
}

pub(crate) extern "C" fn cpu_current() -> usize {
    ops().cpu.current()
}

pub(crate) extern "C" fn cpu_block() -> u64 {
    core::ptr::from_ref(ops().cpu.block()) as u64
}

pub(crate) extern "C" fn cpu_spin_hint() {
    ops().cpu.spin_hint();
}

pub(crate) extern "C" fn cpu_user_access_begin() {
    ops().cpu.user_access_begin();
}

pub(crate) extern "C" fn cpu_user_access_end() {
    ops().cpu.user_access_end();
}

/// # Safety
/// As [`crate::ops::mmu::MmuOps::load_root`].
pub(crate) unsafe extern "C" fn mmu_load_root(root: u64, retain: u64) {
    let retain = if retain == KEEP { Retain::Keep } else { Retain::Drop };
    // SAFETY: the caller upholds the contract.
    unsafe { ops().mmu.load_root(PhysAddr(root), retain) }
}

pub(crate) extern "C" fn mmu_flush_page(address: u64, cpus: u64) {
    ops().mmu.flush_page(VirtAddr(address), CpuSet::from_bits(cpus));
}

pub(crate) extern "C" fn time_now_ns() -> u64 {
    ops().time.now_ns()
}
