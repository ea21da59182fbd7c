//! Traps, events and system calls on their way into the guest kernel, and `iret` on the way back.

use crate::arch::x86_64::guest::{self, NotAccessible};
use crate::arch::x86_64::registered::Area;
use crate::arch::x86_64::segments::selector;
use crate::arch::x86_64::{Frame, cpu};
use crate::domain::vcpu::{Mode, Vcpu};
use crate::domain::{Domain, lifecycle};
use crate::front::vector;
use pvops_abi::layout::frame::{DeliveredFrame, Selectors};
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
pub fn deliver(domain: &Domain, vcpu: &Vcpu, frame: &mut Frame, number: u64, error: u64, address: u64) {
    let Some(gate) = gate(vcpu, number) else { lifecycle::crash(domain, cause(number), address) };
    trace!(Trap, number | error << 32, address);
    let masks = gate.flags & TrapGate::MASK_EVENTS != 0 && !mutant!(TrapsDoNotMask);
    if enter_kernel(vcpu, frame, gate.entry, error, masks).is_err() {
        deliver_double_fault(domain, vcpu, frame, address);
    }
}

/// The kernel's stack cannot be written: the double-fault stack is the last resort.
#[cold]
#[inline(never)]
fn deliver_double_fault(domain: &Domain, vcpu: &Vcpu, frame: &mut Frame, address: u64) {
    /// Bytes below its top that count as being on the stack, which is then full.
    const STACK_BYTES: u64 = 4096;
    let stack = vcpu.double_fault_stack.get();
    let is_on_it = vcpu.mode.get() == Mode::Kernel && stack.wrapping_sub(frame.rsp) <= STACK_BYTES;
    let Some(gate) = gate(vcpu, vector::DOUBLE_FAULT).filter(|_| stack != 0 && !is_on_it) else {
        lifecycle::crash(domain, "fault while delivering a fault", address);
    };
    trace!(Trap, vector::DOUBLE_FAULT, address);
    if push(vcpu, frame, gate.entry, 0, true, stack).is_err() {
        lifecycle::crash(domain, "double-fault stack not accessible", address);
    }
}

/// What the dump says about a trap that nobody handles.
fn cause(number: u64) -> &'static str {
    match number {
        0 => "divide error, no handler",
        1 => "debug exception, no handler",
        vector::BREAKPOINT => "breakpoint, no handler",
        6 => "invalid opcode, no handler",
        vector::DOUBLE_FAULT => "double fault, no handler",
        12 => "stack fault, no handler",
        vector::GENERAL_PROTECTION => "general protection fault, no handler",
        vector::PAGE_FAULT => "page fault, no handler",
        _ => "trap, no handler",
    }
}

