//! Behaviour: a program in user mode comes back to the kernel by every trap and system call with its whole state, and
//! reaches nothing of the kernel's.
//! Reason: this is the protection between programs and their kernel; on the bare machine the processor keeps it.
//! Method: small programs, each ended by a trap whose frame is looked at. Natively the hardware shows what is right.

use crate::harness::Needs::Ops;
use crate::harness::faults::{FETCH, GENERAL_PROTECTION, PAGE_FAULT, PRESENT, USER, WRITE};
use crate::harness::tables::{self, DATA, flags, map, marked_frame, page};
use crate::harness::user::{self, DONE, Program, program};
use crate::harness::{Report, Test, events, world};
use core::sync::atomic::Ordering;
use pvops_abi::addr::VirtAddr;
use pvops_abi::layout::TrapFrame;
use pvops_abi::ops::mmu::{Decoded, Entry, Level, PageFlags, mmu};
use pvops_abi::ops::{cpu, irq, time};

pub(super) const TESTS: &[Test] = &[
    Test {
        name: "user.round_trip",
        requirement_ids: &["CPU-004", "CPU-005", "CPU-017", "OPS-004", "OPS-005"],
        needs: Ops,
        run: round_trip,
    },
    Test {
        name: "user.system_call",
        requirement_ids: &["CPU-014", "CALL-007", "SEC-002", "OPS-004", "OPS-005", "OPS-007"],
        needs: Ops,
        run: system_call,
    },
    Test {
        name: "user.handler_flags",
        requirement_ids: &["CPU-004", "CPU-014"],
        needs: Ops,
        run: handler_flags,
    },
    Test { name: "user.bases", requirement_ids: &["CPU-003", "CPU-010"], needs: Ops, run: bases },
    Test {
        name: "user.kernel_pages",
        requirement_ids: &["CPU-001", "MMU-002", "MMU-004", "MMU-006", "SEC-002"],
        needs: Ops,
        run: kernel_pages,
    },
    Test {
        name: "user.rights",
        requirement_ids: &["CPU-001", "MMU-002", "MMU-003", "MMU-004", "MMU-011"],
        needs: Ops,
        run: rights,
    },
    Test { name: "user.marks", requirement_ids: &["MMU-008", "OPS-010"], needs: Ops, run: marks },
    Test { name: "user.privileged", requirement_ids: &["CPU-002", "SEC-002"], needs: Ops, run: privileged },
    Test {
        name: "user.faults",
        requirement_ids: &["CPU-004", "CPU-006", "CPU-007"],
        needs: Ops,
        run: program_faults,
    },
    Test {
        name: "user.events",
        requirement_ids: &["EVT-001", "CPU-013", "CPU-017", "TIME-003"],
        needs: Ops,
        run: program_events,
    },
    Test { name: "user.vector_state", requirement_ids: &["CPU-021"], needs: Ops, run: vector_state },
    Test { name: "user.bad_returns", requirement_ids: &["OPS-006"], needs: Ops, run: bad_returns },
];

/// General registers of a frame but `rdi`, `rcx` and `r11`.
fn general(frame: &TrapFrame) -> [u64; 12] {
    let TrapFrame { rax, rbx, rdx, rsi, rbp, r8, r9, r10, r12, r13, r14, r15, .. } = *frame;
    [rax, rbx, rdx, rsi, rbp, r8, r9, r10, r12, r13, r14, r15]
}

/// A state with a pattern in every register.
fn patterned(program: &Program) -> TrapFrame {
    let pattern = |index: u64| (0x1111_2222_3333_4444 * index) ^ 0xabcd;
    TrapFrame {
        rax: pattern(1),
        rbx: pattern(2),
        rdx: pattern(3),
        rsi: pattern(4),
        rbp: pattern(5),
        r8: pattern(6),
        r9: pattern(7),
        r10: pattern(8),
        r12: pattern(9),
        r13: pattern(10),
        r14: pattern(11),
        r15: pattern(12),
        rcx: pattern(13),
        r11: pattern(14),
        ..program.state()
    }
}

const MILLISECOND: u64 = 1_000_000;

/// Bit 1, which is always set; ZF and SF; and RF, which a fault sets in its own frame, and an `int n` may begin as one.
const UNIMPORTANT: u64 = 1 << 1 | 1 << 6 | 1 << 7 | 1 << 16;
/// CF, AF and DF, as a program may have them.
const SOME_FLAGS: u64 = 1 | 1 << 4 | 1 << 10;

