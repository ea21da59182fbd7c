//! The interrupt flag: `cli`, `sti`, `pushfq`.

use pvops_abi::ops::irq::{IrqOps, IrqState};
use x86_64::instructions::interrupts;

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
        let enabled = interrupts::are_enabled();
        interrupts::disable();
        IrqState::from_raw(usize::from(enabled))
    }

    fn restore(&self, state: IrqState) {
        if state.to_raw() != 0 {
            self.enable();
        } else {
            interrupts::disable();
        }
    }

    fn are_enabled(&self) -> bool {
        interrupts::are_enabled()
    }

    fn enable_and_wait(&self) {
        // `sti; hlt` side by side: nothing can be taken between the two.
        interrupts::enable_and_hlt();
    }
}
