//! Ways to break the kernel on purpose, for `crash` and for tests of who reports what.

use crate::memory::kernel_space;
use core::arch::asm;

/// An address that is not canonical: using it is a general-protection fault in every ring.
const NOT_CANONICAL: u64 = 0x8000_dead_0000_0000;

/// Reads address 0.
pub(crate) fn read_null() {
    // SAFETY: none: this is meant to fault, and the kernel stops there.
    unsafe { asm!("mov al, [{0}]", in(reg) 0_u64, out("al") _) };
}

/// Executes an instruction that no CPU defines.
pub(crate) fn undefined_instruction() {
    // SAFETY: as in `read_null`.
    unsafe { asm!("ud2") };
}

/// Executes `cli`, which only ring 0 may; where that worked, uses an address that no ring may.
pub(crate) fn general_protection() {
    // SAFETY: as in `read_null`.
    unsafe { asm!("cli", "mov al, [{0}]", in(reg) NOT_CANONICAL, out("al") _) };
}

/// Jumps to an address where nothing is mapped.
pub(crate) fn wild_jump() {
    // SAFETY: as in `read_null`.
    unsafe { asm!("jmp {0}", in(reg) 0x1234_5000_u64) };
}

/// Uses the stack until its guard page is hit: the fault finds no stack to be reported on.
pub(crate) fn overflow_stack() {
    // SAFETY: as in `read_null`; nothing but this thread's stack lies above its guard page.
    unsafe { asm!("2: push rax", "jmp 2b", options(noreturn)) };
}

/// Faults with a stack pointer that leads nowhere.
pub(crate) fn fault_without_stack() {
    // SAFETY: as in `read_null`.
    unsafe { asm!("mov rsp, {0}", "ud2", in(reg) kernel_space::unmapped_address().0, options(noreturn)) };
}
