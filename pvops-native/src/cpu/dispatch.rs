//! From a frame to the kernel's handler, and the frame's check before it is left.

use pvops_abi::addr::VirtAddr;
use pvops_abi::layout::frame::TrapFrame;
use pvops_abi::ops::cpu::Handlers;
use spin::Once;
use x86_64::instructions::interrupts;

use super::segments::SELECTORS;
use crate::event;

/// The same for all CPUs: given at the first `start_cpu`.
static HANDLERS: Once<Handlers> = Once::new();

const FIRST_INTERRUPT: u64 = 32;
const BREAKPOINT: u64 = 3;
const OVERFLOW: u64 = 4;
const GENERAL_PROTECTION: u64 = 13;

/// RFLAGS that a frame may set: ID, AC, RF, OF, DF, IF, TF, SF, ZF, AF, PF, CF.
const FLAGS_ALLOWED: u64 = 1 << 21 | 1 << 18 | 1 << 16 | 0b1111_1101_0101;
/// RFLAGS bit 1 is always set.
const FLAGS_FIXED: u64 = 2;

/// Keeps the first caller's handlers.
pub(super) fn set_handlers(handlers: Handlers) {
    HANDLERS.call_once(|| handlers);
}

/// Called by every stub, interrupts masked, with the frame it made; returns with interrupts masked and the
/// frame fit to be left.
pub(super) extern "C" fn dispatch(frame: &mut TrapFrame) {
    let handlers = HANDLERS.get().expect("set before any stub is reachable");
    match frame.vector {
        TrapFrame::SYSTEM_CALL => (handlers.system_call)(frame),
        FIRST_INTERRUPT..=0xff => {
            let vector = frame.vector as u8;
            frame.vector = TrapFrame::EVENT;
            if event::interrupt(vector, super::current()) {
                (handlers.event)(frame);
            }
        }
        BREAKPOINT | OVERFLOW if frame.interrupts_enabled() => {
            interrupts::enable();
            (handlers.trap)(frame);
        }
        _ => (handlers.trap)(frame),
    }
    interrupts::disable();
    while frame.is_user() && !VirtAddr(frame.rip).is_canonical() {
        // `iretq` would raise this in kernel mode, on user mode's GS: raise it for user mode instead.
        frame.vector = GENERAL_PROTECTION;
        frame.error_code = 0;
        (handlers.trap)(frame);
        interrupts::disable();
    }
    make_harmless(frame);
}

/// Leaves in the frame only what `iretq` takes without a fault: our selectors, and no flag that the kernel has
/// no business with.
pub(super) fn make_harmless(frame: &mut TrapFrame) {
    let (cs, ss) = if frame.is_user() {
        (SELECTORS.user_cs, SELECTORS.user_ss)
    } else {
        (SELECTORS.kernel_cs, SELECTORS.kernel_ss)
    };
    frame.cs = cs.into();
    frame.ss = ss.into();
    frame.rflags = frame.rflags & FLAGS_ALLOWED | FLAGS_FIXED;
}
