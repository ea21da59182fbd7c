//! Entry stubs: 256 vectors and `syscall`, converging on [`TrapFrame`], and the way back.
//!
//! Each stub pushes the error code (0 where the CPU pushes none), `r11`, `rcx` and `rax`, and carries its number
//! in `eax`; the common part pushes the rest. `swapgs` is done exactly when user mode was interrupted. The three
//! vectors with stacks of their own can come between any two instructions, those around `swapgs` included;
//! they take GS from above their stack and put back what they found. `clac` is jumped over on CPUs without
//! SMAP. `lfence` behind each `swapgs` decision: a mispredicted one must not be used to load from GS.
//!
//! The way back is `iretq`, or `sysretq` when the frame is a system call's that nobody changed beyond what
//! `sysretq` restores. Frames are made harmless before (see [`super::dispatch`]): neither faults.

use core::arch::{asm, global_asm};
use core::mem::{offset_of, size_of};

use pvops_abi::layout::frame::TrapFrame;
use x86::msr::{IA32_CSTAR, IA32_FMASK, IA32_GS_BASE, IA32_LSTAR, IA32_STAR, IA32_SYSENTER_CS, wrmsr};

use super::dispatch::{dispatch, make_harmless};
use super::features::HAS_SMAP;
use super::segments::SELECTORS;
use super::{KERNEL_STACK, USER_RSP};

/// Bytes between two vectors' stubs.
const STUB_BYTES: usize = 16;
/// RFLAGS that `syscall` clears: AC, NT, IOPL, DF, IF, TF (and RF by itself).
const SYSTEM_CALL_MASK: u64 = 1 << 18 | 1 << 14 | 3 << 12 | 1 << 10 | 1 << 9 | 1 << 8;
/// RFLAGS that `sysretq` must not restore: RF, which it clears, and TF, whose trap would come too early.
const NO_SYSRET_FLAGS: u32 = 1 << 16 | 1 << 8;

global_asm!(
    ".pushsection .text.pvops_native_entry, \"ax\", @progbits",
    ".globl pvops_native_stubs, pvops_native_leave",
    ".globl pvops_native_system_call, pvops_native_no_system_call",
    ".hidden pvops_native_stubs, pvops_native_leave",
    ".hidden pvops_native_system_call, pvops_native_no_system_call",
    // Pushes what `eax` and the stack below `rax` do not hold yet, for all stubs alike.
    ".macro PVOPS_SAVE",
    "push 0",
    "push 0",
    "push rax",
    "push rdi", "push rsi", "push rdx", "push r8", "push r9", "push r10",
    "push rbx", "push rbp", "push r12", "push r13", "push r14", "push r15",
    ".endm",
    ".macro PVOPS_RESTORE",
    "pop r15", "pop r14", "pop r13", "pop r12", "pop rbp", "pop rbx",
    "pop r10", "pop r9", "pop r8", "pop rdx", "pop rsi", "pop rdi",
    "add rsp, 24",
    "pop rax", "pop rcx", "pop r11",
    ".endm",
    ".macro PVOPS_CLAC",
    "cmp byte ptr [rip + {has_smap}], 0",
    "je 99f",
    "clac",
    "99:",
    ".endm",

    // The vectors: 8, 10 to 14, 17, 21, 29 and 30 push an error code; 2, 8 and 18 have stacks of their own.
    ".balign 16",
    "pvops_native_stubs:",
    ".set vector, 0",
    ".rept 256",
    ".balign 16",
    ".if !(vector == 8 || (vector >= 10 && vector <= 14) || vector == 17 || vector == 21 || vector == 29 || vector == 30)",
    "push 0",
    ".endif",
    "push r11",
    "push rcx",
    "push rax",
    // `mov eax, vector`, spelled out: the assembler would take the symbol for an address.
    ".byte 0xb8",
    ".long vector",
    ".if vector == 2 || vector == 8 || vector == 18",
    "jmp pvops_native_enter_on_own_stack",
    ".else",
    "jmp pvops_native_enter",
    ".endif",
    ".set vector, vector + 1",
    ".endr",

    ".balign 16",
    "pvops_native_enter:",
    "cld",
    "PVOPS_CLAC",
    "test byte ptr [rsp + {cs} - {rax}], 3",
    "jz 2f",
    "swapgs",
    "2:",
    "lfence",
    "PVOPS_SAVE",
    "cmp eax, 14",
    "jne 3f",
    "mov rax, cr2",
    "mov [rsp + {fault_address}], rax",
    "3:",
    "xor ebp, ebp",
    "mov rdi, rsp",
    "call {dispatch}",

    // Interrupts are masked and `rsp` is at a frame that was made harmless.
    "pvops_native_leave:",
    "test byte ptr [rsp + {cs}], 3",
    "jnz 4f",
    "PVOPS_RESTORE",
    "add rsp, 8",
    "iretq",
    "4:",
    "mov rcx, [rsp + {rcx}]",
    "cmp rcx, [rsp + {rip}]",
    "jne 5f",
    "mov r11, [rsp + {r11}]",
    "cmp r11, [rsp + {rflags}]",
    "jne 5f",
    "test r11d, {no_sysret_flags}",
    "jnz 5f",
    "shr rcx, 47",
    "jnz 5f",
    "PVOPS_RESTORE",
    "mov rsp, [rsp + {rsp_offset} - {error_code}]",
    "swapgs",
    "sysretq",
    "5:",
    "PVOPS_RESTORE",
    "add rsp, 8",
    "swapgs",
    "iretq",

    // Between these two jumps the frame is complete and GS is as it was: it may be either side's.
    ".balign 16",
    "pvops_native_enter_on_own_stack:",
    "cld",
    "PVOPS_CLAC",
    "PVOPS_SAVE",
    "mov ecx, {gs_base}",
    "rdmsr",
    "mov r12d, eax",
    "mov r13d, edx",
    "mov rax, [rsp + {frame_bytes}]",
    "mov rdx, rax",
    "shr rdx, 32",
    "wrmsr",
    "lfence",
    "xor ebp, ebp",
    "mov rdi, rsp",
    "call {dispatch}",
    "mov ecx, {gs_base}",
    "mov eax, r12d",
    "mov edx, r13d",
    "wrmsr",
    "PVOPS_RESTORE",
    "add rsp, 8",
    "iretq",

    ".balign 16",
    "pvops_native_system_call:",
    "swapgs",
    "mov gs:[{user_rsp}], rsp",
    "mov rsp, gs:[{kernel_stack}]",
    "push {user_ss}",
    "push qword ptr gs:[{user_rsp}]",
    "push r11",
    "push {user_cs}",
    "push rcx",
    "push 0",
    "push r11",
    "push rcx",
    "push rax",
    "mov eax, {system_call}",
    "PVOPS_SAVE",
    "xor ebp, ebp",
    "mov rdi, rsp",
    "call {dispatch}",
    "jmp pvops_native_leave",

    // CSTAR: 32-bit code does not exist here, but the register must lead somewhere harmless.
    ".balign 16",
    "pvops_native_no_system_call:",
    "mov eax, -38",
    "sysret",
    ".popsection",
    has_smap = sym HAS_SMAP,
    dispatch = sym dispatch,
    rax = const offset_of!(TrapFrame, rax),
    rcx = const offset_of!(TrapFrame, rcx),
    r11 = const offset_of!(TrapFrame, r11),
    error_code = const offset_of!(TrapFrame, error_code),
    rip = const offset_of!(TrapFrame, rip),
    cs = const offset_of!(TrapFrame, cs),
    rflags = const offset_of!(TrapFrame, rflags),
    rsp_offset = const offset_of!(TrapFrame, rsp),
    fault_address = const offset_of!(TrapFrame, fault_address),
    frame_bytes = const size_of::<TrapFrame>(),
    no_sysret_flags = const NO_SYSRET_FLAGS,
    gs_base = const IA32_GS_BASE,
    user_rsp = const USER_RSP,
    kernel_stack = const KERNEL_STACK,
    user_cs = const SELECTORS.user_cs,
    user_ss = const SELECTORS.user_ss,
    system_call = const TrapFrame::SYSTEM_CALL,
);

