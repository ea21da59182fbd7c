//! `syscall`: calls of a guest kernel, system calls of its programs, and the way back by `CPU.IRET`.
//!
//! The three that happen all the time are served here and in [`crate::front::fast`] without storing every register.
//! An event that became pending meanwhile is delivered by [`super::deliver`]. Whatever is not usual goes the long way: the
//! whole [`Frame`] is stored, and [`super::trap::from_guest`] begins anew from the state at the `syscall`. So the short
//! ways may give up at any point before they change anything.
//!
//! On entry `rcx` and `r11` hold `rip` and `rflags`, which the guest has lost to the instruction, and are free once
//! stored; `rsp` is the guest's until the frame's place is loaded. FMASK has cleared IF, DF, AC, TF and NT. Nothing
//! that can fault runs on the guest's stack pointer: NMIs and machine checks have stacks of their own.
//!
//! The frame's `cs` and `ss` are never stored here: since the first guest was entered, ring 3's stand there, and there
//! are no others that a guest could have.

use super::frame::{Frame, LEAVING_VECTOR, SYSTEM_CALL_VECTOR};
use super::percpu::{self, PerCpu};
use crate::domain::vcpu::{LAST_CALLS, LastCalls, MadeCall, ShortWays, Vcpu};
use crate::front::{fast, frames};
use crate::mmu::shadow::LoadedRoot;
use core::arch::global_asm;
use core::mem::offset_of;
use pvops_abi::call::Cpu;
use pvops_abi::error::Error;
use pvops_abi::layout::{IretFrame, VcpuArea};

unsafe extern "C" {
    /// The target of `syscall`.
    pub fn pvops_system_call_entry();
    /// The target of `syscall` from compatibility mode, which no guest can be in.
    pub fn pvops_compatibility_entry();
    /// In the table of [`fast`]: the call needs the whole frame. Never called but through that table.
    pub fn pvops_long_call(first: u64, second: u64, third: u64, fourth: u64) -> fast::Reply;
    /// Bounds of the part of `CPU.IRET` that reads the guest's stack.
    pub fn pvops_iret_read_start();
    /// See [`pvops_iret_read_start`].
    pub fn pvops_iret_read_end();
    /// Where a fault in that part goes on: the long way.
    pub fn pvops_iret_long();
}

/// Makes a call of the table, which is not [`pvops_long_call`].
#[must_use]
pub fn make(call: fast::Call, [first, second, third, fourth]: [u64; 4]) -> fast::Reply {
    // SAFETY: the functions of the table are safe ones; `fast::call` sorts out the one that is not.
    unsafe { call(first, second, third, fourth) }
}

/// The calls' ids that have a place in the table of [`fast`]: extension below 8, function below 16.
const ID_MASK: i32 = !0x7_000f;
/// Bytes of a remembered call.
const CALL_BYTES: u64 = size_of::<MadeCall>() as u64;
const _: () = assert!(size_of::<MadeCall>() == 16 && offset_of!(MadeCall, id) == 0);
const _: () = assert!(offset_of!(MadeCall, first_argument) == 8 && LAST_CALLS.is_power_of_two());

macro_rules! store_arguments {
    () => {
        "mov [rsp + {rdi}], rdi
         mov [rsp + {rsi}], rsi
         mov [rsp + {r8}], r8
         mov [rsp + {r9}], r9
         mov [rsp + {r10}], r10"
    };
}

