//! The call sites themselves: each is a call of its [thunk](super::thunks) and a record in the table of sites.
//!
//! Whatever a compiler does with a site, inline it, copy it, drop it, its record goes with it: both are one block
//! of assembly. A site names exactly the registers that one of its forms needs, so that a patched one costs its
//! instruction and nothing around it. See [`super`] for what each form may change.

use super::operation::Operation;
use super::through_table::{ENABLED_BITS, KEEP};
use super::thunks;
use crate::addr::{PhysAddr, VirtAddr};
use crate::ops::CpuSet;
use crate::ops::cpu::CpuBlock;
use crate::ops::irq::IrqState;
use crate::ops::mmu::Retain;

/// A site of an operation: its thunk, then registers and options as `asm!` takes them.
macro_rules! site {
    ($operation:ident, $thunk:ident $(, $($operand:tt)*)?) => {
        core::arch::asm!(
            "771:",
            "call {thunk}",
            ".if {bytes} > {call_bytes}",
            ".nops {bytes} - {call_bytes}",
            ".endif",
            // "R": kept by the linker, which sees no reference to it. Distances from here need no relocation.
            ".pushsection pvops_sites, \"aR\", @progbits",
            ".balign 4",
            "773:",
            ".long 771b - 773b",
            ".byte {operation}, {bytes}, 0, 0",
            ".popsection",
            thunk = sym thunks::$thunk,
            bytes = const Operation::$operation.site_bytes(),
            call_bytes = const super::operation::CALL_BYTES,
            operation = const Operation::$operation as u8,
            $($($operand)*)?
        )
    };
}

#[inline(always)]
pub(crate) fn irq_disable() {
    // SAFETY: every form masks interrupts and keeps all registers.
    unsafe { site!(IrqDisable, irq_disable) }
}

#[inline(always)]
pub(crate) fn irq_enable() {
    // SAFETY: every form unmasks interrupts and keeps all registers; handlers keep them too.
    unsafe { site!(IrqEnable, irq_enable) }
}

#[inline(always)]
pub(crate) fn irq_save_and_disable() -> IrqState {
    let state;
    // SAFETY: every form leaves the state in `r11` and masks interrupts.
    unsafe { site!(IrqSaveAndDisable, irq_save_and_disable, out("r11") state) };
    IrqState::from_raw(state)
}

#[inline(always)]
pub(crate) fn irq_restore(state: IrqState) {
    // SAFETY: every form takes the state in `r11`, where one of the same backend has left it, and keeps all registers.
    unsafe { site!(IrqRestore, irq_restore, in("r11") state.to_raw()) }
}

#[inline(always)]
pub(crate) fn irq_are_enabled() -> bool {
    let flags: u64;
    // SAFETY: every form leaves flags in `rax`.
    unsafe { site!(IrqAreEnabled, irq_are_enabled, out("rax") flags) };
    flags & ENABLED_BITS != 0
}

#[inline(always)]
pub(crate) fn irq_enable_and_wait() {
    // SAFETY: every form waits with interrupts enabled; the registers named are those of a hypercall.
    unsafe {
        site!(IrqEnableAndWait, irq_enable_and_wait,
              out("rax") _, out("rcx") _, out("rdx") _, out("r11") _);
    }
}

#[inline(always)]
pub(crate) fn cpu_current() -> usize {
    let cpu: u64;
    // SAFETY: every form leaves the number in `rax`.
    unsafe { site!(CpuCurrent, cpu_current, out("rax") cpu, options(readonly)) };
    cpu as usize
}

#[inline(always)]
pub(crate) fn cpu_block() -> &'static CpuBlock {
    let block: *const CpuBlock;
    // SAFETY: every form leaves the address of this CPU's block in `rax`: of the one given to `start_cpu`, which
    // stays, or before that of one of the backend's own.
    unsafe {
        site!(CpuBlock, cpu_block, out("rax") block, options(readonly));
        &*block
    }
}

#[inline(always)]
pub(crate) fn cpu_spin_hint() {
    // SAFETY: a hint; every form keeps all registers.
    unsafe { site!(CpuSpinHint, cpu_spin_hint) }
}

#[inline(always)]
pub(crate) fn cpu_user_access_begin() {
    // SAFETY: allows accesses; whether one is sound is decided where it is made.
    unsafe { site!(CpuUserAccessBegin, cpu_user_access_begin) }
}

#[inline(always)]
pub(crate) fn cpu_user_access_end() {
    // SAFETY: every form keeps all registers.
    unsafe { site!(CpuUserAccessEnd, cpu_user_access_end) }
}

/// # Safety
/// As [`crate::ops::mmu::MmuOps::load_root`].
#[inline(always)]
pub(crate) unsafe fn mmu_load_root(root: PhysAddr, retain: Retain) {
    let retain = if retain == Retain::Keep { KEEP } else { 0 };
    // SAFETY: the caller vouches for the root; the registers named are those of a hypercall.
    unsafe {
        site!(MmuLoadRoot, mmu_load_root, in("rdi") root.0, in("rsi") retain,
              out("rax") _, out("rcx") _, out("rdx") _, out("r11") _);
    }
}

#[inline(always)]
pub(crate) fn mmu_flush_page(address: VirtAddr, cpus: CpuSet) {
    // SAFETY: dropping translations is always sound; the registers named are those of a hypercall.
    unsafe {
        site!(MmuFlushPage, mmu_flush_page, in("rdi") address.0, in("rsi") cpus.bits(),
              out("rax") _, out("rcx") _, out("rdx") _, out("r11") _);
    }
}

#[inline(always)]
pub(crate) fn time_now_ns() -> u64 {
    let now;
    // SAFETY: every form leaves the time in `rax` and uses no register beyond those named.
    unsafe {
        site!(TimeNow, time_now_ns, out("rax") now, out("rcx") _, out("rdx") _, out("r11") _);
    }
    now
}
