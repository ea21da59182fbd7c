//! Entry stubs for a deprivileged guest: traps, events and system calls converge on [`TrapFrame`].
//!
//! At a trap or event `rsp` is at a [`DeliveredFrame`](crate::layout::frame::DeliveredFrame), GS is already the
//! kernel's and `rflags` is 0x202, so the stubs only save registers. At a system call the hypervisor has done
//! what the metal's stub does itself: kernel stack in `rsp`, user stack, return address and flags in the vCPU
//! area. Leaving is always
//! CPU.iret on the frame's tail.

use crate::layout::{TrapFrame, VcpuArea};
use crate::ops::cpu::{BLOCK_USER_CS, BLOCK_USER_SS, Handlers};
use core::arch::global_asm;
use core::mem::offset_of;
use spin::Once;

/// The kernel's handlers, the same on every CPU.
pub(super) static HANDLERS: Once<Handlers> = Once::new();

/// Bytes from one trap stub to the next.
pub(super) const STUB_BYTES: u64 = 32;

unsafe extern "C" {
    /// 256 trap stubs, [`STUB_BYTES`] apart.
    pub(super) fn pvops_hyper_trap_stubs();
    /// The entry for events.
    pub(super) fn pvops_hyper_event_entry();
    /// The entry for system calls.
    pub(super) fn pvops_hyper_system_call_entry();
    /// Leaves to the frame at `rdi`.
    pub(super) fn pvops_hyper_resume(frame: *const TrapFrame) -> !;
}

global_asm!(
    ".pushsection .text.pvops_hyper_entry, \"ax\"",
    ".balign 32",
    ".globl pvops_hyper_trap_stubs",
    "pvops_hyper_trap_stubs:",
    ".set vector, 0",
    ".rept 256",
    ".balign 32",
    "endbr64",
    "push rax",
    "push 0",
    "push 0",
    "push vector",
    "jmp 2f",
    ".set vector, vector + 1",
    ".endr",
    // Registers below the frame, then the handler.
    ".balign 16",
    "2:",
    "push rdi",
    "push rsi",
    "push rdx",
    "push r8",
    "push r9",
    "push r10",
    "push rbx",
    "push rbp",
    "push r12",
    "push r13",
    "push r14",
    "push r15",
    "cmp qword ptr [rsp + {vector}], 14",
    "jne 3f",
    "mov rax, gs:[{fault_address}]",
    "mov [rsp + {frame_fault_address}], rax",
    "3:",
    "mov rdi, rsp",
    "call {handle}",
    // Events stay masked from here until iret takes the flag from the frame.
    "pvops_hyper_leave:",
    "mov byte ptr gs:[{events_enabled}], 0",
    "pop r15",
    "pop r14",
    "pop r13",
    "pop r12",
    "pop rbp",
    "pop rbx",
    "pop r10",
    "pop r9",
    "pop r8",
    "pop rdx",
    "pop rsi",
    "pop rdi",
    "add rsp, 24",
    "jmp [rip + {iret}]",
    ".globl pvops_hyper_resume",
    "pvops_hyper_resume:",
    "mov rsp, rdi",
    "jmp pvops_hyper_leave",
    ".balign 16",
    ".globl pvops_hyper_event_entry",
    "pvops_hyper_event_entry:",
    "endbr64",
    "push rax",
    "push 0",
    "push 0",
    "push {event}",
    "jmp 2b",
    ".balign 16",
    ".globl pvops_hyper_system_call_entry",
    "pvops_hyper_system_call_entry:",
    "endbr64",
    "push gs:[{user_ss}]",
    "push gs:[{user_rsp}]",
    "push gs:[{user_rflags}]",
    "push gs:[{user_cs}]",
    "push gs:[{user_rip}]",
    "push 0",
    // The instruction's own semantics: r11 and rcx are lost to flags and return address. The hypervisor may
    // then return by `sysret`.
    "push gs:[{user_rflags}]",
    "push gs:[{user_rip}]",
    "push rax",
    "push 0",
    "push 0",
    "push {system_call}",
    "jmp 2b",
    ".popsection",
    vector = const offset_of!(TrapFrame, vector),
    frame_fault_address = const offset_of!(TrapFrame, fault_address),
    fault_address = const offset_of!(VcpuArea, fault_address),
    events_enabled = const offset_of!(VcpuArea, events_enabled),
    user_rsp = const offset_of!(VcpuArea, user_rsp),
    user_rip = const offset_of!(VcpuArea, user_rip),
    user_rflags = const offset_of!(VcpuArea, user_rflags),
    user_ss = const BLOCK_USER_SS,
    user_cs = const BLOCK_USER_CS,
    event = const TrapFrame::EVENT,
    system_call = const TrapFrame::SYSTEM_CALL,
    handle = sym handle,
    iret = sym super::hypercall::IRET_STUB,
);

/// All stubs lead here, with their frame.
extern "C" fn handle(frame: &mut TrapFrame) {
    let Some(handlers) = HANDLERS.get() else { return };
    match frame.vector {
        TrapFrame::EVENT => (handlers.event)(frame),
        TrapFrame::SYSTEM_CALL => (handlers.system_call)(frame),
        _ => (handlers.trap)(frame),
    }
}