fn round_trip(report: &mut Report) {
    let program = Program::new();
    let state = TrapFrame { rflags: 0x202 | SOME_FLAGS, ..patterned(&program) };
    let trap = program.run_from(program!(""), &state);
    report.equal("vector and error code", (trap.vector, trap.error_code), (DONE, 0));
    report.equal("registers", general(&trap), general(&state));
    report.equal("rcx, r11, rdi", (trap.rcx, trap.r11, trap.rdi), (state.rcx, state.r11, state.rdi));
    report.equal("rsp, and rip behind the instruction", (trap.rsp, trap.rip), (state.rsp, state.rip + 2));
    report.check(trap.is_user(), "the frame says user mode");
    report.equal("flags, with interrupts enabled", trap.rflags & !UNIMPORTANT, 0x200 | SOME_FLAGS);
    report.check(program.handler_depth() <= 4096, "the handler is on the stack for entries");
    // Masked, as before: the vector is one of two that leave the flag alone, but user mode is always enabled.
    let disabled = TrapFrame { rflags: 2, ..state };
    let trap = program.run_from(program!(""), &disabled);
    let is_guest = world::start_info().is_some();
    report.check(!is_guest || trap.interrupts_enabled(), "in user mode events are always enabled");
}

fn system_call(report: &mut Report) {
    let program = Program::new();
    // Numbers of calls, known and unknown: a program's are the kernel's matter.
    for rax in [0, 0x1_0000, 0x7_0002, 0x3_0003, u64::MAX] {
        let state = TrapFrame { rax, rflags: 0x202 | SOME_FLAGS, ..patterned(&program) };
        let trap = program.run_from(program!("syscall"), &state);
        report.equal("vector", trap.vector, TrapFrame::SYSTEM_CALL);
        report.equal("registers", general(&trap), general(&state));
        report.equal("rsp, and rip behind the instruction", (trap.rsp, trap.rip), (state.rsp, state.rip + 2));
        report.equal("rcx and r11", (trap.rcx, trap.r11), (trap.rip, trap.rflags));
        report.equal("flags", trap.rflags & !UNIMPORTANT, 0x200 | SOME_FLAGS);
        report.check(trap.is_user(), "the frame says user mode");
        report.check(!user::handler_was_enabled(), "the handler runs masked");
        report.check(program.handler_depth() <= 4096, "the handler is on the stack for entries");
    }
}

/// AC, DF, NT and the arithmetic flags of a program are gone when the kernel's handler runs.
fn handler_flags(report: &mut Report) {
    const ALIGNMENT: u64 = 1 << 18;
    const NESTED: u64 = 1 << 14;
    const DIRECTION: u64 = 1 << 10;
    let program = Program::new();
    let codes = [program!("push rbx", "popfq", "syscall"), program!("push rbx", "popfq", "ud2")];
    for code in codes {
        for rbx in [ALIGNMENT, NESTED, DIRECTION, ALIGNMENT | NESTED | DIRECTION] {
            let state = TrapFrame { rbx: rbx | 2, ..program.state() };
            program.run_from(code, &state);
            let wrong = user::handler_flags() & (ALIGNMENT | NESTED | DIRECTION);
            // Natively a trap keeps AC, which SMAP's kernels clear by themselves.
            let natively = world::start_info().is_none();
            let kept = if natively { ALIGNMENT } else { 0 };
            report.equal("flags of the program that the handler sees", wrong & !kept, 0);
        }
    }
}

/// Both bases belong to the mode: a program sets its own, the kernel finds its own.
fn bases(report: &mut Report) {
    let program = Program::new();
    let before = cpu::user_bases();
    let number = cpu::current();
    for (fs, gs) in [(0x1000, 0x2000), (0, 0x7fff_ffff_f000), (0xffff_8000_0000_0000, 0)] {
        cpu::set_user_bases(fs, gs);
        let trap = program.run(program!("rdfsbase rax", "rdgsbase rbx"), 0);
        report.equal("bases of the program", (trap.vector, trap.rax, trap.rbx), (DONE, fs, gs));
        report.equal("the kernel's view of them", cpu::user_bases(), (fs, gs));
        for code in
            [program!("wrfsbase rsi", "wrgsbase rdx"), program!("wrfsbase rsi", "wrgsbase rdx", "syscall")]
        {
            let state = TrapFrame { rsi: fs ^ 0x7000, rdx: gs ^ 0x3000, ..program.state() };
            program.run_from(code, &state);
            report.equal("bases that it set", cpu::user_bases(), (fs ^ 0x7000, gs ^ 0x3000));
            report.equal("the kernel's own data", cpu::current(), number);
        }
    }
    cpu::set_user_bases(before.0, before.1);
}

