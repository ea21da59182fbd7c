//! A user program against its own kernel: it must reach nothing but its pages and the entries that the kernel opened.

use crate::harness::attempt::{self, DONE, Mode, code};
use crate::harness::{check, check_locked, check_trap, check_vector, tables, world};
use pvops_abi::call::{Cpu, Sched};
use pvops_abi::layout::TrapFrame;

/// Protection, user.
const REFUSED: u64 = 5;
const FETCH: u64 = 0x10;

pub(super) fn run() {
    kernel_pages();
    calls();
    hypercall_page();
    speculation_targets();
    changing_rights();
}

/// The kernel's image, stack, tables, area, event page and memory, by all kinds of access.
fn kernel_pages() {
    let boot = world::boot();
    let map = boot.physical_map.0;
    let pages = [
        ("image", boot.kernel_start.0),
        ("code", kernel_pages as *const () as u64),
        ("area", (&raw const world::BLOCK) as u64),
        ("boot stack", boot.boot_stack.0),
        ("physical map", map + 0x1000),
        ("root", map + tables::base_root()),
        ("event page", map + crate::harness::events::page()),
        ("entry stack", attempt::ENTRY_STACK - 64),
        ("kernel code page", attempt::KERNEL_CODE),
        ("hypercall page", world::start_info().hypercall_page_virt),
        ("user code through the physical map", map + attempt::code_frame(Mode::User)),
    ];
    let table = [
        ("read", code!("mov rax, [rdi]"), 0),
        ("write", code!("mov [rdi], rax"), 2),
        ("locked write", code!("lock xadd [rdi], rax"), 2),
        ("read of four bytes", code!("mov eax, [rdi]"), 0),
        ("push", code!("lea rsp, [rdi + 8]", "push rax"), 2),
        ("pop", code!("mov rsp, rdi", "pop rax"), 0),
        ("copy", code!("mov rsi, rdi", "lea rdi, [rsp]", "mov ecx, 64", "rep movsb"), 0),
        ("fill", code!("mov ecx, 64", "rep stosb"), 2),
        ("xsave", code!("xor edx, edx", "mov eax, 7", "and rdi, -64", "xsave [rdi]"), 2),
    ];
    for (what, address) in pages {
        // In the kernel view it is cached when the program comes.
        let mut state = attempt::snippet(Mode::Kernel, table[0].1);
        state.rdi = address;
        check_vector(&attempt::run(&state), &[DONE], format_args!("{what} for the kernel"));
        for (how, code, bit) in table {
            let mut state = attempt::snippet(Mode::User, code);
            state.rdi = address;
            let trap = attempt::run(&state);
            if how == "locked write" {
                check_locked(&trap, REFUSED, format_args!("{how} of {what}"));
            } else {
                check_trap(&trap, 14, REFUSED | bit, format_args!("{how} of {what}"));
            }
        }
        let mut state = attempt::state(Mode::User);
        state.rip = address;
        check_trap(&attempt::run(&state), 14, REFUSED | FETCH, format_args!("jump into {what}"));
        // A prefetch is not an access, and asks nobody.
        let mut state = attempt::snippet(Mode::User, code!("prefetcht0 [rdi]", "prefetchnta [rdi]"));
        state.rdi = address;
        check_vector(&attempt::run(&state), &[DONE], format_args!("prefetch of {what}"));
    }
}

/// Each call's number, by `syscall`: a system call for the kernel, with all registers as they were.
fn calls() {
    let known = (1..=0x20u64).flat_map(|extension| (0..16).map(move |function| extension << 16 | function));
    for id in known.chain([0, u64::MAX, 1 << 63, 0xffff_ffff, 1 << 32 | 0x7_0002]) {
        for flags in [2, 1 << 10 | 2, 1 << 18 | 2, 1 << 14 | 2] {
            let mut state = attempt::snippet(Mode::User, code!("push rbx", "popfq", "syscall"));
            state.rax = id;
            state.rbx = flags;
            (state.rdi, state.rsi, state.rdx, state.r10) = (0, 0, u64::MAX, 7);
            let trap = attempt::run(&state);
            check(
                trap.vector == TrapFrame::SYSTEM_CALL,
                format_args!("syscall {id:#x}: vector {}", trap.vector),
            );
            check(
                (trap.rax, trap.rdi, trap.rsi, trap.rdx, trap.r10) == (id, 0, 0, u64::MAX, 7),
                format_args!("syscall {id:#x}: its registers"),
            );
            check(trap.is_user() && trap.interrupts_enabled(), format_args!("syscall {id:#x}: its frame"));
            let handler = attempt::handler_flags();
            check(
                handler & 0x0007_7500 == 0,
                format_args!("syscall {id:#x}: the entry's flags {handler:#x}"),
            );
        }
    }
    // With the loader's entry gone for a moment a system call is an invalid opcode.
    crate::harness::call(Cpu::SetEntries.id(), &[0, 0]);
    let mut state = attempt::snippet(Mode::User, code!("syscall"));
    state.rax = Sched::Shutdown.id().0;
    let trap = attempt::run(&state);
    check_trap(&trap, 6, 0, format_args!("a system call without an entry"));
    check(trap.rip == attempt::USER_CODE, format_args!("its rip {:#x}", trap.rip));
    crate::harness::register_again();
}

