//! Behaviour: exceptions of kernel mode reach the kernel's handler with the right vector, error code, address and
//! flags, and resuming goes on where it must.
//! Reason: a kernel's page-fault handler, probes and debugger rest on it.
//! Method: provokes each, natively too: hardware shows what is right.

use crate::harness::Needs::{Abi, Ops};
use crate::harness::{Report, Test, faults};
use core::arch::asm;
use pvops_abi::addr::VirtAddr;
use pvops_abi::ops;

pub(super) const TESTS: &[Test] = &[
    Test {
        name: "traps.undefined_instruction",
        requirement_ids: &["CPU-004", "CPU-005", "CPU-006", "OPS-004"],
        needs: Ops,
        run: undefined_instruction,
    },
    Test {
        name: "traps.divide_error",
        requirement_ids: &["CPU-004", "CPU-006"],
        needs: Ops,
        run: divide_error,
    },
    Test { name: "traps.not_canonical", requirement_ids: &["CPU-006"], needs: Ops, run: not_canonical },
    Test { name: "traps.breakpoint", requirement_ids: &["CPU-012"], needs: Ops, run: breakpoint },
    Test {
        name: "traps.software_interrupt",
        requirement_ids: &["CPU-012"],
        needs: Abi,
        run: software_interrupt,
    },
    Test { name: "traps.flags", requirement_ids: &["CPU-004", "CPU-005", "OPS-005"], needs: Ops, run: flags },
];

fn undefined_instruction(report: &mut Report) {
    let mut rip = 0u64;
    let attempt = faults::catch(|| {
        // SAFETY: faults, and is caught; the address of the instruction is stored before.
        unsafe {
            asm!("lea {t}, [rip + 2f]", "mov [{p}], {t}", "2: ud2", t = out(reg) _, p = in(reg) &raw mut rip)
        }
    });
    if let Some(fault) = report.faults("ud2", attempt, faults::INVALID_OPCODE, 0) {
        report.equal("rip is the instruction's", fault.rip, rip);
        report.check(fault.from_kernel, "the frame says kernel mode");
    }
}

fn divide_error(report: &mut Report) {
    let attempt = faults::catch(|| {
        // SAFETY: faults, and is caught.
        unsafe { asm!("div {zero}", zero = in(reg) 0u64, inout("rax") 1u64 => _, inout("rdx") 0u64 => _) }
    });
    report.faults("a division by zero", attempt, faults::DIVIDE_ERROR, 0);
}

fn not_canonical(report: &mut Report) {
    let address = VirtAddr(0x8000_dead_0000_0000);
    report.faults("a read", faults::read(address), faults::GENERAL_PROTECTION, 0);
    report.faults("a write", faults::write(address, 0), faults::GENERAL_PROTECTION, 0);
    report.faults("a call", faults::execute(address), faults::GENERAL_PROTECTION, 0);
}

/// `int3`, and the address behind it.
fn int3() -> u64 {
    let after: u64;
    // SAFETY: the handler resumes behind it.
    unsafe { asm!("lea {0}, [rip + 2f]", "int3", "2:", out(reg) after) };
    after
}

fn breakpoint(report: &mut Report) {
    faults::take_resumed();
    let after = int3();
    let Some(trap) = faults::take_resumed() else {
        report.check(false, "int3 reaches the handler");
        return;
    };
    report.equal("vector", trap.vector, faults::BREAKPOINT);
    report.equal("error code", trap.error_code, 0);
    report.equal("rip is behind the instruction", trap.rip, after);
}

/// Functions that execute `int n`, and the address behind it, with `n`.
macro_rules! software_interrupts {
    ($($vector:literal),*) => { [ $( ($vector, || {
        let after: u64;
        // SAFETY: the handler resumes behind it. The bytes, because assemblers make `int 3` the one-byte form.
        unsafe { asm!("lea {0}, [rip + 2f]", ".byte 0xcd, {vector}", "2:", out(reg) after, vector = const $vector) };
        after
    }) ),* ] };
}

/// Kernel mode may reach every gate.
fn software_interrupt(report: &mut Report) {
    let table: [(u64, fn() -> u64); 5] = software_interrupts![3, 4, 0x20, 0x80, 0xff];
    for (vector, execute) in table {
        faults::take_resumed();
        let Some(after) = report.works("int n", faults::catch(execute)) else { continue };
        let Some(trap) = faults::take_resumed() else {
            report.check(false, "int n reaches the handler");
            continue;
        };
        report.equal("vector, error, rip", (trap.vector, trap.error_code, trap.rip), (vector, 0, after));
    }
}

fn flags(report: &mut Report) {
    for enabled in [false, true] {
        if enabled {
            ops::irq::enable()
        } else {
            ops::irq::disable()
        }
        // SAFETY: faults, and is caught.
        let fault = faults::catch(|| unsafe { asm!("ud2") }).err();
        report.check(fault.is_some_and(|f| f.interrupts_enabled == enabled), "a fault's frame has the flag");
        report.check(fault.is_some_and(|f| !f.handler_enabled), "its handler starts masked");
        report.equal("and the flag comes back", ops::irq::are_enabled(), enabled);
        int3();
        let trap = faults::take_resumed();
        report.check(trap.is_some_and(|t| t.interrupts_enabled == enabled), "a breakpoint's frame has it");
        report.check(trap.is_some_and(|t| t.handler_enabled == enabled), "its handler starts as we were");
        report.equal("and it comes back", ops::irq::are_enabled(), enabled);
    }
}