/// What a program must not reach, by name.
fn kernel_addresses(program: &Program) -> [(&'static str, VirtAddr); 6] {
    let boot = world::boot();
    [
        ("the image", boot.kernel_start),
        ("the kernel's code", VirtAddr(kernel_pages as *const () as u64)),
        ("per-CPU data", VirtAddr((&raw const world::BLOCK) as u64)),
        ("the boot stack", boot.boot_stack),
        ("the root", world::phys_to_virt(program.root)),
        ("its own data by the physical map", world::phys_to_virt(program.data_frame)),
    ]
}

fn kernel_pages(report: &mut Report) {
    let program = Program::new();
    for (what, address) in kernel_addresses(&program) {
        // In the kernel's view, and cached there.
        // SAFETY: mapped, and only read.
        unsafe { (address.0 as *const u64).read_volatile() };
        for (code, access) in [
            (program!("mov rax, [rdi]"), 0),
            (program!("mov [rdi], rax"), WRITE),
            (program!("jmp rdi"), FETCH),
        ] {
            let trap = program.run(code, address.0);
            let wanted = (PAGE_FAULT, PRESENT | USER | access, address.0);
            report.equal(what, (trap.vector, trap.error_code, trap.fault_address), wanted);
        }
    }
}

/// A page that changes hands between kernel and program, flushed as the rules say: at no time both have it.
fn rights(report: &mut Report) {
    let program = Program::new();
    let address = page(program.code, 8);
    let slot = map(program.root, address, marked_frame(0xc3), DATA | PageFlags::USER);
    let execute = PageFlags::NO_EXECUTE;
    for (flags, read, write, fetch) in [
        (DATA | PageFlags::USER, true, true, false),
        (DATA, false, false, false),
        (DATA | PageFlags::USER, true, true, false),
        ((DATA | PageFlags::USER) - PageFlags::WRITABLE, true, false, false),
        ((DATA | PageFlags::USER) - PageFlags::WRITABLE - execute, true, false, true),
        (PageFlags::empty(), false, false, false),
    ] {
        mmu().set(slot, with_flags(mmu().decode(slot.level, mmu().read(slot)), flags));
        mmu().flush_page(address, tables::this_cpu());
        let present = if flags.is_empty() { 0 } else { PRESENT };
        for (what, code, access, is_allowed) in [
            ("a read", program!("mov rax, [rdi]"), 0, read),
            ("a write", program!("mov byte ptr [rdi + 8], 1"), WRITE, write),
            ("a call", program!("call rdi"), FETCH, fetch),
        ] {
            let trap = program.run(code, address.0);
            let wanted = if is_allowed { (DONE, 0) } else { (PAGE_FAULT, present | USER | access) };
            report.equal(what, (trap.vector, trap.error_code), wanted);
        }
    }
}

/// The same frame with other flags; nothing if there are none.
fn with_flags(now: Decoded, flags: PageFlags) -> Entry {
    match now {
        Decoded::Leaf(frame, _) if !flags.is_empty() => mmu().leaf(Level::Pt, frame, flags),
        _ => Entry::ABSENT,
    }
}

fn marks(report: &mut Report) {
    const BOTH: PageFlags = PageFlags::ACCESSED.union(PageFlags::DIRTY);
    let program = Program::new();
    report.equal("untouched", flags(program.data_slot) & BOTH, PageFlags::empty());
    program.run(program!("mov rax, [rdi]"), program.data().0);
    report.equal("after a read", flags(program.data_slot) & BOTH, PageFlags::ACCESSED);
    program.run(program!("mov qword ptr [rdi], 5"), program.data().0);
    report.equal("after a write", flags(program.data_slot) & BOTH, BOTH);
    report.equal("what was written", world::word(program.data_frame).load(Ordering::Relaxed), 5);
    let untouched = map(program.root, page(program.code, 9), world::frame(), DATA);
    program.run(program!("mov [rdi], rax"), page(program.code, 9).0);
    report.equal("a kernel page after a refused write", flags(untouched) & BOTH, PageFlags::empty());
}

fn privileged(report: &mut Report) {
    let program = Program::new();
    for (what, code) in [
        ("cli", program!("cli")),
        ("sti", program!("sti")),
        ("hlt", program!("hlt")),
        ("in", program!("in al, 0x80")),
        ("out", program!("mov edx, 0x3f8", "out dx, al")),
        ("swapgs", program!("swapgs")),
        ("rdmsr", program!("mov ecx, 0xc0000080", "rdmsr")),
        ("mov from cr3", program!("mov rax, cr3")),
        ("mov to cr0", program!("mov cr0, rdi")),
        ("lgdt", program!("lgdt [rdi]")),
        ("invlpg", program!("invlpg [rdi]")),
    ] {
        let trap = program.run(code, program.data().0);
        report.equal(what, (trap.vector, trap.error_code), (GENERAL_PROTECTION, 0));
        report.check(trap.is_user(), "the frame says user mode");
    }
    // Neither IF nor IOPL is a program's to change.
    let trap = program.run(program!("push 0x3002", "popfq", "pushfq", "pop rax"), 0);
    report.equal("flags after popf", (trap.vector, trap.rax & 0x3200), (DONE, 0x200));
}

fn program_faults(report: &mut Report) {
    let program = Program::new();
    let nowhere = page(program.code, 100).0;
    for (what, code, vector, error) in [
        ("ud2", program!("ud2"), 6, 0),
        ("a division by zero", program!("xor ecx, ecx", "div rcx"), 0, 0),
        ("a read of nothing", program!("mov rax, [rdi]"), PAGE_FAULT, USER),
        ("a write to nothing", program!("mov [rdi], rax"), PAGE_FAULT, USER | WRITE),
        ("a jump to nothing", program!("jmp rdi"), PAGE_FAULT, USER | FETCH),
    ] {
        let trap = program.run(code, nowhere);
        report.equal(what, (trap.vector, trap.error_code), (vector, error));
        if vector == PAGE_FAULT {
            report.equal("its address", trap.fault_address, nowhere);
        }
        report.check(!user::handler_was_enabled(), "the handler runs masked");
        report.check(program.handler_depth() <= 4096, "on the stack for entries");
    }
}

/// A program that never calls is interrupted, and goes on as it was.
fn program_events(report: &mut Report) {
    let program = Program::new();
    let Ok(port) = events::bind_timer() else { return report.error("no timer") };
    time::set_deadline(Some(time::now_ns() + MILLISECOND));
    // SAFETY: every backend allows RDTSC, in both modes.
    let end = unsafe { core::arch::x86_64::_rdtsc() } + time::counter_hz() / 100;
    let state = TrapFrame { rbx: end, ..patterned(&program) };
    let code = program!("2:", "pause", "rdtsc", "shl rdx, 32", "or rax, rdx", "cmp rax, rbx", "jb 2b");
    let trap = program.run_from(code, &state);
    report.check(trap.vector == DONE && trap.rax >= end, "the program goes on to its end");
    report.equal(
        "registers",
        general(&TrapFrame { rax: 0, rdx: 0, ..trap }),
        general(&TrapFrame { rax: 0, rdx: 0, ..state }),
    );
    report.equal("deadlines delivered meanwhile", events::deliveries(port), 1);
    report.check(events::flags_were_right(), "the handler ran masked");
    // What was pending before comes with the first instruction.
    irq::disable();
    time::set_deadline(Some(0));
    report.equal("while masked", events::deliveries(port), 1);
    let trap = program.run(program!("nop"), 0);
    report.equal("the program's end", trap.vector, DONE);
    report.equal("once the program runs", events::deliveries(port), 2);
}

fn vector_state(report: &mut Report) {
    let program = Program::new();
    let state = patterned(&program);
    let trap = program.run_from(program!("movq xmm7, rsi", "movq xmm15, rbp", "fninit", "fld1"), &state);
    report.equal("the first program", trap.vector, DONE);
    let trap = program.run_from(
        program!("movq rax, xmm7", "movq rbx, xmm15", "fistp dword ptr [rdi]", "mov edx, [rdi]", "syscall"),
        &program.state(),
    );
    let wanted = (TrapFrame::SYSTEM_CALL, state.rsi, state.rbp, 1);
    report.equal("xmm7, xmm15 and ST0", (trap.vector, trap.rax, trap.rbx, trap.rdx), wanted);
}

/// Frames that cannot be returned to: the kernel survives, and nothing runs in a mode that it should not.
fn bad_returns(report: &mut Report) {
    let program = Program::new();
    for rip in [0x8000_0000_0000, 0x7fff_ffff_ffff_0000] {
        let attempt = crate::harness::faults::catch(|| user::run(&TrapFrame { rip, ..program.state() }));
        let vector = match attempt {
            Ok(trap) => trap.vector,
            Err(fault) => fault.vector,
        };
        report.equal("a return to no canonical address", vector, GENERAL_PROTECTION);
    }
    let trap = user::run(&TrapFrame { rflags: 0x202 | 3 << 12 | 1 << 14, ..program.state() });
    report.equal("flags that are no program's", trap.rflags & (3 << 12), 0);
}