/// A copy of the stubs in user memory is code like any other: its `syscall` is a system call.
fn hypercall_page() {
    let info = world::start_info();
    for offset in [0, 4, 64, 68, 128, 0xffe] {
        let mut state = attempt::state(Mode::User);
        state.rip = info.hypercall_page_virt + offset;
        state.rax = Sched::Shutdown.id().0;
        check_trap(
            &attempt::run(&state),
            14,
            REFUSED | FETCH,
            format_args!("the hypercall page at {offset}"),
        );
    }
    let at = tables::WINDOW + 8 * tables::SLOT_BYTES;
    tables::map(tables::base_root(), at, info.hypercall_page_phys, tables::U);
    for offset in [0, 64] {
        let mut state = attempt::state(Mode::User);
        state.rip = at + offset;
        state.rax = Sched::Shutdown.id().0;
        let trap = attempt::run(&state);
        check(
            trap.vector == TrapFrame::SYSTEM_CALL,
            format_args!("the page as a user page: vector {}", trap.vector),
        );
    }
    // The kernel's own use of it as a user page is refused; and writes to the true one are.
    let mut state = attempt::state(Mode::Kernel);
    state.rip = at;
    check_trap(&attempt::run(&state), 14, 0x11, format_args!("the kernel calls through a user page"));
    let mut state = attempt::snippet(Mode::Kernel, code!("mov [rdi], rax"));
    state.rdi = info.hypercall_page_virt;
    check_trap(&attempt::run(&state), 14, 3, format_args!("a write to the hypercall page"));
    world::put(tables::entry(tables::base_root(), at, 1), 0);
    tables::flush_everything();
}

/// A pointer is followed only as far as the rights go: tables with U clear at one level each.
fn speculation_targets() {
    let address = tables::WINDOW + 9 * tables::SLOT_BYTES;
    let root = tables::base_root();
    tables::map(root, address, world::frame(), tables::W | tables::U);
    for level in 1..=4u8 {
        for bit in [tables::U, tables::W, tables::P, tables::NX] {
            let place = tables::entry(root, address, level);
            let old = world::get(place);
            world::put(place, old ^ bit);
            tables::flush_everything();
            for (code, access) in
                [(code!("mov rax, [rdi]"), 0), (code!("mov [rdi], rax"), 2), (code!("call rdi"), FETCH)]
            {
                let is_refused = match bit {
                    tables::W => access == 2,
                    tables::NX => access == FETCH,
                    _ => true,
                };
                let mut state = attempt::snippet(Mode::User, code);
                state.rdi = address;
                let trap = attempt::run(&state);
                let what = format_args!("level {level}, bit {bit:#x}, access {access:#x}");
                if is_refused {
                    let present = u64::from(bit != tables::P);
                    check_trap(&trap, 14, 4 | access | present, what);
                } else {
                    // A page of zeros: `add [rax], al` with `rax` 0.
                    check_vector(&trap, &[DONE, 14], what);
                }
            }
            world::put(place, old);
        }
    }
    tables::flush_everything();
}

/// Pages that change hands between kernel and program, flushed as the rules say: at no time both have them.
fn changing_rights() {
    let address = tables::WINDOW + 10 * tables::SLOT_BYTES;
    let root = tables::base_root();
    let frame = world::frame();
    world::put(frame, 0xc3);
    let read = code!("mov rax, [rdi]");
    let call = code!("call rdi");
    for round in 0..64u64 {
        let user = round % 2 == 0;
        tables::map(root, address, frame, if user { tables::U | tables::W } else { tables::W });
        // A neighbour that stays the kernel's makes the slot a mixed one half of the time.
        tables::map(root, address + 0x1000, frame, if round % 4 < 2 { tables::U } else { 0 });
        tables::flush(address);
        tables::flush(address + 0x1000);
        for (mode, code) in
            [(Mode::Kernel, read), (Mode::User, read), (Mode::Kernel, call), (Mode::User, call)]
        {
            for address in [address, address + 0x1000] {
                let is_user_page = if address & 0x1000 == 0 { user } else { round % 4 < 2 };
                let mut state = attempt::snippet(mode, code);
                state.rdi = address;
                let trap = attempt::run(&state);
                let allowed = match (mode, code == read) {
                    (Mode::Kernel, true) => true,
                    (Mode::Kernel, false) => !is_user_page,
                    (Mode::User, _) => is_user_page,
                };
                let expected = if allowed { &[DONE][..] } else { &[14] };
                check_vector(&trap, expected, format_args!("round {round}, {mode:?} mode, {address:#x}"));
            }
        }
    }
    world::put(tables::entry(root, address, 1), 0);
    world::put(tables::entry(root, address + 0x1000, 1), 0);
    tables::flush_everything();
}
