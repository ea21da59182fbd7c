//! The interrupt flag: `cli`, `sti`, `pushfq`.

use core::arch::asm;

use pvops_abi::ops::irq::{IrqOps, IrqState};
use pvops_abi::patch::{Code, Operation};
use x86_64::instructions::interrupts;

use crate::code;

/// RFLAGS.IF of the calling CPU.
pub(crate) struct Flag;

/// Masks interrupts (`cli`).
pub(crate) fn mask() {
    interrupts::disable();
}

/// Runs `work` with interrupts masked.
pub(crate) fn masked<R>(work: impl FnOnce() -> R) -> R {
    interrupts::without_interrupts(work)
}

impl IrqOps for Flag {
    fn disable(&self) {
        interrupts::disable();
    }

    fn enable(&self) {
        interrupts::enable();
        // `sti` holds interrupts back for one instruction more (Intel SDM volume 2, STI); this is that one.
        x86_64::instructions::nop();
    }

    fn save_and_disable(&self) -> IrqState {
        let state;
        // SAFETY: ring 0; RFLAGS are read.
        unsafe { asm!("pushfq", "pop {}", "cli", out(reg) state, options(preserves_flags)) };
        IrqState::from_raw(state)
    }

    fn restore(&self, state: IrqState) {
        // SAFETY: these are RFLAGS of this kernel's own, as `save_and_disable` or a patched site read them.
        unsafe { asm!("push {}", "popfq", in(reg) state.to_raw()) };
    }

    fn are_enabled(&self) -> bool {
        interrupts::are_enabled()
    }

    fn enable_and_wait(&self) {
        // `sti; hlt` side by side: nothing can be taken between the two.
        interrupts::enable_and_hlt();
    }

    fn code(&self, operation: Operation) -> Option<Code> {
        code::irq(operation)
    }
}
