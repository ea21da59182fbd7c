//! The event flag: single `gs`-relative accesses to the vCPU area at the start of the CPU's block.

use super::code;
use super::hypercall::call0;
use crate::call::{Event, Sched};
use crate::layout::VcpuArea;
use crate::ops::irq::{IrqOps, IrqState};
use crate::patch::{Code, Operation};
use core::arch::asm;
use core::mem::offset_of;

/// Offset of the flag from GS.
pub(super) const ENABLED: usize = offset_of!(VcpuArea, events_enabled);
/// Offset of the pending byte from GS.
pub(super) const PENDING: usize = offset_of!(VcpuArea, events_pending);

pub(super) struct Irq;

fn set_enabled() {
    // SAFETY: in kernel mode GS is this CPU's block (the boot block before `start_cpu`); one byte store.
    unsafe { asm!("mov byte ptr gs:[{0}], 1", const ENABLED, options(nostack, preserves_flags)) };
}

fn is_pending() -> bool {
    let pending: u8;
    // SAFETY: as in `set_enabled`; one byte load.
    unsafe {
        asm!("mov {0}, gs:[{1}]", out(reg_byte) pending, const PENDING, options(nostack, preserves_flags))
    };
    pending != 0
}

impl IrqOps for Irq {
    fn disable(&self) {
        // SAFETY: as in `set_enabled`.
        unsafe { asm!("mov byte ptr gs:[{0}], 0", const ENABLED, options(nostack, preserves_flags)) };
    }

    fn enable(&self) {
        set_enabled();
        // What became pending before the store waits for us to look (EVT-004); what comes after it interrupts.
        if is_pending() {
            call0(Event::Deliver.id());
        }
    }

    fn save_and_disable(&self) -> IrqState {
        let state = IrqState::from_raw(usize::from(self.are_enabled()));
        self.disable();
        state
    }

    fn restore(&self, state: IrqState) {
        if state.to_raw() == 0 {
            self.disable();
        } else {
            self.enable();
        }
    }

    fn are_enabled(&self) -> bool {
        let enabled: u8;
        // SAFETY: as in `set_enabled`; one byte load.
        unsafe {
            asm!("mov {0}, gs:[{1}]", out(reg_byte) enabled, const ENABLED, options(nostack, preserves_flags));
        }
        enabled != 0
    }

    fn enable_and_wait(&self) {
        call0(Sched::Block.id());
    }

    fn code(&self, operation: Operation) -> Option<Code> {
        code::irq(operation)
    }
}
