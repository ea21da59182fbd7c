//! Every way into and out of the hypervisor but `syscall`'s, which is in [`super::system_call`], on one screen.
//!
//! Per-CPU data stands at a constant address within 2 GiB of the image, so entry code finds it by `rip`-relative
//! loads: there is no `swapgs`, hence none to be speculated over, and the guest's GS base stays where it is. All
//! entries store into a [`Frame`], which is at the top of this CPU's stack when they come from a guest, clear AC and DF,
//! and interrupts are off from entry to exit.
//!
//! Exceptions that happen all the time store only what a Rust function may change. What they cannot finish goes the
//! long way: the rest is stored too, and [`super::trap::from_guest`] begins anew.

use super::apic::vector;
use super::frame::{Frame, LEAVING_VECTOR};
use super::percpu::{self, PerCpu};
use crate::domain::vcpu::{ShortWays, Vcpu};
use core::arch::global_asm;
use core::mem::offset_of;
use pvops_abi::layout::VcpuArea;

/// Vectors that exist.
pub const VECTORS: usize = 256;
/// Exceptions that a processor can raise here (Intel SDM volume 3, 6.15): each has a stub. Vectors without one have no gate.
pub const EXCEPTIONS: usize = 22;
/// Vector of the first interrupt's stub.
pub const FIRST_INTERRUPT: usize = vector::LINES as usize;
/// Interrupts that have a stub: all that are made come from here. The spurious one has another behind.
pub const INTERRUPTS: usize = vector::KICK as usize + 1 - FIRST_INTERRUPT;
/// Bytes from one stub to the next.
pub const STUB_BYTES: usize = 4;

unsafe extern "C" {
    /// [`INTERRUPTS`] stubs and the spurious interrupt's, [`STUB_BYTES`] apart.
    pub fn pvops_interrupt_stubs();
    /// [`EXCEPTIONS`] stubs.
    pub fn pvops_exception_stubs();
    /// Begins to serve this CPU's guests, on the top of its stack: as from a guest, with the frame there, all of it.
    pub fn pvops_serve() -> !;
}

/// What a Rust function may change.
macro_rules! push_scratch {
    () => {
        "push rdi; push rsi; push rdx; push rcx; push rax; push r8; push r9; push r10; push r11"
    };
}

/// What it keeps.
macro_rules! push_kept {
    () => {
        "push rbx; push rbp; push r12; push r13; push r14; push r15"
    };
}

macro_rules! pop_scratch {
    () => {
        "pop r11; pop r10; pop r9; pop r8; pop rax; pop rcx; pop rdx; pop rsi; pop rdi"
    };
}

macro_rules! pop_kept {
    () => {
        "pop r15; pop r14; pop r13; pop r12; pop rbp; pop rbx"
    };
}

/// AC and DF off. A guest could have set AC, which would switch SMAP off for us. (Not `clac`: it exists only with SMAP.)
macro_rules! clear_flags {
    () => {
        "push 2; popfq"
    };
}

