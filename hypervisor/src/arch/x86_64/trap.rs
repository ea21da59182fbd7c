//! What each vector means: the step from the entry code to the safe dispatchers.

use super::apic::{self, vector};
use super::deliver::{pvops_guest_access_end, pvops_guest_access_failed, pvops_guest_access_start};
use super::frame::{EVENT_VECTOR, Frame, LEAVING_VECTOR, SYSTEM_CALL_VECTOR};
use super::percpu::cpu;
use super::system_call::{pvops_iret_long, pvops_iret_read_end, pvops_iret_read_start};
use super::{console, cpu as instructions};
use crate::domain::{console as domain_console, devices, registry, turn};
use crate::front;
use crate::front::vector::{GENERAL_PROTECTION, PAGE_FAULT};
use crate::mmu::walk::error;

const STACK_FAULT: u64 = 12;
const NMI: u64 = 2;
const FIRST_INTERRUPT: u64 = super::entry::FIRST_INTERRUPT as i8 as u64;

/// From a guest, interrupts off, `frame` at the top of this CPU's stack. Returns to leave to `frame`; true: with an event,
/// which the entry code delivers.
pub extern "C" fn from_guest(frame: &mut Frame) -> bool {
    match frame.vector {
        SYSTEM_CALL_VECTOR => front::system_call(frame),
        LEAVING_VECTOR => {}
        EVENT_VECTOR => return front::leave_with_event(frame),
        PAGE_FAULT if frame.error & error::USER == 0 => refused_by_processor(frame),
        PAGE_FAULT => front::page_fault(frame, cpu().fault_address.get()),
        0..=31 => front::exception(frame),
        number => interrupt(number as u8),
    }
    front::leave(frame)
}

/// The short way of a guest's page fault at `address`: the error code that the guest is to see, or that the translation is
/// loaded, as [`front::resolve`] says it. With anything else, [`from_guest`] looks at it once more.
pub extern "C" fn page_fault(address: u64, error: u64) -> u64 {
    if error & error::USER == 0 { front::EXHAUSTED } else { front::resolve(address, error) }
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
    let vector = frame.vector;
    match vector {
        NMI => {}
        // The other two: not canonical, so not the guest's.
        STACK_FAULT..=PAGE_FAULT if is_expected(frame) => {}
        number @ FIRST_INTERRUPT.. => interrupt(number as u8),
        _ => crate::domain::crash::hypervisor_fault(frame, instructions::fault_address()),
    }
}

/// Whether guest memory was accessed where that may fail. Then `frame` is where to go on.
fn is_expected(frame: &mut Frame) -> bool {
    if is_guest_access(frame.rip) {
        if frame.vector != PAGE_FAULT || !is_served(frame.error) {
            frame.rip = address_of!(pvops_guest_access_failed);
        }
        return true;
    }
    let is_iret_read = is_iret_read(frame.rip);
    if is_iret_read {
        frame.rip = address_of!(pvops_iret_long);
    }
    is_iret_read
}

fn is_guest_access(rip: u64) -> bool {
    let start = address_of!(pvops_guest_access_start);
    let end = address_of!(pvops_guest_access_end);
    (start..end).contains(&rip)
}

/// Whether the translation is loaded, so that an access goes on. The short ways let no fault be served.
fn is_served(error: u64) -> bool {
    let left = cpu().guest_faults_left.get().saturating_sub(1);
    cpu().guest_faults_left.set(left);
    left != 0 && front::copy_fault(instructions::fault_address(), error & error::WRITE != 0)
}

/// `CPU.IRET` found the guest's stack not at hand: absent here or not canonical.
fn is_iret_read(rip: u64) -> bool {
    let start = address_of!(pvops_iret_read_start);
    let end = address_of!(pvops_iret_read_end);
    (start..end).contains(&rip)
}

/// An interrupt of the machine. The local APIC is told at the end, when a line that goes on is masked; what comes meanwhile
/// is kept there.
#[inline(never)]
fn interrupt(number: u8) {
    const CONSOLE: u8 = vector::LINES + console::LINE;
    const LAST_LINE: u8 = vector::LINES + (devices::MAX_LINES - 1) as u8;
    trace!(Interrupt, number.into());
    match number {
        vector::TIMER => turn::timer_expired(),
        vector::KICK => registry::kicked(),
        CONSOLE => domain_console::serve(),
        vector::LINES..=LAST_LINE => devices::interrupt(number - vector::LINES),
        vector::SPURIOUS => return,
        _ => {}
    }
    apic::end_of_interrupt();
}
