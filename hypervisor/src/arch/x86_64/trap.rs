//! What each vector means: the step from the entry code to the safe dispatchers.

use super::apic::{self, vector};
use super::entry::{pvops_guest_copy_end, pvops_guest_copy_failed, pvops_guest_copy_start};
use super::frame::{Frame, SYSTEM_CALL_VECTOR};
use super::percpu::cpu;
use super::system_call::{pvops_iret_long, pvops_iret_read_end, pvops_iret_read_start};
use super::{console, cpu as instructions};
use crate::domain::{console as domain_console, devices, registry, turn};
use crate::front;
use crate::mmu::walk::error;

const STACK_FAULT: u64 = 12;
const GENERAL_PROTECTION: u64 = 13;
const PAGE_FAULT: u64 = 14;
const NMI: u64 = 2;

/// From a guest, interrupts off, `frame` at the top of this CPU's stack. Returns to leave to `frame`.
pub extern "C" fn from_guest(frame: &mut Frame) {
    match frame.vector {
        SYSTEM_CALL_VECTOR => front::system_call(frame),
        PAGE_FAULT if frame.error & error::USER == 0 => refused_by_processor(frame),
        PAGE_FAULT => front::page_fault(frame, instructions::fault_address()),
        0..=31 => front::exception(frame),
        number => interrupt(number as u8),
    }
    front::leave(frame);
}

/// As the end of [`from_guest`], for calls that needed no stored frame.
pub extern "C" fn leave(frame: &mut Frame) {
    front::leave(frame);
}

/// A page fault in ring 3 that the processor took as a supervisor's: it read a descriptor or, under QEMU, the stack of a
/// far return or `iretq`, from guest memory, which SMAP refuses for ever. No translation helps, so it must not be tried.
fn refused_by_processor(frame: &mut Frame) {
    frame.vector = GENERAL_PROTECTION;
    frame.error = 0;
    front::exception(frame);
}

/// From the hypervisor: interrupts while idle, faults while copying guest memory, NMIs at any time.
pub extern "C" fn from_hypervisor(frame: &mut Frame) {
    match frame.vector {
        NMI => {}
        // Not canonical, so not the guest's.
        STACK_FAULT | GENERAL_PROTECTION if is_guest_copy(frame.rip) => {
            frame.rip = pvops_guest_copy_failed as *const () as u64;
        }
        PAGE_FAULT if is_guest_copy(frame.rip) => {
            let write = frame.error & error::WRITE != 0;
            let left = cpu().guest_faults_left.get() - 1;
            cpu().guest_faults_left.set(left);
            if left == 0 || !front::copy_fault(instructions::fault_address(), write) {
                frame.rip = pvops_guest_copy_failed as *const () as u64;
            }
        }
        STACK_FAULT | GENERAL_PROTECTION | PAGE_FAULT if is_iret_read(frame.rip) => {
            frame.rip = pvops_iret_long as *const () as u64;
        }
        number @ 32..=255 => interrupt(number as u8),
        _ => crate::domain::crash::hypervisor_fault(frame, instructions::fault_address()),
    }
}

fn is_guest_copy(rip: u64) -> bool {
    let start = pvops_guest_copy_start as *const () as u64;
    let end = pvops_guest_copy_end as *const () as u64;
    cpu().guest_faults_left.get() != 0 && (start..end).contains(&rip)
}

/// `CPU.IRET` found the guest's stack not at hand: absent here or not canonical.
fn is_iret_read(rip: u64) -> bool {
    let start = pvops_iret_read_start as *const () as u64;
    let end = pvops_iret_read_end as *const () as u64;
    (start..end).contains(&rip)
}

fn interrupt(number: u8) {
    if number == vector::TIMER { turn::timer_expired() } else { other_interrupt(number) }
}

#[inline(never)]
fn other_interrupt(number: u8) {
    const CONSOLE: u8 = vector::LINES + console::LINE;
    const LAST_LINE: u8 = vector::LINES + (devices::MAX_LINES - 1) as u8;
    match number {
        CONSOLE => {
            apic::end_of_interrupt();
            domain_console::serve();
        }
        vector::LINES..=LAST_LINE => {
            devices::interrupt(number - vector::LINES);
            apic::end_of_interrupt();
        }
        vector::KICK => {
            apic::end_of_interrupt();
            registry::kicked();
        }
        vector::SPURIOUS => {}
        _ => apic::end_of_interrupt(),
    }
}
