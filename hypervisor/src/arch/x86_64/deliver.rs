//! Delivery: into the guest kernel's handler of a trap or an event.
//!
//! The short ways of [`super::entry`] and [`super::system_call`] end here. Everything is read and checked first; then the
//! [`DeliveredFrame`] is stored, which may fault; only then does the guest's state change. So up to the last store
//! the delivery may give up, and the long way (`pvops_long`) begins anew with what [`Frame::vector`] names.
//!
//! At each entry here, `rsp` is at the frame at the top of this CPU's stack, which holds the registers that a Rust function
//! may change; the others are still the guest's, and AC and DF are clear. That is also what `pvops_long` wants.
//!
//! What the guest claims: gates stand in its memory and are read once, and the copy is checked; stacks are any numbers.
//! The frame is stored from its lowest word upwards: if that one is outside the hypervisor's slots, either all is, or
//! it is below them, where no address is canonical. The processor takes the stores for a guest kernel's, which is ring
//! 3 to it, so AC is set for them; a fault among them is [`super::trap::from_hypervisor`]'s, which loads the
//! translation for the long way, and ends the short one. CR2 is its address then.
//!
//! The kernel's view is loaded whenever a guest's kernel runs, and never when a program does.

use super::frame::{EVENT_VECTOR, Frame};
use super::percpu::{self, PerCpu};
use super::registered::TrapTable;
use super::segments::selector;
use crate::domain::vcpu::{ShortWays, Vcpu};
use crate::front::frames::{ENTRY_FLAGS, GUEST_FLAGS, SELECTORS};
use crate::front::vector;
use crate::mmu::shadow::LoadedRoot;
use core::arch::global_asm;
use core::mem::offset_of;
use pvops_abi::layout::VcpuArea;
use pvops_abi::layout::frame::{DeliveredFrame, TrapGate};

unsafe extern "C" {
    /// Bounds of the instructions that access guest memory by the guest's addresses.
    pub fn pvops_guest_access_start();
    /// See [`pvops_guest_access_start`].
    pub fn pvops_guest_access_end();
    /// Where a fault among them goes on, if it is not served: for a function, it returns 0.
    pub fn pvops_guest_access_failed();
    /// Copies `words` quadwords; 1 on success, 0 when guest memory was not accessible.
    pub fn pvops_guest_copy(to: *mut u64, from: *const u64, words: usize) -> u64;
    /// For the long way: delivers to `entry`, but for the registers with which a handler starts. `stack`: where to, if not
    /// where the kernel expects it; else 0. `flags`: a gate's. `frame` is this CPU's. 1 on success, 0 when the stack was
    /// not accessible and nothing happened.
    pub fn pvops_push_trap(stack: u64, entry: u64, error: u64, flags: u64, frame: *mut Frame) -> u64;
    /// For the long way: out of a program by a system call, but for the registers with which the handler starts.
    pub fn pvops_leave_program(frame: *const Frame);
}