unsafe extern "C" {
    static pvops_native_stubs: [u8; 256 * STUB_BYTES];
    static pvops_native_leave: u8;
    static pvops_native_system_call: u8;
    static pvops_native_no_system_call: u8;
}

/// Address of the stub of `vector`.
pub(super) fn stub(vector: u8) -> usize {
    (&raw const pvops_native_stubs) as usize + usize::from(vector) * STUB_BYTES
}

/// Sets the entry of `syscall` on the calling CPU.
pub(super) fn enable_system_calls() {
    // Kernel selectors from the first, user selectors from the second + 8 and + 16.
    let selectors = u64::from(SELECTORS.kernel_cs) << 32 | u64::from(SELECTORS.kernel_ss | 3) << 48;
    // SAFETY: every x86_64 CPU has these MSRs; the entries are stubs of this file and GS holds the CPU's block.
    unsafe {
        wrmsr(IA32_STAR, selectors);
        wrmsr(IA32_LSTAR, (&raw const pvops_native_system_call) as u64);
        wrmsr(IA32_CSTAR, (&raw const pvops_native_no_system_call) as u64);
        wrmsr(IA32_FMASK, SYSTEM_CALL_MASK);
        wrmsr(IA32_SYSENTER_CS, 0);
    }
}

/// Leaves to `frame`.
///
/// # Safety
/// `frame` lies on the current stack, nothing above it but itself is needed, and its state is sound to continue.
pub(super) unsafe fn leave_to(frame: *mut TrapFrame) -> ! {
    crate::irq::mask();
    // SAFETY: the caller owns the frame.
    make_harmless(unsafe { &mut *frame });
    // SAFETY: `rsp` at a harmless frame is what the label expects; the caller gave up the stack below it.
    unsafe {
        asm!(
            "mov rsp, {frame}",
            "jmp {leave}",
            frame = in(reg) frame,
            leave = sym pvops_native_leave,
            options(noreturn),
        )
    }
}