global_asm!(
    ".pushsection .text.pvops_entry, \"ax\"",
    // --- Stubs push their vector, as the frame has it: a byte with its sign. It also takes the place of an error code where
    // there is none (Intel SDM volume 3, 6.15). All stands as near as short jumps go.
    ".balign {stub_bytes}",
    ".globl pvops_interrupt_stubs",
    "pvops_interrupt_stubs:",
    ".set vector, {first_interrupt} - {vectors}",
    ".rept {interrupts}",
    "push vector",
    "jmp 20f",
    ".set vector, vector + 1",
    ".endr",
    ".org pvops_interrupt_stubs + {interrupts} * {stub_bytes}",
    "push {spurious} - {vectors}",
    // Interrupts, and what may be an `int n`.
    "20:",
    "push [rsp]",
    "21:",
    "jmp 2f",
    // These have stacks of their own, so that they may interrupt the entry code itself.
    "50:",
    "push [rsp]",
    "51:",
    "jmp 5f",
    ".balign {stub_bytes}",
    ".globl pvops_exception_stubs",
    "pvops_exception_stubs:",
    ".set vector, 0",
    ".rept {exceptions}",
    "push vector",
    ".if vector == 3",
    "jmp 20b",
    ".elseif vector == 13",
    "jmp 21b",
    ".elseif vector == 2 || vector == 18",
    "jmp 50b",
    ".elseif vector == 8",
    "jmp 51b",
    ".elseif vector == 14",
    "jmp 4f",
    ".elseif (vector >= 10 && vector <= 12) || vector == 17 || vector == 21",
    "jmp 3f",
    ".else",
    "jmp 30f",
    ".endif",
    ".set vector, vector + 1",
    ".endr",
    ".org pvops_exception_stubs + {exceptions} * {stub_bytes}",
    // --- Exceptions.
    "30:",
    "push [rsp]",
    "3:",
    "test byte ptr [rsp + {cs_from_vector}], 3",
    "jz 5f",
    push_scratch!(),
    "sub rsp, {kept_bytes}",
    clear_flags!(),
    "jmp pvops_deliver_exception", // With its trace point, which would stand between stubs and page faults.
    // --- Page faults.
    ".globl pvops_page_fault", // For debuggers.
    "pvops_page_fault:",
    "4:",
    "test byte ptr [rsp + {cs_from_vector}], 3",
    "jz 5f",
    push_scratch!(),
    "sub rsp, {kept_bytes}",
    clear_flags!(),
    trace_point!(exception),
    "mov rdi, cr2",
    "mov [rip + __ehdr_start + {fault_address}], rdi",
    "mov rsi, [rsp + {error}]",
    "call {page_fault}",
    "test rax, rax",
    "jns pvops_deliver_page_fault",
    "inc rax",
    "jnz pvops_long",
    // Loaded: the guest does not see it, but for an event that is due, since its kernel may let events in by a store alone
    // (EVT-001). What happens meanwhile comes with an interrupt.
    "mov rax, [rip + __ehdr_start + {vcpu}]",
    "mov rax, [rax + {area}]",
    "cmp byte ptr [rax + {pending}], 0",
    "jne 10f",
    "add rsp, {kept_bytes}",
    trace_point!(leave),
    "jmp 8f",
    "10:",
    "mov qword ptr [rsp + {vector}], {leaving}",
    "jmp pvops_long",
    // --- The rest of the frame, and everything else that a guest may want.
    ".globl pvops_serve",
    "pvops_serve:",
    "lea rsp, [rip + __ehdr_start + {frame}]",
    "jmp 11f",
    ".globl pvops_long",
    "pvops_long:",
    "add rsp, {kept_bytes}",
    "jmp 6f",
    "2:",
    "test byte ptr [rsp + {cs_from_vector}], 3",
    "jz 5f",
    push_scratch!(),
    trace_point!(exception),
    "6:",
    push_kept!(),
    "11:",
    clear_flags!(),
    "mov rdi, rsp",
    "call {from_guest}",
    // --- Out to the guest, by sysret where nothing would be lost by it. Debuggers know this place by its name.
    ".globl pvops_leave",
    "pvops_leave:",
    "test al, al",
    "jnz 9f",
    "mov rcx, [rsp + {rip}]",
    "cmp rcx, [rsp + {rcx}]",
    "jne 7f",
    "mov r11, [rsp + {rflags}]",
    "cmp r11, [rsp + {r11}]",
    "jne 7f",
    "test r11d, 0x10100", // RF, TF
    "jnz 7f",
    pop_kept!(),
    pop_scratch!(),
    "mov rsp, [rsp + 40]", // vector, error, rip, cs, rflags, then rsp
    "sysretq",
    // With an event.
    "9:",
    pop_kept!(),
    "sub rsp, {kept_bytes}",
    "mov r9, [rip + __ehdr_start + {vcpu}]",
    "mov r10, [r9 + {area}]",
    "mov rsi, [r9 + {event_entry}]",
    "jmp pvops_deliver_event",
    // --- From the hypervisor itself: idle, or a fault while copying from or to a guest.
    // AC may be set, for a copy; `iretq` sets it again.
    "5:",
    push_scratch!(),
    push_kept!(),
    clear_flags!(),
    "mov rdi, rsp",
    "call {from_hypervisor}",
    "7:",
    pop_kept!(),
    "8:",
    pop_scratch!(),
    "add rsp, 16",
    "iretq",
    ".globl pvops_entry_end", // For debuggers.
    "pvops_entry_end:",
    ".popsection",
    exceptions = const EXCEPTIONS,
    first_interrupt = const FIRST_INTERRUPT,
    interrupts = const INTERRUPTS,
    spurious = const vector::SPURIOUS,
    vectors = const VECTORS,
    stub_bytes = const STUB_BYTES,
    cs_from_vector = const offset_of!(Frame, cs) - offset_of!(Frame, vector),
    kept_bytes = const offset_of!(Frame, r11),
    vector = const offset_of!(Frame, vector),
    error = const offset_of!(Frame, error),
    rip = const offset_of!(Frame, rip),
    rcx = const offset_of!(Frame, rcx),
    r11 = const offset_of!(Frame, r11),
    rflags = const offset_of!(Frame, rflags),
    frame = const percpu::frame_field(0),
    vcpu = const percpu::field(offset_of!(PerCpu, vcpu_address)),
    fault_address = const percpu::field(offset_of!(PerCpu, fault_address)),
    area = const offset_of!(Vcpu, area_address),
    pending = const offset_of!(VcpuArea, events_pending),
    leaving = const LEAVING_VECTOR,
    event_entry = const offset_of!(Vcpu, short_ways) + offset_of!(ShortWays, event_entry),
    page_fault = sym super::trap::page_fault,
    from_guest = sym super::trap::from_guest,
    from_hypervisor = sym super::trap::from_hypervisor,
);
