//! Privileged and sensitive instructions, each executed in kernel and in user mode.
//!
//! Both modes are ring 3, so both must get the fault that ring 3 gets; the outcome is in the table. An instruction that
//! CPUs treat differently lists all faults that it may raise.

use super::{entries, segments};
use crate::harness::attempt::{self, BOTH, DONE, Mode, code};
use crate::harness::{check, check_vector};
use pvops_abi::ops::cpu;

const GP: &[u64] = &[13];
const UD: &[u64] = &[6];
const GP_OR_UD: &[u64] = &[13, 6];
const RUNS: &[u64] = &[DONE];
/// Harmless where it exists.
const RUNS_OR_UD: &[u64] = &[DONE, 6];

macro_rules! table {
    ($($expected:ident: $($text:literal $(after $before:literal)?),* ;)*) => {
        [$($(($text, code!($($before,)? $text), $expected),)*)*]
    };
}

pub(super) fn run() {
    plain();
    model_specific_registers();
    ports();
    flags_by_popf();
    floating_point();
    // They end here because they are instructions too, but fill files of their own.
    segments::run();
    entries::software_interrupts();
}

/// What needs no operand but `rdi`, which points to data; the other registers are 0.
fn plain() {
    let table = table![
        GP: "cli", "sti", "hlt", "clts", "invd", "wbinvd", "swapgs", "sysretq",
            "rdmsr", "wrmsr", "rdpmc", "invlpg [rdi]", "lgdt [rdi]", "lidt [rdi]", "lldt ax", "ltr ax", "lmsw ax",
            "mov rax, cr0", "mov rax, cr2", "mov rax, cr3", "mov rax, cr4", "mov rax, cr8",
            "mov cr0, rax", "mov cr2, rax", "mov cr3, rax", "mov cr4, rax", "mov cr8, rax",
            "mov rax, dr0", "mov rax, dr3", "mov rax, dr6", "mov rax, dr7",
            "mov dr0, rax", "mov dr3, rax", "mov dr6, rax", "mov dr7, rax",
            "xsetbv", "xsetbv" after "mov eax, 7",
            "in al, 0x80", "out 0x80, al", "in ax, 0x80", "out 0x80, ax", "in eax, 0x80", "out 0x80, eax",
            "insb", "insw", "insd", "outsb" after "mov rsi, rdi", "outsw" after "mov rsi, rdi",
            "outsd" after "mov rsi, rdi", "rep insb" after "mov ecx, 4",
            "rep outsb" after "mov rsi, rdi; mov ecx, 4";
        UD: "ud2", ".byte 0x0f, 0xb9, 0xc0",
            ".byte 0x06", ".byte 0xd6", ".byte 0xce",
            ".byte 0xea, 0, 0, 0, 0, 8, 0", ".byte 0x9a, 0, 0, 0, 0, 8, 0",
            "monitor", "mwait", "clac", "stac", "rdpkru", "wrpkru", "vmcall", "rsm", ".byte 0x0f, 0x37";
        GP_OR_UD: "sysexit", "sysexitq", "sysenter", "vmmcall", "vmxoff", "vmrun", "vmload", "vmsave", "stgi", "clgi",
            "skinit", "invlpga", "vmptrld [rdi]", "vmclear [rdi]", "vmlaunch", "vmresume",
            "vmread rax, rax", "vmwrite rax, rax", "invpcid rax, [rdi]", "invept rax, [rdi]", "xsaves [rdi]",
            "xrstors [rdi]", ".byte 0x0f, 0x01, 0xcf", ".byte 0x0f, 0x01, 0xd7", ".byte 0x0f, 0x01, 0xc5",
            ".byte 0x0f, 0x24, 0xc0", ".byte 0x0f, 0x20, 0xc8", ".byte 0x0f, 0x22, 0xe8", "mov rax, dr4", "mov dr5, rax";
        RUNS: "rdtsc", "cpuid", "xgetbv", "pause", "nop", "lfence", "verr ax", "verw ax", "lar eax, ax",
            "lsl eax, ax", "clflush [rdi]", "rdfsbase rax", "rdgsbase rax", "fninit", "fnclex",
            "lar eax, ecx" after "mov ecx, 8", "lsl eax, ecx" after "mov ecx, 0x28",
            "verw cx" after "mov ecx, 0x10";
        RUNS_OR_UD: "rdtscp", "rdpid rax", "xend" after "xbegin 2f; 2:", "prefetchw [rdi]", "clzero",
            "clflushopt [rdi]", "clwb [rdi]", "serialize";
    ];
    for (text, code, expected) in table {
        for mode in BOTH {
            let trap = attempt::run(&attempt::snippet(mode, code));
            let ends_in_code = trap.rip.wrapping_sub(attempt::code_page(mode)) < 64;
            check_vector(&trap, expected, format_args!("{text} in {mode:?} mode"));
            check(trap.error_code == 0 && ends_in_code, format_args!("{text}: error code or rip"));
            check(trap.is_user() == (mode == Mode::User), format_args!("{text}: the mode in the frame"));
        }
    }
    // UMIP, where the CPU has it; otherwise they leak addresses of the hypervisor's tables, and no more.
    let has_umip = cpu::code_segment() != 0 && machine_has_umip();
    let expected = if has_umip { GP } else { RUNS };
    let table = [
        ("sgdt", code!("sgdt [rdi]")),
        ("sidt", code!("sidt [rdi]")),
        ("smsw", code!("smsw rax")),
        ("str", code!("str rax")),
        ("sldt", code!("sldt rax")),
    ];
    for (text, code) in table {
        for mode in BOTH {
            let trap = attempt::run(&attempt::snippet(mode, code));
            check_vector(&trap, expected, format_args!("{text} in {mode:?} mode"));
        }
    }
}

