//! Every way into and out of the hypervisor but `syscall`'s, which is in [`super::system_call`], on one screen.
//!
//! Per-CPU data stands at a constant address within 2 GiB of the image, so entry code finds it by `rip`-relative
//! loads: there is no `swapgs`, hence none to be speculated over, and the guest's GS base stays where it is. All
//! entries store a [`Frame`] at the top of this CPU's stack, clear AC and DF, and call one Rust function; interrupts
//! are off from entry to exit.

use super::frame::Frame;
use super::layout::{CPU_OFFSET, cpu_pages};
use core::arch::global_asm;
use core::mem::offset_of;
use pvops_abi::layout::frame::DeliveredFrame;

/// Vectors that exist.
pub const VECTORS: usize = 256;
/// Vectors with a stub: the exceptions, and the hypervisor's interrupts (32 of each). The others have no gate.
pub const STUBS: usize = 64;
/// Vector of the first stub that is not an exception's.
pub const FIRST_INTERRUPT: usize = 0xe0;
/// Bytes from one stub to the next.
pub const STUB_BYTES: u64 = 16;

unsafe extern "C" {
    /// [`STUBS`] stubs, [`STUB_BYTES`] apart.
    pub fn pvops_vector_stubs();
    /// Leaves to the guest state in the frame at the top of this CPU's stack.
    pub fn pvops_leave() -> !;
    /// Bounds of the routines that touch guest memory by the guest's addresses; a fault inside returns 0.
    pub fn pvops_guest_copy_start();
    /// See [`pvops_guest_copy_start`].
    pub fn pvops_guest_copy_end();
    /// Where a failed copy goes on.
    pub fn pvops_guest_copy_failed();
    /// Stores a [`pvops_abi::layout::frame::DeliveredFrame`] at guest-virtual `top`: 1 on success, 0 when that was not
    /// accessible. Part of the range above.
    pub fn pvops_push_trap(top: u64, frame: *const Frame, error: u64, rflags: u64, cs: u64, ss: u64) -> u64;
    /// Copies `words` quadwords; 1 on success, 0 when guest memory was not accessible.
    pub fn pvops_guest_copy(to: *mut u64, from: *const u64, words: usize) -> u64;
}

macro_rules! push_registers {
    () => {
        "push rdi; push rsi; push rdx; push rcx; push rax; push r8; push r9; push r10
         push r11; push rbx; push rbp; push r12; push r13; push r14; push r15"
    };
}

macro_rules! pop_registers {
    () => {
        "pop r15; pop r14; pop r13; pop r12; pop rbp; pop rbx; pop r11
         pop r10; pop r9; pop r8; pop rax; pop rcx; pop rdx; pop rsi; pop rdi"
    };
}

