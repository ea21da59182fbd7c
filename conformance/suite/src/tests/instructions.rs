//! Behaviour: the kernel runs deprivileged; instructions that would touch the machine trap as #GP with error
//! code 0, at the instruction; `popf` cannot change what is not the guest's.
//! Reason: this is the isolation itself. An instruction that works would reach the machine, one that is silently
//! ignored would break kernels that count on it.
//! Method: a table of instructions, each executed once and expected to fault.

use crate::harness::Needs::{Abi, Ops};
use crate::harness::{Report, Test, faults, world};
use core::arch::asm;
use pvops_abi::ops::{self, cpu};

pub(super) const TESTS: &[Test] = &[
    Test { name: "instructions.ring", requirement_ids: &[], needs: Ops, run: ring },
    Test { name: "instructions.privileged", requirement_ids: &["CPU-002"], needs: Abi, run: privileged },
    Test { name: "instructions.ports", requirement_ids: &["CPU-002"], needs: Abi, run: ports },
    Test { name: "instructions.selectors", requirement_ids: &["CPU-006"], needs: Abi, run: selectors },
    Test { name: "instructions.popf", requirement_ids: &["CPU-002"], needs: Abi, run: popf },
    Test {
        name: "instructions.harmless",
        requirement_ids: &["TIME-003", "CPU-010", "CPU-011"],
        needs: Abi,
        run: harmless,
    },
];

fn ring(report: &mut Report) {
    let ring = cpu::code_segment() & 3;
    let wanted = if world::start_info().is_some() { 3 } else { 0 };
    report.equal("ring in CS", ring, wanted);
    report.remark(format_args!("cs={:#x} ring={ring}", cpu::code_segment()));
}

/// An instruction's text, and a function that executes it and stores its address before.
type Instruction = (&'static str, fn(*mut u64));

/// Instructions with the code that executes each: what goes `after` comes first, then the address of the
/// instruction is stored.
macro_rules! instructions {
    ($($text:literal $(after $before:literal)?),* $(,)?) => { [ $( ($text, {
        fn execute(rip: *mut u64) {
            // SAFETY: the instruction has to fault, and the caller catches that. Where it works instead, the test
            // fails, and what becomes of the machine is the subject's doing.
            unsafe {
                asm!(
                    $($before,)?
                    "lea r8, [rip + 77f]", "mov [rsi], r8", "77:", $text,
                    in("rsi") rip, in("rdi") rip, inout("rcx") 0xc000_0080u64 => _, inout("rax") 0u64 => _,
                    inout("rdx") 0u64 => _, clobber_abi("C"),
                )
            }
        }
        execute as fn(*mut u64)
    }) ),* ] };
}

fn expect_all<const N: usize>(report: &mut Report, table: [Instruction; N]) {
    for (text, execute) in table {
        let mut rip = 0;
        let place = &raw mut rip;
        let attempt = faults::catch(|| execute(place));
        if let Some(fault) = report.faults(text, attempt, faults::GENERAL_PROTECTION, 0) {
            report.equal(text, fault.rip, rip);
        }
    }
}

fn privileged(report: &mut Report) {
    let table = instructions![
        "cli",
        "sti",
        "hlt",
        "clts",
        "invd",
        "wbinvd",
        "swapgs",
        "sysretq",
        "rdmsr",
        "wrmsr",
        "rdpmc",
        "mov rax, cr0",
        "mov rax, cr2",
        "mov rax, cr3",
        "mov rax, cr4",
        "mov rax, cr8",
        "mov cr0, rdi",
        "mov cr2, rdi",
        "mov cr3, rdi",
        "mov cr4, rdi",
        "mov cr8, rdi",
        "mov rax, dr7",
        "mov dr7, rdi",
        "mov dr0, rdi",
        "lgdt [rdi]",
        "lidt [rdi]",
        "lldt ax",
        "ltr ax",
        "lmsw ax",
        "invlpg [rdi]",
    ];
    expect_all(report, table);
    let has_xsave = cpu::cpuid(1, 0).ecx >> 27 & 1 != 0;
    if has_xsave {
        expect_all(report, instructions!["xsetbv" after "xor ecx, ecx; mov eax, 1"]);
    }
}

fn ports(report: &mut Report) {
    // The debug port, the PIC, the RTC, PCI configuration and COM1: none is this domain's.
    let table = instructions![
        "in al, 0x80", "out 0x80, al", "in al, 0x21", "out 0x70, al", "in eax, 0x80", "out 0x80, ax",
        "in eax, dx" after "mov edx, 0xcf8", "out dx, eax" after "mov edx, 0xcf8", "out dx, al" after "mov edx, 0x3f8",
        "in al, dx" after "mov edx, 0x3fd", "insb" after "mov edx, 0x80", "outsb" after "mov edx, 0x80",
    ];
    expect_all(report, table);
}

/// Error codes that the processor makes of selectors name tables that are not the guest's: it sees 0.
fn selectors(report: &mut Report) {
    let table = instructions![
        "mov ds, eax" after "mov eax, 0x7ff8",
        "mov es, eax" after "mov eax, 0xfffc",
        "mov fs, eax" after "mov eax, 0x1004",
        "mov gs, eax" after "mov eax, 0x8",
    ];
    expect_all(report, table);
}

fn popf(report: &mut Report) {
    const INTERRUPT: u64 = 1 << 9;
    const IOPL: u64 = 3 << 12;
    for enabled in [false, true] {
        if enabled {
            ops::irq::enable()
        } else {
            ops::irq::disable()
        }
        let (before, after): (u64, u64);
        // SAFETY: flags are put back as they were, but for those that must not change.
        unsafe {
            asm!(
                "pushfq", "pop {before}", "mov {t}, {before}", "xor {t}, {mask}", "push {t}", "popfq",
                "pushfq", "pop {after}", "push {before}", "popfq",
                before = out(reg) before, after = out(reg) after, t = out(reg) _, mask = in(reg) INTERRUPT | IOPL,
            );
        }
        report.equal("IF after popf", after & INTERRUPT, before & INTERRUPT);
        report.equal("the true IF is set", before & INTERRUPT, INTERRUPT);
        report.equal("IOPL", (before & IOPL, after & IOPL), (0, 0));
        report.equal("the event flag", ops::irq::are_enabled(), enabled);
    }
}

fn harmless(report: &mut Report) {
    let attempt = faults::catch(|| {
        // SAFETY: these only read: the counter, XCR0 (OSXSAVE is promised), CPUID, the FS base.
        unsafe {
            asm!("rdtsc", "xor ecx, ecx", "xgetbv", "push rbx", "xor eax, eax", "cpuid", "pop rbx", "rdfsbase rax",
                out("rax") _, out("rcx") _, out("rdx") _);
        }
    });
    report.works("rdtsc, xgetbv, cpuid, rdfsbase", attempt);
}
