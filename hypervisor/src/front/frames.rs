//! Traps, events and system calls on their way into the guest kernel, and `iret` on the way back.

use crate::arch::x86_64::guest::{self, current_vcpu, domain};
use crate::arch::x86_64::segments::selector;
use crate::arch::x86_64::{Frame, cpu};
use crate::domain::lifecycle;
use crate::domain::vcpu::{Mode, Vcpu};
use crate::front::vector;
use pvops_abi::layout::frame::Selectors;
use pvops_abi::layout::{IretFrame, TrapGate};

/// Selectors that guests see: the true one of ring 3 with the virtual privilege in its low bits.
pub const SELECTORS: Selectors = Selectors {
    kernel_cs: selector::USER_CODE & !3,
    kernel_ss: selector::USER_DATA & !3,
    user_cs: selector::USER_CODE,
    user_ss: selector::USER_DATA,
};

/// Flags that a guest may set: CF PF AF ZF SF TF DF OF RF AC ID.
pub const GUEST_FLAGS: u64 = 0x0025_0dd5;
const INTERRUPT_FLAG: u64 = 1 << 9;
const FIXED_FLAG: u64 = 1 << 1;
/// Flags on entry to a handler.
pub const ENTRY_FLAGS: u64 = INTERRUPT_FLAG | FIXED_FLAG;

/// Delivers trap `number` to the guest kernel, or ends the domain if it cannot take it. What happens all the time does not
/// get here, see [`crate::arch::x86_64::deliver`].
#[inline(never)]
pub fn deliver(frame: &mut Frame, number: u64, error: u64) {
    /// Bytes below its top that count as being on the double-fault stack, which is then full.
    const STACK_BYTES: u64 = 4096;
    let vcpu = current_vcpu();
    // Of the access, if there was one, for those who look for the cause: `int 14` is none.
    let is_access = frame.vector == vector::PAGE_FAULT;
    let address = || if is_access { cpu().fault_address.get() } else { 0 };
    let crash = |message| lifecycle::crash(domain(), message, address());
    let TrapGate { entry, flags } = gate(vcpu, number);
    if entry == 0 {
        crash(cause(number));
    }
    trace!(Trap, number | error << 32, address());
    if push(0, entry, error, if mutant!(TrapsDoNotMask) { 0 } else { flags }, frame) {
        return;
    }
    // The kernel's stack cannot be written: the double-fault stack is the last resort.
    let stack = vcpu.double_fault_stack.get();
    let is_on_it = vcpu.mode.get() == Mode::Kernel && stack.wrapping_sub(frame.rsp) <= STACK_BYTES;
    let entry = if stack == 0 || is_on_it { 0 } else { gate(vcpu, vector::DOUBLE_FAULT).entry };
    if entry == 0 {
        crash("fault while delivering a fault");
    }
    trace!(Trap, vector::DOUBLE_FAULT, address());
    if !push(stack, entry, 0, TrapGate::MASK_EVENTS, frame) {
        crash("double-fault stack not accessible");
    }
}

/// A trap that nobody handles, as the dump names it.
fn cause(number: u64) -> &'static str {
    match number {
        0 => "divide error",
        1 => "debug exception",
        vector::BREAKPOINT => "breakpoint",
        vector::INVALID_OPCODE => "invalid opcode",
        vector::DOUBLE_FAULT => "double fault",
        12 => "stack fault",
        vector::GENERAL_PROTECTION => "general protection fault",
        vector::PAGE_FAULT => "page fault",
        _ => "trap without a handler",
    }
}

/// The gate of `number`, copied once from the guest's table. Entry and flags 0: not registered, empty or malformed.
#[inline(never)]
fn gate(vcpu: &Vcpu, number: u64) -> TrapGate {
    const NONE: TrapGate = TrapGate { entry: 0, flags: 0 };
    let gate = vcpu.trap_table.get().gate(number).unwrap_or(NONE);
    let level = gate.flags & 3;
    let is_known = (level == 0 || level == TrapGate::USER) && gate.flags & !(3 | TrapGate::MASK_EVENTS) == 0;
    if gate.entry != 0 && is_known && cpu::is_canonical(gate.entry) { gate } else { NONE }
}

/// The vector of the two-byte `int n` at `rip`. From the instruction and not from the error code: emulators
/// disagree about the latter, and codes that guests see are computed.
pub fn software_vector(rip: u64) -> Option<u64> {
    const INT: u8 = 0xcd;
    if guest::load_byte(rip) != Ok(INT) {
        return None;
    }
    guest::load_byte(rip.wrapping_add(1)).ok().map(u64::from)
}

/// `int n` and its short forms: allowed when the guest's gate is open to the virtual mode, else #GP.
/// `length`: bytes of the instruction, if the hardware left `rip` at its start.
#[inline]
pub fn software_interrupt(vcpu: &Vcpu, frame: &mut Frame, number: u64, length: u64) {
    let is_open = vcpu.mode.get() == Mode::Kernel
        || mutant!(GatesAreOpen)
        || gate(vcpu, number).flags & 3 == TrapGate::USER;
    if is_open {
        frame.rip = frame.rip.wrapping_add(length);
        deliver(frame, number, 0);
    } else {
        if length == 0 {
            // The hardware took the one-byte form as a trap; a refused one faults at its start.
            frame.rip = frame.rip.wrapping_sub(1);
        }
        deliver(frame, vector::GENERAL_PROTECTION, number << 3 | 2);
    }
}