global_asm!(
    ".pushsection .text.pvops_entry, \"ax\"",
    ".balign 16",
    ".globl pvops_system_call_entry",
    "pvops_system_call_entry:",
    trace_point!(enter),
    "mov [rip + __ehdr_start + {f_rsp}], rsp",
    "mov [rip + __ehdr_start + {f_rip}], rcx",
    "mov [rip + __ehdr_start + {f_rflags}], r11",
    "mov rcx, [rip + __ehdr_start + {vcpu}]",
    "cmp byte ptr [rcx + {mode}], 0",
    "jne 20f",
    "cmp rax, {iret}",
    "je 50f",
    // --- A call. The registers that a Rust function keeps stay where they are.
    "lea rsp, [rip + __ehdr_start + {f}]",
    store_arguments!(),
    "mov [rsp + {rax}], rax",
    "mov r11d, [rcx + {newest}]",
    "mov [rcx + r11 + {calls}], rax",
    "mov [rcx + r11 + {calls} + 8], rdi",
    "add r11d, {call_bytes}",
    "and r11d, {call_mask}",
    "mov [rcx + {newest}], r11d",
    "test rax, {id_mask}",
    "jnz 40f",
    ".if {all_long}", // What mutants do to registers is on the long way.
    "jmp 62f",
    ".endif",
    "imul eax, eax, {to_place}", // Extension and function, apart in `eax`, side by side at its top.
    "shr eax, 25",
    "lea r11, [rip + pvops_call_table]",
    "movzx eax, byte ptr [r11 + rax]",
    "movsxd rax, dword ptr [r11 + rax * 4 + {places}]",
    "add rax, r11",
    "mov rcx, r10",
    "call rax",
    // --- Back to the caller, if nothing happened meanwhile. Debuggers know this place by its name.
    ".globl pvops_fast_return",
    "pvops_fast_return:",
    "31:",
    "cmp byte ptr [rip + __ehdr_start + {reschedule}], 0",
    "jne 30f",
    "mov r9, [rip + __ehdr_start + {vcpu}]",
    "mov r10, [r9 + {area}]",
    "cmp byte ptr [r10 + {pending}], 0",
    "jne 33f",
    "32:",
    "mov rcx, [rsp + {rip}]",
    "cmp rcx, [rip + 39f]",
    "je 30f",
    "mov r11, [rsp + {rflags}]",
    "test r11d, 0x10100", // RF, TF
    "jnz 30f",
    ".globl pvops_return",
    "pvops_return:",
    "mov rdi, [rsp + {rdi}]",
    "mov rsi, [rsp + {rsi}]",
    "mov r8, [rsp + {r8}]",
    "mov r9, [rsp + {r9}]",
    "mov r10, [rsp + {r10}]",
    "mov rsp, [rsp + {rsp}]",
    trace_point!(leave),
    "sysretq",
    // --- An event is pending. If the caller, a kernel, accepts it: as if it came at the return.
    "33:",
    "mov rsi, [r9 + {event_entry}]",
    "test rsi, rsi",
    "jz 30f",
    "cmp byte ptr [r10 + {enabled}], 0",
    "je 32b",
    "call 63f",
    "jmp pvops_deliver_event",
    // --- Something is to be seen to before the guest goes on.
    "30:",
    "mov r11d, {leaving}",
    "jmp 61f",
    "40:",
    "mov rax, {not_supported}",
    "xor edx, edx",
    "jmp 31b",
    // The one address behind a `syscall` that is not canonical: the lower half's end.
    ".balign 8",
    "39:",
    ".quad 0x800000000000",
    // --- A system call of a program: into its kernel.
    "20:",
    "cmp qword ptr [rcx + {fast_entry}], 0",
    "je 29f",
    "lea rsp, [rip + __ehdr_start + {f}]",
    "call pvops_leave_program_of",
    "mov rcx, [rip + __ehdr_start + {vcpu}]",
    "mov rcx, [rcx + {fast_entry}]",
    "mov rsp, [r11 + {kernel_stack}]",
    "mov r11d, {entry_flags}",
    trace_point!(leave),
    "sysretq",
    "29:",
    "lea rsp, [rip + __ehdr_start + {f}]",
    store_arguments!(),
    "jmp 60f",
    // --- The long way: as if every register had been stored at the entry.
    ".globl pvops_long_call",
    "pvops_long_call:",
    "add rsp, 8",
    "62:",
    "mov rax, [rsp + {rax}]",
    "60:",
    "mov r11d, {system_call}",
    "61:",
    "mov [rsp + {vector}], r11",
    "call 63f",
    "jmp pvops_long",
    // What the instruction and the short ways leave out of the frame above the return address, but for the registers that a
    // function keeps.
    "63:",
    "mov rcx, [rsp + 8 + {rip}]",
    "mov [rsp + 8 + {rcx}], rcx",
    "mov rcx, [rsp + 8 + {rflags}]",
    "mov [rsp + 8 + {r11}], rcx",
    "mov [rsp + 8 + {rax}], rax",
    "mov [rsp + 8 + {rdx}], rdx",
    "ret",
    // --- CPU.IRET: everything is read first, which may fault, then checked; only then does anything change.
    "50:",
    "mov r11, rsp",
    "lea rsp, [rip + __ehdr_start + {f}]",
    "mov [rsp + {rdi}], rdi",
    "mov [rsp + {rdx}], rdx",
    "mov rdi, r11",
    "sar rdi, 43",
    "cmp rdi, -16", // The hypervisor's slots.
    "je pvops_iret_long",
    "test r11b, 7", // A misaligned stack is for the long way to refuse.
    "jnz pvops_iret_long",
    "push {access_flags}", // AC: the stack is a user page to the processor.
    "popfq",
    ".globl pvops_iret_read_start",
    "pvops_iret_read_start:",
    "mov rax, [r11 + {i_rsp}]",
    "mov [rsp + {r12}], rax",
    "mov rax, [r11 + {i_rcx}]",
    "mov [rsp + {r13}], rax",
    "mov rax, [r11 + {i_r11}]",
    "mov [rsp + {r14}], rax",
    "mov rax, [r11 + {i_rax}]",
    "mov [rsp + {r15}], rax",
    "mov rdi, [r11 + {i_rflags}]",
    "mov rax, [r11 + {i_rip}]",
    "mov rdx, [r11 + {i_cs}]",
    ".globl pvops_iret_read_end",
    "pvops_iret_read_end:",
    "mov r11, rax",
    "sar r11, 47",
    "inc r11",
    "cmp r11, 1", // `rip` is canonical.
    "ja pvops_iret_long",
    "cmp qword ptr [rcx + {fast_entry}], 0",
    "je pvops_iret_long",
    "mov r11, [rcx + {area}]",
    "and edx, 3",
    "jz 55f",
    "cmp edx, 3",
    "jne pvops_iret_long",
    "cmp byte ptr [r11 + {pending}], 0",
    "jne pvops_iret_long",
    // To a program.
    "and edi, {guest_flags}",
    "or edi, {entry_flags}",
    "mov byte ptr [rcx + {mode}], 1",
    "mov byte ptr [r11 + {enabled}], 1",
    "mov rdx, [r11 + {user_gs}]",
    "shl rdx, 16",
    "sar rdx, 16",
    "cmp rdx, [r11 + {user_gs}]",
    "je 51f",
    "xor edx, edx",
    "51:",
    "wrgsbase rdx",
    "mov rdx, [rcx + {user_view}]",
    "mov [rip + __ehdr_start + {root}], rdx",
    "mov cr3, rdx",
    "cmp rax, [rsp + {r13}]",
    "jne 57f",
    "cmp rdi, [rsp + {r14}]",
    "jne 57f",
    "test edi, 0x10100",
    "jnz 57f",
    "mov rcx, rax",
    "mov r11, rdi",
    "mov rax, [rsp + {r15}]",
    "mov rdi, [rsp + {rdi}]",
    "mov rdx, [rsp + {rdx}]",
    "mov rsp, [rsp + {r12}]",
    trace_point!(leave),
    "sysretq",
    // To the kernel itself.
    "55:",
    "bt edi, 9", // IF
    "jnc 56f",
    "cmp byte ptr [r11 + {pending}], 0",
    "jne pvops_iret_long",
    "inc edx",
    "56:",
    "mov [r11 + {enabled}], dl",
    "and edi, {guest_flags}",
    "or edi, {entry_flags}",
    "57:",
    "mov [rsp + {rip}], rax",
    "mov [rsp + {rflags}], rdi",
    "mov rcx, [rsp + {r13}]",
    "mov r11, [rsp + {r14}]",
    "mov rax, [rsp + {r15}]",
    "mov rdx, [rsp + {r12}]",
    "mov [rsp + {rsp}], rdx",
    "mov rdi, [rsp + {rdi}]",
    "mov rdx, [rsp + {rdx}]",
    "add rsp, {rip}",
    trace_point!(leave),
    "iretq",
    ".globl pvops_iret_long",
    "pvops_iret_long:",
    "push 2", // AC off again.
    "popfq",
    "mov rdi, [rsp + {rdi}]",
    "mov rdx, [rsp + {rdx}]",
    "mov eax, {iret}",
    "jmp 29b",
    ".globl pvops_compatibility_entry",
    "pvops_compatibility_entry:",
    "xor edx, edx",
    "sysretq",
    ".popsection",
    f = const percpu::frame_field(0),
    f_rsp = const percpu::frame_field(offset_of!(Frame, rsp)),
    f_rip = const percpu::frame_field(offset_of!(Frame, rip)),
    f_rflags = const percpu::frame_field(offset_of!(Frame, rflags)),
    rax = const offset_of!(Frame, rax),
    rcx = const offset_of!(Frame, rcx),
    rdx = const offset_of!(Frame, rdx),
    rdi = const offset_of!(Frame, rdi),
    rsi = const offset_of!(Frame, rsi),
    rsp = const offset_of!(Frame, rsp),
    r8 = const offset_of!(Frame, r8),
    r9 = const offset_of!(Frame, r9),
    r10 = const offset_of!(Frame, r10),
    r11 = const offset_of!(Frame, r11),
    r12 = const offset_of!(Frame, r12),
    r13 = const offset_of!(Frame, r13),
    r14 = const offset_of!(Frame, r14),
    r15 = const offset_of!(Frame, r15),
    rip = const offset_of!(Frame, rip),
    rflags = const offset_of!(Frame, rflags),
    vector = const offset_of!(Frame, vector),
    i_rax = const offset_of!(IretFrame, rax),
    i_rcx = const offset_of!(IretFrame, rcx),
    i_r11 = const offset_of!(IretFrame, r11),
    i_rip = const offset_of!(IretFrame, rip),
    i_cs = const offset_of!(IretFrame, cs),
    i_rflags = const offset_of!(IretFrame, rflags),
    i_rsp = const offset_of!(IretFrame, rsp),
    vcpu = const percpu::field(offset_of!(PerCpu, vcpu_address)),
    root = const percpu::field(offset_of!(PerCpu, root)),
    reschedule = const percpu::field(offset_of!(PerCpu, reschedule)),
    mode = const offset_of!(Vcpu, mode),
    area = const offset_of!(Vcpu, area_address),
    fast_entry = const offset_of!(Vcpu, short_ways) + offset_of!(ShortWays, system_call_entry),
    event_entry = const offset_of!(Vcpu, short_ways) + offset_of!(ShortWays, event_entry),
    user_view = const offset_of!(Vcpu, root) + offset_of!(LoadedRoot, user),
    newest = const offset_of!(Vcpu, last_calls) + offset_of!(LastCalls, newest),
    calls = const offset_of!(Vcpu, last_calls) + offset_of!(LastCalls, calls),
    call_bytes = const CALL_BYTES,
    call_mask = const (LAST_CALLS as u64 - 1) * CALL_BYTES,
    enabled = const offset_of!(VcpuArea, events_enabled),
    pending = const offset_of!(VcpuArea, events_pending),
    kernel_stack = const offset_of!(VcpuArea, kernel_stack),
    user_gs = const offset_of!(VcpuArea, user_gs_base),
    iret = const Cpu::Iret.id().0,
    id_mask = const ID_MASK,
    all_long = const cfg!(feature = "mutants") as u8,
    not_supported = const Error::NotSupported.to_status(),
    guest_flags = const frames::GUEST_FLAGS,
    entry_flags = const frames::ENTRY_FLAGS,
    access_flags = const 1 << 18 | 2,
    system_call = const SYSTEM_CALL_VECTOR,
    to_place = const 1 << 13 | 1 << 25,
    places = const fast::PLACES,
    leaving = const LEAVING_VECTOR,
);
