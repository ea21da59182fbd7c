//! `CPU.iret` with odd frames: the call that takes registers from memory wholesale.

use crate::harness::attempt::{self, BOTH, DONE, Mode, code};
use crate::harness::{check, check_trap, tables, world};

pub(super) fn run() {
    instruction_pointers();
    selectors();
    stacks();
}

/// Not canonical: #GP at the call, in kernel mode. The hypervisor's: a fetch that faults. User pages: refused.
fn instruction_pointers() {
    let reserved = world::start_info().reserved_ranges[0];
    let page = world::start_info().hypercall_page_virt;
    for mode in BOTH {
        for rip in [0x8000_0000_0000, 0x8000_0000_0001, 0xffff_7fff_ffff_ffff, 1 << 63, u64::MAX >> 1] {
            let mut state = attempt::state(mode);
            state.rip = rip;
            let trap = attempt::run(&state);
            check_trap(&trap, 13, 0, format_args!("iret to {rip:#x} in {mode:?} mode"));
            check(
                !trap.is_user() && trap.rip & !0xfff == page,
                format_args!("the fault is at the call: {:#x}", trap.rip),
            );
        }
        let user = if mode == Mode::User { 4 } else { 0 };
        for offset in [0, 0x1000, 1 << 30, 2 << 30, 1 << 39, 3 << 39, (16 << 39) - 1] {
            let mut state = attempt::state(mode);
            state.rip = reserved.start + offset;
            let trap = attempt::run(&state);
            check_trap(&trap, 14, 0x10 | user, format_args!("iret to {:#x} in {mode:?} mode", state.rip));
            check(trap.fault_address == state.rip, format_args!("where: {:#x}", trap.fault_address));
        }
        let mut state = attempt::state(mode);
        state.rip = tables::WINDOW;
        check_trap(&attempt::run(&state), 14, 0x10 | user, format_args!("iret to nothing in {mode:?} mode"));
    }
    let mut state = attempt::bytes(Mode::User, &[]);
    state.cs = attempt::state(Mode::Kernel).cs;
    check_trap(&attempt::run(&state), 14, 0x11, format_args!("the kernel cannot execute user pages"));
    let mut state = attempt::bytes(Mode::Kernel, &[]);
    state.cs = attempt::state(Mode::User).cs;
    check_trap(&attempt::run(&state), 14, 0x15, format_args!("a program cannot execute kernel pages"));
}

/// Only the two low bits of `cs` count, and ring 0 does not come of any.
fn selectors() {
    let read = code!("mov eax, cs", "mov ecx, ss");
    for selector in (0..0x40).chain([0xffff, 1 << 16, 0xffff_ffff_ffff_fff8, u64::MAX]) {
        for mode in BOTH {
            let privilege = selector & 3;
            let fits = privilege == if mode == Mode::User { 3 } else { 0 };
            if !fits && privilege % 3 == 0 {
                continue;
            }
            let mut state = attempt::snippet(mode, read);
            state.cs = selector;
            state.ss = selector ^ 0x8008;
            let trap = attempt::run(&state);
            if fits {
                check_trap(&trap, DONE, 0, format_args!("iret with cs {selector:#x}"));
                check(
                    trap.rax & 3 == 3 && trap.rcx & 3 == 3,
                    format_args!("the ring: {:#x} {:#x}", trap.rax, trap.rcx),
                );
            } else {
                check_trap(&trap, 13, 0, format_args!("iret with cs {selector:#x}"));
            }
        }
    }
}

/// Any stack pointer is taken over as it is.
fn stacks() {
    let code = code!("mov rax, rsp", "lea rsp, [rdi + 0x800]");
    for rsp in super::entries::bad_stack_pointers().into_iter().chain([0, 1, u64::MAX]) {
        for mode in BOTH {
            let mut state = attempt::snippet(mode, code);
            state.rsp = rsp;
            let trap = attempt::run(&state);
            check(
                trap.vector == DONE && trap.rax == rsp,
                format_args!("iret to rsp {rsp:#x} in {mode:?} mode"),
            );
        }
    }
}