/// Delivers the event upcall. The caller has checked that an entry is registered and events are accepted.
pub fn deliver_event(vcpu: &Vcpu, frame: &mut Frame) {
    trace!(Upcall);
    let flags = if mutant!(UpcallsDoNotMask) { 0 } else { TrapGate::MASK_EVENTS };
    if !push(0, vcpu.event_entry.get(), 0, flags, frame) {
        // The stack is bad; the guest learns it as a double fault.
        deliver(frame, vector::DOUBLE_FAULT, 0);
    }
}

/// Enters the guest kernel at `entry`, with its frame on `stack`; 0: the registered one from user mode, the interrupted one
/// from kernel mode. False: it is not accessible, and nothing changes.
#[inline(never)]
fn push(stack: u64, entry: u64, error: u64, flags: u64, frame: &mut Frame) -> bool {
    let (mode, area) = (current_vcpu().mode.get(), current_vcpu().area_or_none());
    let stack = if mutant!(StackOfProgram) && mode == Mode::User { frame.rsp } else { stack };
    let user_gs = if mutant!(GsBaseLost) { area.user_gs_base() } else { 0 };
    let hides_mask = mutant!(FrameHidesMask) && !area.events_enabled();
    if hides_mask {
        area.set_events_enabled(true);
    }
    if guest::push_trap(stack, entry, error, flags, frame).is_err() {
        return false;
    }
    if hides_mask {
        area.set_events_enabled(false);
    }
    if mutant!(GsBaseLost) {
        area.set_user_gs_base(user_gs);
    }
    start_at(frame, entry);
    true
}

/// Sets `frame` so that leaving, by `sysret`, starts at `entry` with clean flags.
fn start_at(frame: &mut Frame, entry: u64) {
    let flags = ENTRY_FLAGS | if mutant!(AlignmentCheckKept) { frame.rflags & 1 << 18 } else { 0 };
    frame.rip = entry;
    frame.rcx = entry;
    frame.rflags = flags;
    frame.r11 = flags;
}

/// A system call of a guest program: into the kernel's entry, nothing pushed.
pub fn deliver_system_call(vcpu: &Vcpu, frame: &mut Frame) {
    let entry = vcpu.system_call_entry.get();
    let Some(area) = vcpu.area.get().filter(|_| entry != 0) else {
        // `syscall` without EFER.SCE is an invalid opcode (Intel SDM volume 2, SYSCALL).
        const SYSCALL_BYTES: u64 = 2;
        frame.rip = frame.rip.wrapping_sub(SYSCALL_BYTES);
        deliver(frame, vector::INVALID_OPCODE, 0);
        return;
    };
    let user_gs = if mutant!(GsBaseLost) { area.user_gs_base() } else { 0 };
    guest::leave_program(frame);
    if mutant!(GsBaseLost) {
        area.set_user_gs_base(user_gs);
    }
    if mutant!(SystemCallsDoNotMask) {
        area.set_events_enabled(true);
    }
    frame.rsp = area.kernel_stack();
    start_at(frame, entry);
}

/// CPU.iret: leaves to the frame at `rsp`. What it says is checked; a bad one is a #GP at the call.
pub fn iret(vcpu: &Vcpu, frame: &mut Frame) {
    let Ok(from) = guest::load_virtual::<IretFrame>(frame.rsp) else {
        lifecycle::crash(domain(), "iret from a stack that is not accessible", frame.rsp);
    };
    let privilege = from.cs & 3;
    let is_known = privilege == 0
        || (mutant!(IretTakesAnyLevel) && privilege != 3)
        || (privilege == 3 && vcpu.area.get().is_some());
    if (!cpu::is_canonical(from.rip) && !mutant!(IretTakesAnyRip)) || !is_known {
        deliver(frame, vector::GENERAL_PROTECTION, 0);
        return;
    }
    frame.rax = from.rax;
    frame.rcx = from.rcx;
    frame.r11 = from.r11;
    frame.rip = from.rip;
    frame.rsp = from.rsp;
    frame.rflags = from.rflags & GUEST_FLAGS | ENTRY_FLAGS;
    let Some(area) = vcpu.area.get() else { return };
    if privilege == 3 {
        vcpu.mode.set(Mode::User);
        cpu::set_guest_gs(area.user_gs_base());
        area.set_events_enabled(true);
    } else if !mutant!(IretKeepsMask) {
        area.set_events_enabled(from.rflags & INTERRUPT_FLAG != 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// IOPL, NT, VM, VIF and VIP: never a guest's (Intel SDM volume 1, 3.4.3).
    const FORBIDDEN: u64 = 3 << 12 | 1 << 14 | 1 << 17 | 1 << 19 | 1 << 20;

    #[test]
    fn guests_cannot_set_flags_that_are_not_theirs() {
        assert_eq!(GUEST_FLAGS & FORBIDDEN, 0);
        assert_eq!(GUEST_FLAGS & INTERRUPT_FLAG, 0, "the true one is always set");
        assert_eq!(GUEST_FLAGS & !0x3f_ffff, 0, "no reserved bit");
    }

    #[test]
    fn handlers_start_with_clean_flags_at_an_entry_that_sysret_can_reach() {
        let mut frame = Frame { rflags: u64::MAX, rip: 5, rcx: 6, r11: 7, ..Frame::default() };
        start_at(&mut frame, 0x40_0000);
        assert_eq!((frame.rip, frame.rcx), (0x40_0000, 0x40_0000));
        assert_eq!((frame.rflags, frame.r11), (0x202, 0x202));
    }
}
