//! The interrupt descriptor table: one gate per vector, all interrupt gates, the same on all CPUs.
//!
//! Trap gates would leave interrupts open before `swapgs`; the dispatcher opens them where the contract says.

use core::mem::size_of_val;

use spin::Once;
use x86_64::instructions::tables::lidt;
use x86_64::structures::DescriptorTablePointer;

use super::entry::stub;
use super::segments::{DOUBLE_FAULT_STACK, MACHINE_CHECK_STACK, NMI_STACK, SELECTORS};

const NMI: u8 = 2;
const BREAKPOINT: u8 = 3;
const OVERFLOW: u8 = 4;
const DOUBLE_FAULT: u8 = 8;
const MACHINE_CHECK: u8 = 18;

/// A 64-bit gate (Intel SDM volume 3, 6.14.1).
#[derive(Clone, Copy)]
#[repr(C)]
struct Gate {
    offset_low: u16,
    selector: u16,
    /// Bits 2..0: 1 + index of the stack, 0: the current one.
    stack: u8,
    /// Type, privilege, present.
    attributes: u8,
    offset_middle: u16,
    offset_high: u32,
    reserved: u32,
}

const INTERRUPT_GATE: u8 = 0x8e;
const FROM_USER: u8 = 3 << 5;

static TABLE: Once<[Gate; 256]> = Once::new();

fn gate(vector: u8) -> Gate {
    let address = stub(vector);
    let stack = match vector {
        DOUBLE_FAULT => DOUBLE_FAULT_STACK + 1,
        NMI => NMI_STACK + 1,
        MACHINE_CHECK => MACHINE_CHECK_STACK + 1,
        _ => 0,
    };
    let from_user = if matches!(vector, BREAKPOINT | OVERFLOW) { FROM_USER } else { 0 };
    Gate {
        offset_low: address as u16,
        selector: SELECTORS.kernel_cs,
        stack,
        attributes: INTERRUPT_GATE | from_user,
        offset_middle: (address >> 16) as u16,
        offset_high: (address >> 32) as u32,
        reserved: 0,
    }
}

/// Loads the table on the calling CPU.
pub(super) fn load() {
    let table = TABLE.call_once(|| core::array::from_fn(|vector| gate(vector as u8)));
    let pointer = DescriptorTablePointer {
        limit: (size_of_val(table) - 1) as u16,
        base: x86_64::VirtAddr::from_ptr(table),
    };
    // SAFETY: the table is static, and each gate leads to a stub in a segment that is loaded.
    unsafe { lidt(&pointer) };
}
