//! Behaviour: what entries from user mode do to the vCPU area, gates that programs may use, system calls without an
//! entry, and common slots.
//! Reason: kernels save a program's state from the area, and open gates for it one by one.
//! Method: programs as in `user`, and a look at the area; registrations are put back afterwards.

use crate::harness::Needs::Abi;
use crate::harness::abi::{NOT_CANONICAL, call, register_again};
use crate::harness::faults::{GENERAL_PROTECTION, INVALID_OPCODE, PAGE_FAULT, PRESENT, USER, WRITE};
use crate::harness::tables::{self, DATA, flags, load, map, marked_frame};
use crate::harness::user::{DONE, Program, program};
use crate::harness::{Report, Test, world};
use core::sync::atomic::Ordering;
use pvops_abi::addr::PhysAddr;
use pvops_abi::call::{Cpu, Mmu};
use pvops_abi::layout::TrapFrame;
use pvops_abi::ops::mmu::{Level, PageFlags, Retain, mmu};
use pvops_abi::ops::{cpu, irq};

pub(super) const TESTS: &[Test] = &[
    Test { name: "user_abi.area", requirement_ids: &["CPU-003", "CPU-014"], needs: Abi, run: area },
    Test { name: "user_abi.no_entry", requirement_ids: &["CPU-014"], needs: Abi, run: no_entry },
    Test { name: "user_abi.bad_base", requirement_ids: &["CPU-003"], needs: Abi, run: bad_base },
    Test { name: "user_abi.gates", requirement_ids: &["CPU-012", "CPU-006"], needs: Abi, run: gates },
    Test { name: "user_abi.common_slot", requirement_ids: &["MMU-017"], needs: Abi, run: common_slot },
    Test {
        name: "user_abi.hypercall_page",
        requirement_ids: &["CALL-007", "SEC-002"],
        needs: Abi,
        run: hypercall_page,
    },
    Test { name: "user_abi.enabled", requirement_ids: &["CPU-017"], needs: Abi, run: enabled },
];

fn area(report: &mut Report) {
    let program = Program::new();
    let area = &world::BLOCK.area;
    let kernel_gs = area.kernel_gs_base.load(Ordering::Relaxed);
    cpu::set_user_bases(0, 0x1234_5000);
    let state = TrapFrame { rflags: 0x203, ..program.state() };
    let trap = program.run_from(program!("syscall"), &state);
    report.equal("vector", trap.vector, TrapFrame::SYSTEM_CALL);
    report.equal("user_rsp", area.user_rsp.load(Ordering::Relaxed), state.rsp);
    report.equal("user_rip", area.user_rip.load(Ordering::Relaxed), state.rip + 2);
    report.equal("user_rflags", area.user_rflags.load(Ordering::Relaxed), 0x203);
    report.equal("user_gs_base", area.user_gs_base.load(Ordering::Relaxed), 0x1234_5000);
    report.equal("kernel_gs_base", area.kernel_gs_base.load(Ordering::Relaxed), kernel_gs);
    let now: u64;
    // SAFETY: reads the GS base; the ABI promises the instruction.
    unsafe { core::arch::asm!("rdgsbase {0}", out(reg) now, options(nomem, nostack)) };
    report.equal("the kernel's GS base", now, kernel_gs);
    cpu::set_user_bases(0, 0);
}

fn no_entry(report: &mut Report) {
    let program = Program::new();
    // The event entry alone; a call by the stub still is one.
    report.accepted("no entries", call(Cpu::SetEntries.id(), &[0, 0]));
    let trap = program.run(program!("syscall"), 0);
    register_again();
    report.equal("vector and error code", (trap.vector, trap.error_code), (INVALID_OPCODE, 0));
    report.equal("rip is the instruction's", trap.rip, program.code.0);
}

/// A base in the area that is not canonical counts as 0.
fn bad_base(report: &mut Report) {
    let program = Program::new();
    for base in NOT_CANONICAL {
        world::BLOCK.area.user_gs_base.store(base, Ordering::Relaxed);
        let trap = program.run(program!("rdgsbase rax"), 0);
        report.equal("the program's GS base", (trap.vector, trap.rax), (DONE, 0));
    }
}