global_asm!(
    ".pushsection .text.pvops_entry, \"ax\"",
    // --- Vectors. Those without an error code push 0 (Intel SDM volume 3, 6.15).
    ".balign 16",
    ".globl pvops_vector_stubs",
    "pvops_vector_stubs:",
    ".set vector, 0",
    ".rept {stubs}",
    ".balign 16",
    ".if !(vector == 8 || (vector >= 10 && vector <= 14) || vector == 17 || vector == 21)",
    "push 0",
    ".endif",
    "push vector",
    // These have stacks of their own, so that they may interrupt the entry code itself.
    ".if vector == 2 || vector == 8 || vector == 18",
    "jmp 5f",
    ".else",
    "jmp 2f",
    ".endif",
    ".set vector, vector + 1",
    ".if vector == 32",
    ".set vector, {first_interrupt}",
    ".endif",
    ".endr",
    ".balign 16",
    "2:",
    push_registers!(),
    "cld",
    "mov rdi, rsp",
    "test byte ptr [rsp + {cs}], 3",
    "jz 4f",
    // A guest could have set AC, which would switch SMAP off for us. (Not `clac`: it exists only with SMAP.)
    "pushfq",
    "and dword ptr [rsp], {not_ac}",
    "popfq",
    "call {from_guest}",
    // --- Out to the guest, by sysret where nothing would be lost by it.
    ".globl pvops_leave",
    "pvops_leave:",
    "lea rsp, [rip + __ehdr_start + {frame}]",
    "mov rcx, [rsp + {rip}]",
    "cmp rcx, [rsp + {rcx}]",
    "jne 3f",
    "mov r11, [rsp + {rflags}]",
    "cmp r11, [rsp + {r11}]",
    "jne 3f",
    "test r11d, 0x10100", // RF, TF
    "jnz 3f",
    pop_registers!(),
    "mov rsp, [rsp + 40]", // vector, error, rip, cs, rflags, then rsp
    "sysretq",
    "3:",
    pop_registers!(),
    "add rsp, 16",
    "iretq",
    "5:",
    push_registers!(),
    "cld",
    "mov rdi, rsp",
    // --- From the hypervisor itself: idle, or a fault while copying from or to a guest.
    // AC may be set, for a copy; `iretq` sets it again.
    "4:",
    "pushfq",
    "and dword ptr [rsp], {not_ac}",
    "popfq",
    "call {from_hypervisor}",
    pop_registers!(),
    "add rsp, 16",
    "iretq",
    // --- Guest memory by the guest's own addresses.
    ".balign 16",
    ".globl pvops_guest_copy",
    "pvops_guest_copy:",
    "mov rcx, rdx",
    "push {access_flags}", // AC: to the processor, guest memory is a user's. Not `stac`: it exists only with SMAP.
    "popfq",
    ".globl pvops_guest_copy_start",
    "pvops_guest_copy_start:",
    "rep movsq",
    "6:",
    "push 2",
    "popfq",
    "mov eax, 1",
    "ret",
    ".globl pvops_push_trap",
    "pvops_push_trap:",
    "push {access_flags}",
    "popfq",
    "mov rax, [rsi + {rcx}]",
    "mov [rdi + {d_rcx}], rax",
    "mov rax, [rsi + {r11}]",
    "mov [rdi + {d_r11}], rax",
    "mov rax, [rsi + {rip}]",
    "mov [rdi + {d_rip}], rax",
    "mov rax, [rsi + {rsp}]",
    "mov [rdi + {d_rsp}], rax",
    "mov [rdi + {d_error}], rdx",
    "mov [rdi + {d_rflags}], rcx",
    "mov [rdi + {d_cs}], r8",
    "mov [rdi + {d_ss}], r9",
    "jmp 6b",
    ".globl pvops_guest_copy_end",
    "pvops_guest_copy_end:",
    ".globl pvops_guest_copy_failed",
    "pvops_guest_copy_failed:",
    "push 2",
    "popfq",
    "xor eax, eax",
    "ret",
    ".popsection",
    stubs = const STUBS,
    first_interrupt = const FIRST_INTERRUPT,
    cs = const offset_of!(Frame, cs),
    rip = const offset_of!(Frame, rip),
    rcx = const offset_of!(Frame, rcx),
    r11 = const offset_of!(Frame, r11),
    rflags = const offset_of!(Frame, rflags),
    rsp = const offset_of!(Frame, rsp),
    d_rcx = const offset_of!(DeliveredFrame, rcx),
    d_r11 = const offset_of!(DeliveredFrame, r11),
    d_error = const offset_of!(DeliveredFrame, error_code),
    d_rip = const offset_of!(DeliveredFrame, rip),
    d_cs = const offset_of!(DeliveredFrame, cs),
    d_rflags = const offset_of!(DeliveredFrame, rflags),
    d_rsp = const offset_of!(DeliveredFrame, rsp),
    d_ss = const offset_of!(DeliveredFrame, ss),
    access_flags = const 1 << 18 | 2,
    frame = const CPU_OFFSET + cpu_pages::STACK_TOP - size_of::<Frame>() as u64,
    not_ac = const !(1i32 << 18),
    from_guest = sym super::trap::from_guest,
    from_hypervisor = sym super::trap::from_hypervisor,
);
