//! What guests see of the hypervisor: the ABI.
//!
//! A call goes one way: entry, [`decode`], [`calls`], exit. A fault likewise: entry, walk and fill, exit; or
//! [`frames`], exit. [`leave`] is the one place where everything that happened meanwhile takes effect: events
//! are delivered, another vCPU may take its turn, the view is switched.

pub mod batch;
pub mod calls;
pub mod cpu_calls;
pub mod decode;
pub mod fast;
pub mod frames;

use crate::arch::x86_64::cpu::is_canonical;
use crate::arch::x86_64::guest::{current_vcpu, domain};
use crate::arch::x86_64::{Frame, cpu, paging, ports};
use crate::domain::vcpu::{Mode, Vcpu};
use crate::domain::{Domain, lifecycle, turn};
use crate::mmu::shadow::Failure;
use crate::mmu::walk::Access;

/// Vectors that the front end raises itself.
pub mod vector {
    /// Breakpoint.
    pub const BREAKPOINT: u64 = 3;
    /// Double fault.
    pub const DOUBLE_FAULT: u64 = 8;
    /// General protection.
    pub const GENERAL_PROTECTION: u64 = 13;
    /// Page fault.
    pub const PAGE_FAULT: u64 = 14;
}

/// `syscall`: a call of the guest kernel, or a system call of a guest program.
pub fn system_call(frame: &mut Frame) {
    let (domain, vcpu) = (domain(), current_vcpu());
    match vcpu.mode.get() {
        Mode::User if mutant!(ProgramsCall) && frame.rax >> 16 == 1 => calls::call(domain, vcpu, frame),
        Mode::Kernel => calls::call(domain, vcpu, frame),
        Mode::User => frames::deliver_system_call(domain, vcpu, frame),
    }
}

/// A page fault at `address`: a translation to load, or one for the guest to see.
pub fn page_fault(frame: &mut Frame, address: u64) {
    let (domain, vcpu) = (domain(), current_vcpu());
    let access = Access::from_error_code(frame.error, vcpu.mode.get() == Mode::User);
    match load(domain, vcpu, address, access) {
        Ok(()) => {}
        Err(Failure::Fault(code)) => {
            if let Some(area) = vcpu.area.get().filter(|_| !mutant!(FaultAddressLost)) {
                area.set_fault_address(address);
            }
            frames::deliver(domain, vcpu, frame, vector::PAGE_FAULT, code, address);
        }
        Err(Failure::PoolExhausted) => lifecycle::crash(domain, "out of shadow tables", address),
    }
}

/// Loads the translation of `address` behind the guest's back.
fn load(domain: &Domain, vcpu: &Vcpu, address: u64, access: Access) -> Result<(), Failure> {
    let root = vcpu.root.get().number;
    domain.mmu.lock().fault(&domain.memory, root, address, access)?;
    let hidden_faults = vcpu.hidden_faults.get() + 1;
    vcpu.hidden_faults.set(hidden_faults);
    // Without an area it goes where nobody looks.
    vcpu.area_or_none().set_hidden_faults(hidden_faults);
    Ok(())
}

/// A fault while the hypervisor copied guest memory by the guest's addresses, on behalf of its kernel. True:
/// the copy may go on.
pub fn copy_fault(address: u64, write: bool) -> bool {
    let access = if write { Access::KERNEL_WRITE } else { Access::KERNEL_READ };
    let domain = domain();
    load(domain, current_vcpu(), address, access).is_ok()
}

/// Any other exception of the guest.
#[inline]
pub fn exception(frame: &mut Frame) {
    let (domain, vcpu, number) = (domain(), current_vcpu(), frame.vector);
    if number == vector::BREAKPOINT || number == vector::GENERAL_PROTECTION {
        breakpoint_or_protection(domain, vcpu, frame);
    } else {
        // Error codes are the hypervisor's business: they name its selectors. The guest's are 0.
        frames::deliver(domain, vcpu, frame, number, 0, 0);
    }
}

/// Perhaps `int n`.
#[inline(never)]
fn breakpoint_or_protection(domain: &Domain, vcpu: &Vcpu, frame: &mut Frame) {
    /// Error code bit: the vector of an `int n`, not a selector (Intel SDM volume 3, 6.13).
    const FROM_TABLE: u64 = 2;
    if frame.vector == vector::BREAKPOINT {
        frames::software_interrupt(domain, vcpu, frame, vector::BREAKPOINT, 0);
        return;
    }
    let called = if frame.error & FROM_TABLE != 0 { frames::software_vector(frame.rip) } else { None };
    match called {
        Some(number) => frames::software_interrupt(domain, vcpu, frame, number, 2),
        None => {
            let error = if mutant!(ErrorCodeOfProcessor) { frame.error } else { 0 };
            frames::deliver(domain, vcpu, frame, vector::GENERAL_PROTECTION, error, 0)
        }
    }
}

/// Last step on the way to the guest.
#[inline]
pub fn leave(frame: &mut Frame) {
    if cpu().reschedule.get() {
        turn::choose(frame);
    }
    let vcpu = current_vcpu();
    if vcpu.has_pending_event() || !is_canonical(frame.rip) {
        see_to(frame);
    } else {
        show(vcpu);
    }
}

/// Something is to be seen to before the guest goes on.
#[inline(never)]
fn see_to(frame: &mut Frame) {
    let vcpu = current_vcpu();
    if vcpu.has_pending_event()
        && vcpu.accepts_events()
        && vcpu.event_entry.get() != 0
        && !mutant!(NeverDelivered)
    {
        frames::deliver_event(domain(), vcpu, frame);
    }
    if !is_canonical(frame.rip) {
        frames::deliver(domain(), vcpu, frame, vector::GENERAL_PROTECTION, 0, 0);
    }
    show(vcpu);
}

/// The view and the ports of the vCPU's mode.
#[inline]
fn show(vcpu: &Vcpu) {
    let root = vcpu.root.get();
    let mode = vcpu.mode.get();
    paging::load_view(match mode {
        Mode::Kernel => root.kernel,
        Mode::User => root.user,
    });
    if domain().devices.has_ports {
        ports::follow(mode);
    }
}