global_asm!(
    ".pushsection .text.pvops_entry, \"ax\"",
    // --- An exception whose error code is 0.
    ".globl pvops_deliver_exception",
    "pvops_deliver_exception:",
    trace_point!(exception),
    "xor edx, edx",
    "mov r9, [rip + __ehdr_start + {vcpu}]",
    "mov r10, [r9 + {area}]",
    "mov eax, [rsp + {vector}]",
    "cmp rax, [r9 + {gates}]",
    "jae 9f",
    "shl eax, 4",
    "add rax, [r9 + {trap_table}]",
    "mov rsi, [rax + {g_entry}]",
    "mov rcx, [rax + {g_flags}]",
    "jmp 2f",
    // --- An event, to the entry `rsi`, which is registered.
    ".globl pvops_deliver_event",
    "pvops_deliver_event:",
    "xor edx, edx",
    "mov ecx, {mask_events}",
    "mov qword ptr [rsp + {vector}], {event}",
    "jmp pvops_deliver",
    // A short jump away from all of these.
    "9:",
    "jmp pvops_long",
    // --- A page fault that the guest is to see: `eax` is its error code.
    ".globl pvops_deliver_page_fault",
    "pvops_deliver_page_fault:",
    "mov edx, eax",
    "mov r9, [rip + __ehdr_start + {vcpu}]",
    "cmp qword ptr [r9 + {gates}], {page_fault}",
    "jbe 9b",
    "mov rax, [rip + __ehdr_start + {cpu_fault_address}]",
    "mov r10, [r9 + {area}]",
    "mov [r10 + {fault_address}], rax",
    "mov rax, [r9 + {trap_table}]",
    "mov rsi, [rax + {page_fault} * {gate_bytes} + {g_entry}]",
    "mov rcx, [rax + {page_fault} * {gate_bytes} + {g_flags}]",
    // An event may be due behind the trap.
    "2:",
    "cmp byte ptr [r10 + {pending}], 0",
    "jne 9b",
    // The gate: a copy, which is checked.
    "cmp rcx, 7",
    "ja 9b",
    "test cl, 3", // Level 0 or 3: an even number of bits.
    "jnp 9b",
    "mov rax, rsi",
    "shl rax, 16",
    "jz 9b", // None.
    "sar rax, 16",
    "cmp rax, rsi", // Canonical, or `sysret` would fault.
    "jne 9b",
    // --- To the entry `rsi`: `r9` the vCPU, `r10` its area, `ecx` the flags of a gate, `edx` the error code.
    "pvops_deliver:",
    "call 10f",
    "call 20f",
    trace_point!(delivered),
    "mov rcx, rsi",
    "mov r11d, {entry_flags}", // AC goes.
    "mov rax, [rsp + {rax}]",
    "mov rdx, [rsp + {rdx}]",
    "jmp pvops_return",
    // --- What the guest is to see: `eax` its flags, `r11` its `cs`; and `rdi` the stack.
    "10:",
    "mov eax, [rip + __ehdr_start + {f_rflags}]",
    "and eax, {visible_flags}",
    "cmp byte ptr [r9 + {mode}], 0",
    "je 13f",
    // A program's: on the kernel's stack, in the kernel's view.
    "mov rdi, [r10 + {kernel_stack}]",
    "mov r11d, {user_cs}",
    "mov r8, [r9 + {kernel_view}]",
    "mov [rip + __ehdr_start + {root}], r8",
    "mov cr3, r8",
    "11:",
    "or ah, 2", // IF, the virtual one.
    "12:",
    "ret",
    "13:",
    "mov rdi, [rip + __ehdr_start + {f_rsp}]",
    "mov r11d, {kernel_cs}",
    "cmp byte ptr [r10 + {enabled}], 0",
    "jne 11b",
    "ret",
    // --- What accesses guest memory, with AC on. Not `stac`: it exists only with SMAP.
    "15:",
    "push {access_flags}",
    "popfq",
    ".globl pvops_guest_access_start",
    "pvops_guest_access_start:",
    "rep movsq",
    "ret",
    // All that to the stack `rdi`, and the state changes with it. `r8` is lost.
    "20:",
    "sub rdi, {delivered_bytes}",
    "and rdi, -16",
    "mov r8, rdi",
    "sar r8, 43",
    "cmp r8, -16", // The hypervisor's slots.
    "je pvops_guest_access_failed",
    "push {access_flags}",
    "popfq",
    "mov r8, [rip + __ehdr_start + {f_rcx}]",
    "mov [rdi + {d_rcx}], r8",
    "mov r8, [rip + __ehdr_start + {f_r11}]",
    "mov [rdi + {d_r11}], r8",
    "mov [rdi + {d_error}], rdx",
    "mov r8, [rip + __ehdr_start + {f_rip}]",
    "mov [rdi + {d_rip}], r8",
    "mov [rdi + {d_cs}], r11",
    "mov [rdi + {d_rflags}], rax",
    "mov r8, [rip + __ehdr_start + {f_rsp}]",
    "mov [rdi + {d_rsp}], r8",
    "add r11d, {cs_to_ss}",
    "mov [rdi + {d_ss}], r11",
    ".globl pvops_guest_access_end",
    "pvops_guest_access_end:",
    // Nothing can fail from here on.
    "mov [rip + __ehdr_start + {f_rsp}], rdi",
    "test cl, {mask_events}",
    "jz 21f",
    "mov byte ptr [r10 + {enabled}], 0",
    "21:",
    "test r11b, 3",
    "jz 12b",
    "mov rcx, r9",
    "mov r11, r10",
    "jmp 30f",
    // --- A system call of a program: the vCPU is `rcx`. What it leaves is in the area, which is `r11` then; `rcx` is lost.
    ".globl pvops_leave_program",
    "pvops_leave_program:",
    "mov rcx, [rip + __ehdr_start + {vcpu}]",
    ".globl pvops_leave_program_of",
    "pvops_leave_program_of:",
    "mov r11, [rcx + {kernel_view}]",
    "mov [rip + __ehdr_start + {root}], r11",
    "mov cr3, r11",
    "mov r11, [rcx + {area}]",
    "push [rip + __ehdr_start + {f_rsp}]",
    "pop [r11 + {user_rsp}]",
    "push [rip + __ehdr_start + {f_rip}]",
    "pop [r11 + {user_rip}]",
    "push [rip + __ehdr_start + {f_rflags}]",
    "and dword ptr [rsp], {guest_flags}",
    "or dword ptr [rsp], {entry_flags}",
    "pop [r11 + {user_rflags}]",
    "mov byte ptr [r11 + {enabled}], 0",
    // Out of the program, to the kernel's mode and GS base.
    "30:",
    "mov byte ptr [rcx + {mode}], 0",
    "rdgsbase rcx",
    "mov [r11 + {user_gs}], rcx",
    "mov rcx, [r11 + {kernel_gs}]",
    "shl rcx, 16", // Always canonical, so that it cannot fault.
    "sar rcx, 16",
    "cmp rcx, [r11 + {kernel_gs}]",
    "je 31f",
    "xor ecx, ecx", // One that was not counts as 0 (CPU-003).
    "31:",
    "wrgsbase rcx",
    "ret",
    // --- Functions.
    ".globl pvops_guest_copy",
    "pvops_guest_copy:",
    "mov rcx, rdx",
    "call 15b",
    "40:",
    "push 2",
    "popfq",
    "mov eax, 1",
    "ret",
    ".globl pvops_push_trap",
    "pvops_push_trap:",
    "push rdi",
    "mov r9, [rip + __ehdr_start + {vcpu}]",
    "mov r10, [r9 + {area}]",
    "call 10b",
    "pop r8",
    "test r8, r8",
    "jz 41f",
    "mov rdi, r8",
    "41:",
    "call 20b",
    "jmp 40b",
    ".globl pvops_guest_access_failed",
    "pvops_guest_access_failed:",
    "add rsp, 8", // Not back to the call above: to the function's caller, or nobody's.
    "push 2",
    "popfq",
    "lea rax, [rip + __ehdr_start + {f}]",
    "cmp rsp, rax", // Functions have a stack below.
    "je pvops_long",
    "xor eax, eax",
    "ret",
    ".popsection",
    vcpu = const percpu::field(offset_of!(PerCpu, vcpu_address)),
    root = const percpu::field(offset_of!(PerCpu, root)),
    cpu_fault_address = const percpu::field(offset_of!(PerCpu, fault_address)),
    f = const percpu::frame_field(0),
    f_rcx = const percpu::frame_field(offset_of!(Frame, rcx)),
    f_r11 = const percpu::frame_field(offset_of!(Frame, r11)),
    f_rip = const percpu::frame_field(offset_of!(Frame, rip)),
    f_rflags = const percpu::frame_field(offset_of!(Frame, rflags)),
    f_rsp = const percpu::frame_field(offset_of!(Frame, rsp)),
    rax = const offset_of!(Frame, rax),
    rdx = const offset_of!(Frame, rdx),
    vector = const offset_of!(Frame, vector),
    mode = const offset_of!(Vcpu, mode),
    area = const offset_of!(Vcpu, area_address),
    kernel_view = const offset_of!(Vcpu, root) + offset_of!(LoadedRoot, kernel),
    trap_table = const offset_of!(Vcpu, short_ways) + offset_of!(ShortWays, trap_table) + TrapTable::BASE,
    gates = const offset_of!(Vcpu, short_ways) + offset_of!(ShortWays, trap_table) + TrapTable::COUNT,
    gate_bytes = const size_of::<TrapGate>(),
    g_entry = const offset_of!(TrapGate, entry),
    g_flags = const offset_of!(TrapGate, flags),
    mask_events = const TrapGate::MASK_EVENTS,
    page_fault = const vector::PAGE_FAULT,
    event = const EVENT_VECTOR,
    enabled = const offset_of!(VcpuArea, events_enabled),
    pending = const offset_of!(VcpuArea, events_pending),
    kernel_stack = const offset_of!(VcpuArea, kernel_stack),
    kernel_gs = const offset_of!(VcpuArea, kernel_gs_base),
    user_gs = const offset_of!(VcpuArea, user_gs_base),
    user_rsp = const offset_of!(VcpuArea, user_rsp),
    user_rip = const offset_of!(VcpuArea, user_rip),
    user_rflags = const offset_of!(VcpuArea, user_rflags),
    fault_address = const offset_of!(VcpuArea, fault_address),
    delivered_bytes = const size_of::<DeliveredFrame>(),
    d_rcx = const offset_of!(DeliveredFrame, rcx),
    d_r11 = const offset_of!(DeliveredFrame, r11),
    d_error = const offset_of!(DeliveredFrame, error_code),
    d_rip = const offset_of!(DeliveredFrame, rip),
    d_cs = const offset_of!(DeliveredFrame, cs),
    d_rflags = const offset_of!(DeliveredFrame, rflags),
    d_rsp = const offset_of!(DeliveredFrame, rsp),
    d_ss = const offset_of!(DeliveredFrame, ss),
    kernel_cs = const SELECTORS.kernel_cs,
    user_cs = const SELECTORS.user_cs,
    cs_to_ss = const selector::USER_DATA as i16 - selector::USER_CODE as i16,
    visible_flags = const GUEST_FLAGS | 2,
    guest_flags = const GUEST_FLAGS,
    entry_flags = const ENTRY_FLAGS,
    access_flags = const 1 << 18 | 2,
);

const _: () = assert!(size_of::<TrapGate>() == 1 << 4);
// The word that is stored first is the lowest.
const _: () = assert!(offset_of!(DeliveredFrame, rcx) == 0);