/// By the instruction: the call shows the feature as absent, because a guest has no use for it.
fn machine_has_umip() -> bool {
    core::arch::x86_64::__cpuid_count(7, 0).ecx & 1 << 2 != 0
}

fn model_specific_registers() {
    let read = code!("rdmsr");
    let write = code!("wrmsr");
    let registers = [
        0x0,
        0x10,
        0x1b,
        0x3a,
        0x48,
        0x49,
        0x79,
        0x8b,
        0xc1,
        0x10b,
        0x174,
        0x175,
        0x176,
        0x186,
        0x1a0,
        0x1d9,
        0x277,
        0x2ff,
        0x38f,
        0x480,
        0x600,
        0x6e0,
        0x800,
        0x830,
        0xd90,
        0xda0,
        0xc000_0080,
        0xc000_0081,
        0xc000_0082,
        0xc000_0083,
        0xc000_0084,
        0xc000_0100,
        0xc000_0101,
        0xc000_0102,
        0xc000_0103,
        0xc001_0114,
        0xc001_0117,
        0x4000_0000,
        0x4000_0001,
        0xffff_ffff,
        u64::MAX,
    ];
    for register in registers {
        for mode in BOTH {
            for code in [read, write] {
                let mut state = attempt::snippet(mode, code);
                state.rcx = register;
                state.rax = u64::MAX;
                state.rdx = 0x7fff;
                let trap = attempt::run(&state);
                check_vector(&trap, GP, format_args!("MSR {register:#x} in {mode:?} mode"));
            }
        }
    }
}

/// All ports that QEMU's q35 has something at, the hypervisor's own exit port included, and the last one.
fn ports() {
    let table = [
        code!("in al, dx"),
        code!("out dx, al"),
        code!("in ax, dx"),
        code!("out dx, ax"),
        code!("in eax, dx"),
        code!("out dx, eax"),
    ];
    let ports = [
        0, 0x20, 0x21, 0x40, 0x43, 0x60, 0x61, 0x64, 0x70, 0x71, 0x80, 0x92, 0xa0, 0xa1, 0xb2, 0xc0, 0xcf8,
        0xcf9, 0xcfc, 0x1ce, 0x1f0, 0x2f8, 0x3c0, 0x3d4, 0x3f8, 0x3fd, 0x402, 0xf4, 0x501, 0x510, 0x600,
        0x604, 0xb004, 0xfff8, 0xfffc, 0xfffd, 0xffff,
    ];
    for port in ports {
        for code in table {
            for mode in BOTH {
                let mut state = attempt::snippet(mode, code);
                state.rdx = port;
                let trap = attempt::run(&state);
                check_vector(&trap, GP, format_args!("port {port:#x} in {mode:?} mode"));
            }
        }
    }
}

/// Every bit by itself, and all but TF at once: what is not the guest's stays.
fn flags_by_popf() {
    const TRAP: u64 = 1 << 8;
    /// Interrupt flag, IOPL, VM, VIF, VIP.
    const KEPT: u64 = 1 << 9 | 3 << 12 | 1 << 17 | 1 << 19 | 1 << 20;
    let code = code!("push rbx", "popfq", "nop", "pushfq", "pop rax", "push 2", "popfq");
    let all = (0..64).map(|bit| 1u64 << bit).chain([!TRAP, 0, 0x3f_ffff & !TRAP]);
    for flags in all {
        for mode in BOTH {
            let mut state = attempt::snippet(mode, code);
            state.rbx = flags;
            let trap = attempt::run(&state);
            if flags == TRAP {
                check_vector(&trap, &[1], format_args!("popf of TF"));
            } else {
                check_vector(&trap, &[DONE], format_args!("popf of {flags:#x}"));
                check(trap.rax & KEPT == 1 << 9, format_args!("popf of {flags:#x}: {:#x}", trap.rax));
            }
            check(
                attempt::handler_flags() & (TRAP | KEPT | 1 << 10 | 1 << 14 | 1 << 18) == 1 << 9,
                format_args!("the handler's flags after popf of {flags:#x}: {:#x}", attempt::handler_flags()),
            );
        }
    }
}

/// Exceptions of the FPU arrive as such, and nothing arrives from a masked one.
fn floating_point() {
    let divide = code!("fninit", "push 0x340", "fldcw [rsp]", "fld1", "fldz", "fdivp", "fwait");
    let simd = code!("push 0", "ldmxcsr [rsp]", "xorps xmm0, xmm0", "divss xmm0, xmm0");
    let reserved = code!("push -1", "ldmxcsr [rsp]");
    let xrstor = code!("mov eax, -1", "mov edx, -1", "mov byte ptr [rdi + 520], -1", "xrstor [rdi]");
    for mode in BOTH {
        for (what, code, vector) in [
            ("x87 division", divide, 16),
            ("SSE division", simd, 19),
            ("MXCSR", reserved, 13),
            ("XRSTOR", xrstor, 13),
        ] {
            let trap = attempt::run(&attempt::snippet(mode, code));
            // QEMU raises no SIMD exceptions and takes any MXCSR.
            check_vector(&trap, &[vector, DONE], format_args!("{what} in {mode:?} mode"));
        }
        let clean = code!("fninit", "push 0x1f80", "ldmxcsr [rsp]");
        attempt::run(&attempt::snippet(mode, clean));
    }
}