/// `int n` of a program: only gates open to it, any other is #GP at the instruction.
fn gates(report: &mut Report) {
    let program = Program::new();
    for (vector, code, is_open) in [
        (3, program!("int3"), true),
        (4, program!("int 4"), true),
        (0, program!(".byte 0xcd, 0"), false),
        (14, program!(".byte 0xcd, 14"), false),
        (0x20, program!(".byte 0xcd, 0x20"), false),
        (0x80, program!(".byte 0xcd, 0x80"), false),
        (0xff, program!(".byte 0xcd, 0xff"), false),
    ] {
        let trap = program.run(code, 0);
        let start = program.code.0;
        let length = if vector == 3 { 1 } else { 2 };
        let wanted =
            if is_open { (vector, 0, start + length) } else { (GENERAL_PROTECTION, vector << 3 | 2, start) };
        report.equal("vector, error, rip", (trap.vector, trap.error_code, trap.rip), wanted);
    }
}

/// User mode is kept out of a common slot, and leaves no marks there.
fn common_slot(report: &mut Report) {
    const MARKS: PageFlags = PageFlags::ACCESSED.union(PageFlags::DIRTY);
    let program = Program::new();
    let address = tables::common_window();
    let slot = map(program.root, address, marked_frame(1), DATA | PageFlags::USER);
    let place = world::frame();
    let index = address.table_index(Level::Pml4 as u8) as u64;
    world::word(PhysAddr(place.0 + index / 64 * 8)).store(1 << (index % 64), Ordering::Relaxed);
    report.accepted("one common slot", call(Mmu::SetCommonSlots.id(), &[place.0]));
    for (code, access) in [(program!("mov rax, [rdi]"), 0), (program!("mov [rdi], rax"), WRITE)] {
        let trap = program.run(code, address.0);
        let wanted = (PAGE_FAULT, PRESENT | USER | access, address.0);
        report.equal("a program's access", (trap.vector, trap.error_code, trap.fault_address), wanted);
    }
    report.equal("marks", flags(slot) & MARKS, PageFlags::empty());
    let unmapped = tables::page(address, 1).0;
    let trap = program.run(program!("mov rax, [rdi]"), unmapped);
    report.equal("where nothing is mapped", (trap.vector, trap.error_code), (PAGE_FAULT, USER));
    report.check(mmu().set_common_slots(&[0; 8]).is_ok(), "no common slots");
    load(program.root, Retain::Drop);
    let trap = program.run(program!("mov rax, [rdi]"), address.0);
    report.equal("when the slot is ordinary again", (trap.vector, trap.rax), (DONE, 1));
}

/// The stubs are code like any other: mapped for a program, they make system calls of its kernel's.
fn hypercall_page(report: &mut Report) {
    let program = Program::new();
    let info = world::hypervisor();
    let address = tables::page(program.code, 20);
    map(program.root, address, PhysAddr(info.hypercall_page_phys), PageFlags::PRESENT | PageFlags::USER);
    // BASE.VERSION, SCHED.SHUTDOWN, CPU.IRET.
    for rax in [0x1_0000, 0x7_0002, 0x2_0004] {
        for stub in [0, 64] {
            let state = TrapFrame { rax, rip: address.0 + stub, ..program.state() };
            let trap = crate::harness::user::run(&state);
            report.equal("the stub's syscall", trap.vector, TrapFrame::SYSTEM_CALL);
        }
    }
}

/// In user mode the flag is set, whatever the frame says, and the entry clears it.
fn enabled(report: &mut Report) {
    let program = Program::new();
    for rflags in [2, 0x202] {
        let state = TrapFrame { rflags, ..program.state() };
        let trap = program.run_from(program!("syscall"), &state);
        report.check(trap.interrupts_enabled(), "the frame shows events enabled");
        report.check(!irq::are_enabled(), "and the kernel's are masked");
    }
}
