//! The operations as the bare machine's instructions, with nothing to patch: what a kernel would be that knows no
//! other world. Built by `--cfg pvops_hard_coded`, to be compared with and for nothing else: such a kernel runs on
//! the bare machine only, with one CPU and without PCIDs.

use crate::addr::{PhysAddr, VirtAddr};
use crate::ops::CpuSet;
use crate::ops::cpu::{BLOCK_CPU, BLOCK_THIS, CpuBlock};
use crate::ops::irq::IrqState;
use crate::ops::mmu::Retain;
use core::arch::asm;

const INTERRUPT_FLAG: u64 = 1 << 9;

#[inline(always)]
pub(crate) fn irq_disable() {
    // SAFETY: the kernel runs in ring 0. No `nomem` here and below: nothing moves across.
    unsafe { asm!("cli", options(nostack, preserves_flags)) }
}

#[inline(always)]
pub(crate) fn irq_enable() {
    // SAFETY: as above.
    unsafe { asm!("sti", options(nostack, preserves_flags)) }
}

#[inline(always)]
pub(crate) fn irq_save_and_disable() -> IrqState {
    let state;
    // SAFETY: as above.
    unsafe { asm!("pushfq; pop {}; cli", out(reg) state, options(preserves_flags)) };
    IrqState::from_raw(state)
}

#[inline(always)]
pub(crate) fn irq_restore(state: IrqState) {
    // SAFETY: as above; the flags are this kernel's own, from before.
    unsafe { asm!("push {}; popfq", in(reg) state.to_raw()) }
}

#[inline(always)]
pub(crate) fn irq_are_enabled() -> bool {
    let flags: u64;
    // SAFETY: as above.
    unsafe { asm!("pushfq; pop {}", out(reg) flags, options(preserves_flags)) };
    flags & INTERRUPT_FLAG != 0
}

#[inline(always)]
pub(crate) fn irq_enable_and_wait() {
    // SAFETY: as above.
    unsafe { asm!("sti; hlt", options(nostack, preserves_flags)) }
}

#[inline(always)]
pub(crate) fn cpu_current() -> usize {
    let cpu: u64;
    // SAFETY: GS is this CPU's block from the backend's start on.
    unsafe {
        asm!("mov {:e}, gs:[{block_cpu}]", out(reg) cpu, block_cpu = const BLOCK_CPU,
             options(nostack, preserves_flags, readonly));
    }
    cpu as usize
}

#[inline(always)]
pub(crate) fn cpu_block() -> &'static CpuBlock {
    let block: *const CpuBlock;
    // SAFETY: as in `cpu_current`; blocks stay.
    unsafe {
        asm!("mov {}, gs:[{this}]", out(reg) block, this = const BLOCK_THIS,
             options(nostack, preserves_flags, readonly));
        &*block
    }
}

#[inline(always)]
pub(crate) fn cpu_spin_hint() {
    core::hint::spin_loop();
}

#[inline(always)]
pub(crate) fn cpu_user_access_begin() {
    // SAFETY: the kernel runs in ring 0 of a CPU with SMAP.
    unsafe { asm!("stac", options(nostack)) }
}

#[inline(always)]
pub(crate) fn cpu_user_access_end() {
    // SAFETY: as above.
    unsafe { asm!("clac", options(nostack)) }
}

/// # Safety
/// As [`crate::ops::mmu::MmuOps::load_root`].
#[inline(always)]
pub(crate) unsafe fn mmu_load_root(root: PhysAddr, _: Retain) {
    // SAFETY: the caller vouches for the root.
    unsafe { asm!("mov cr3, {}", in(reg) root.0, options(nostack, preserves_flags)) }
}

#[inline(always)]
pub(crate) fn mmu_flush_page(address: VirtAddr, _: CpuSet) {
    // SAFETY: dropping a translation is always sound.
    unsafe { asm!("invlpg [{}]", in(reg) address.0, options(nostack, preserves_flags)) }
}

#[inline(always)]
pub(crate) fn time_now_ns() -> u64 {
    let now;
    // SAFETY: reads a counter; the two words are the native backend's.
    unsafe {
        asm!(
            "lfence; rdtsc; shl rdx, 32; or rax, rdx; sub rax, [rip + pvops_native_clock_start]; \
             mul qword ptr [rip + pvops_native_clock_scale]; shrd rax, rdx, 32",
            out("rax") now,
            out("rdx") _,
            options(nostack),
        );
    }
    now
}
