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
use crate::lock::lock;
use crate::mmu::bits;
use crate::mmu::memory::{GuestTable, GuestTables};
use crate::mmu::shadow::Failure;
use crate::mmu::walk::{Access, error};

/// Vectors that the front end raises itself.
pub mod vector {
    /// Breakpoint.
    pub const BREAKPOINT: u64 = 3;
    /// Invalid opcode.
    pub const INVALID_OPCODE: u64 = 6;
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
        Mode::User => frames::deliver_system_call(vcpu, frame),
    }
}

/// What [`resolve`] says of a translation that is loaded now.
pub const LOADED: u64 = u64::MAX;
/// And of one that cannot be loaded; neither is an error code.
pub const EXHAUSTED: u64 = u64::MAX - 1;

/// A page fault of a guest at `address` that the hardware gives this error code: loads the translation behind its back, or
/// tells the error code that it is to see. The entry code calls it, and looks at the numbers.
pub fn resolve(address: u64, hardware_error: u64) -> u64 {
    let vcpu = current_vcpu();
    let is_user = vcpu.mode.get() == Mode::User;
    let access = Access::from_error_code(hardware_error, is_user);
    // Most faults of programs are the guest's own, most of its kernel are hidden.
    if is_user && hardware_error & error::PRESENT == 0 && !mutant!(any) && is_absent(vcpu, address) {
        return access.error_code(0);
    }
    outcome(address, access)
}

/// Whether the guest's tables say, in the usual way, that nothing is at `address`. Nothing is loaded, so a flush may go on
/// meanwhile; and whatever they say of the hypervisor's slots, it is nothing.
#[inline(always)]
fn is_absent(vcpu: &Vcpu, address: u64) -> bool {
    // A copy, which stays in registers.
    let memory = domain().memory;
    let mut table = vcpu.root.get().guest;
    // The indices, the next one behind the highest bit.
    let mut indices = address << 16;
    for _ in 0..4 {
        indices = indices.rotate_left(9);
        let Some(entries) = memory.table(table & bits::FRAME) else { return false };
        table = GuestTable::load(entries, indices as usize % 512);
        if table & (bits::PRESENT | bits::LARGE) != bits::PRESENT {
            return table & bits::PRESENT == 0;
        }
    }
    false
}

/// A page fault the long way.
pub fn page_fault(frame: &mut Frame, address: u64) {
    match resolve(address, frame.error) {
        LOADED => {}
        EXHAUSTED => lifecycle::crash(domain(), "out of shadow tables", address),
        code => {
            if !mutant!(FaultAddressLost) {
                // Without an area it goes where nobody looks.
                current_vcpu().area_or_none().set_fault_address(address);
            }
            frames::deliver(frame, vector::PAGE_FAULT, code);
        }
    }
}

/// [`load`] in one word.
#[inline(never)]
fn outcome(address: u64, access: Access) -> u64 {
    match load(domain(), current_vcpu(), address, access) {
        Ok(()) => LOADED,
        Err(Failure::Fault(code)) => code,
        Err(Failure::PoolExhausted) => EXHAUSTED,
    }
}

/// Loads the translation of `address` behind the guest's back.
#[inline(always)]
fn load(domain: &Domain, vcpu: &Vcpu, address: u64, access: Access) -> Result<(), Failure> {
    let root = vcpu.root.get().number;
    lock(&domain.mmu).fault(&domain.memory, root, address, access)?;
    trace!(HiddenFault, address);
    let hidden_faults = vcpu.hidden_faults.get() + 1;
    vcpu.hidden_faults.set(hidden_faults);
    // Without an area it goes where nobody looks.
    vcpu.area_or_none().set_hidden_faults(hidden_faults);
    Ok(())
}

/// A fault while the hypervisor copied guest memory by the guest's addresses, on behalf of its kernel. True:
/// the copy may go on.
pub fn copy_fault(address: u64, write: bool) -> bool {
    outcome(address, if write { Access::KERNEL_WRITE } else { Access::KERNEL_READ }) == LOADED
}

/// Any other exception of the guest.
#[inline(never)]
pub fn exception(frame: &mut Frame) {
    /// Error code bit: the vector of an `int n`, not a selector (Intel SDM volume 3, 6.13).
    const FROM_TABLE: u64 = 2;
    let number = frame.vector;
    // What an instruction called, and its length.
    let called = match number {
        vector::BREAKPOINT => Some((number, 0)),
        vector::GENERAL_PROTECTION if frame.error & FROM_TABLE != 0 => {
            frames::software_vector(frame.rip).map(|called| (called, 2))
        }
        _ => None,
    };
    if let Some((called, length)) = called {
        return frames::software_interrupt(current_vcpu(), frame, called, length);
    }
    // Error codes are the hypervisor's business: they name its selectors. The guest's are 0.
    let keeps_code = mutant!(ErrorCodeOfProcessor) && number == vector::GENERAL_PROTECTION;
    frames::deliver(frame, number, if keeps_code { frame.error } else { 0 });
}

/// Last step on the way to the guest. True: the entry code is to deliver an event.
pub fn leave(frame: &mut Frame) -> bool {
    if cpu().reschedule.get() {
        turn::choose(frame);
    }
    let vcpu = current_vcpu();
    if vcpu.has_pending_event() || !is_canonical(frame.rip) {
        return see_to(frame);
    }
    show(vcpu);
    trace!(Leave, vcpu.mode.get() as u64, frame.rax);
    false
}

/// Something is to be seen to before the guest goes on.
#[inline(never)]
fn see_to(frame: &mut Frame) -> bool {
    let vcpu = current_vcpu();
    if vcpu.has_pending_event() && vcpu.accepts_events() {
        if vcpu.short_ways.get().event_entry != 0 {
            return true;
        }
        if vcpu.event_entry.get() != 0 && !mutant!(NeverDelivered) {
            return leave_with_event(frame);
        }
    }
    if !is_canonical(frame.rip) {
        frames::deliver(frame, vector::GENERAL_PROTECTION, 0);
    }
    show(vcpu);
    trace!(Leave, vcpu.mode.get() as u64, frame.rax);
    false
}

/// Last step where the entry code cannot deliver an event. No other one follows it, whatever the guest does meanwhile: as
/// [`leave`], but never true.
#[inline(never)]
pub fn leave_with_event(frame: &mut Frame) -> bool {
    let vcpu = current_vcpu();
    frames::deliver_event(vcpu, frame);
    show(vcpu);
    trace!(Leave, vcpu.mode.get() as u64, frame.rax);
    false
}

/// The view and the ports of the vCPU's mode.
#[inline(never)]
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