/// The gate of `number`, copied once from the guest's table. `None`: not registered, empty or malformed.
#[inline(never)]
fn gate(vcpu: &Vcpu, number: u64) -> Option<TrapGate> {
    let gate = vcpu.trap_table.get().gate(number)?;
    let level = gate.flags & 3;
    let is_known = (level == 0 || level == TrapGate::USER) && gate.flags & !(3 | TrapGate::MASK_EVENTS) == 0;
    (gate.entry != 0 && is_known && cpu::is_canonical(gate.entry)).then_some(gate)
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
pub fn software_interrupt(domain: &Domain, vcpu: &Vcpu, frame: &mut Frame, number: u64, length: u64) {
    let is_open = match vcpu.mode.get() {
        Mode::Kernel => true,
        Mode::User => {
            mutant!(GatesAreOpen) || gate(vcpu, number).is_some_and(|gate| gate.flags & 3 == TrapGate::USER)
        }
    };
    if is_open {
        frame.rip = frame.rip.wrapping_add(length);
        deliver(domain, vcpu, frame, number, 0, 0);
    } else {
        if length == 0 {
            // The hardware took the one-byte form as a trap; a refused one faults at its start.
            frame.rip = frame.rip.wrapping_sub(1);
        }
        deliver(domain, vcpu, frame, vector::GENERAL_PROTECTION, number << 3 | 2, 0);
    }
}

/// Delivers the event upcall. The caller has checked that an entry is registered and events are accepted.
pub fn deliver_event(domain: &Domain, vcpu: &Vcpu, frame: &mut Frame) {
    let entry = vcpu.event_entry.get();
    trace!(Upcall);
    if enter_kernel(vcpu, frame, entry, 0, !mutant!(UpcallsDoNotMask)).is_err() {
        // The stack is bad; the guest learns it as a double fault.
        deliver(domain, vcpu, frame, vector::DOUBLE_FAULT, 0, 0);
    }
}

/// Enters the guest kernel at `entry` on the right stack: the registered one from user mode, the interrupted
/// one from kernel mode.
fn enter_kernel(
    vcpu: &Vcpu,
    frame: &mut Frame,
    entry: u64,
    error: u64,
    masks: bool,
) -> Result<(), NotAccessible> {
    let stack = match vcpu.mode.get() {
        // There is no way into user mode without an area.
        Mode::User if mutant!(StackOfProgram) => frame.rsp,
        Mode::User => vcpu.area_or_none().kernel_stack(),
        Mode::Kernel => frame.rsp,
    };
    push(vcpu, frame, entry, error, masks, stack)
}

/// Pushes the frame below `stack` and sets `frame` to the handler's start. Nothing changes on failure.
#[inline(never)]
fn push(
    vcpu: &Vcpu,
    frame: &mut Frame,
    entry: u64,
    error: u64,
    masks: bool,
    stack: u64,
) -> Result<(), NotAccessible> {
    let area = vcpu.area_or_none();
    let top = (stack & !15).wrapping_sub(size_of::<DeliveredFrame>() as u64);
    let (cs, enabled) = match vcpu.mode.get() {
        Mode::User => (SELECTORS.user_cs, true),
        Mode::Kernel => (SELECTORS.kernel_cs, area.events_enabled()),
    };
    let rflags = virtual_flags(frame.rflags, enabled || mutant!(FrameHidesMask));
    let gate_flags = if masks { TrapGate::MASK_EVENTS } else { 0 };
    let user_gs = if mutant!(GsBaseLost) { area.user_gs_base() } else { 0 };
    guest::push_trap(vcpu, top, frame, guest::Pushed { error, rflags, cs, gate_flags })?;
    if mutant!(GsBaseLost) {
        area.set_user_gs_base(user_gs);
    }
    frame.rsp = top;
    start_at(frame, entry);
    Ok(())
}

/// Sets `frame` so that leaving, by `sysret`, starts at `entry` with clean flags.
fn start_at(frame: &mut Frame, entry: u64) {
    let flags = ENTRY_FLAGS | if mutant!(AlignmentCheckKept) { frame.rflags & 1 << 18 } else { 0 };
    frame.rip = entry;
    frame.rcx = entry;
    frame.rflags = flags;
    frame.r11 = flags;
    frame.cs = selector::USER_CODE.into();
    frame.ss = selector::USER_DATA.into();
}

/// The guest's flags with its virtual interrupt flag.
const fn virtual_flags(flags: u64, enabled: bool) -> u64 {
    let flags = flags & (GUEST_FLAGS | FIXED_FLAG);
    if enabled { flags | INTERRUPT_FLAG } else { flags }
}

fn exchange_gs_for_kernel(area: Area) {
    if !mutant!(GsBaseLost) {
        area.set_user_gs_base(cpu::guest_gs());
    }
    cpu::set_guest_gs(area.kernel_gs_base());
}

/// A system call of a guest program: into the kernel's entry, nothing pushed.
pub fn deliver_system_call(domain: &Domain, vcpu: &Vcpu, frame: &mut Frame) {
    let entry = vcpu.system_call_entry.get();
    let Some(area) = vcpu.area.get().filter(|_| entry != 0) else {
        // `syscall` without EFER.SCE is an invalid opcode (Intel SDM volume 2, SYSCALL).
        const SYSCALL_BYTES: u64 = 2;
        frame.rip = frame.rip.wrapping_sub(SYSCALL_BYTES);
        deliver(domain, vcpu, frame, 6, 0, 0);
        return;
    };
    area.set_user_rsp(frame.rsp);
    area.set_user_rip(frame.rip);
    area.set_user_rflags(virtual_flags(frame.rflags, true));
    exchange_gs_for_kernel(area);
    area.set_events_enabled(mutant!(SystemCallsDoNotMask));
    vcpu.mode.set(Mode::Kernel);
    frame.rsp = area.kernel_stack();
    start_at(frame, entry);
}

/// CPU.iret: leaves to the frame at `rsp`. What it says is checked; a bad one is a #GP at the call.
pub fn iret(domain: &Domain, vcpu: &Vcpu, frame: &mut Frame) {
    let Ok(from) = guest::load_virtual::<IretFrame>(frame.rsp) else {
        lifecycle::crash(domain, "iret from a stack that is not accessible", frame.rsp);
    };
    let privilege = from.cs & 3;
    let is_known = privilege == 0
        || (mutant!(IretTakesAnyLevel) && privilege != 3)
        || (privilege == 3 && vcpu.area.get().is_some());
    if (!cpu::is_canonical(from.rip) && !mutant!(IretTakesAnyRip)) || !is_known {
        deliver(domain, vcpu, frame, vector::GENERAL_PROTECTION, 0, 0);
        return;
    }
    frame.rax = from.rax;
    frame.rcx = from.rcx;
    frame.r11 = from.r11;
    frame.rip = from.rip;
    frame.rsp = from.rsp;
    frame.rflags = from.rflags & GUEST_FLAGS | ENTRY_FLAGS;
    frame.cs = selector::USER_CODE.into();
    frame.ss = selector::USER_DATA.into();
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
    fn the_interrupt_flag_that_guests_see_is_the_virtual_one() {
        for flags in [0, INTERRUPT_FLAG, u64::MAX] {
            assert_eq!(virtual_flags(flags, true) & INTERRUPT_FLAG, INTERRUPT_FLAG);
            assert_eq!(virtual_flags(flags, false) & INTERRUPT_FLAG, 0);
            assert_eq!(virtual_flags(flags, true) & FORBIDDEN, 0);
        }
    }

    #[test]
    fn handlers_start_with_clean_flags_at_an_entry_that_sysret_can_reach() {
        let mut frame = Frame { rflags: u64::MAX, rip: 5, rcx: 6, r11: 7, ..Frame::default() };
        start_at(&mut frame, 0x40_0000);
        assert_eq!((frame.rip, frame.rcx), (0x40_0000, 0x40_0000));
        assert_eq!((frame.rflags, frame.r11), (0x202, 0x202));
        assert_eq!((frame.cs & 3, frame.ss & 3), (3, 3));
    }
}
