//! Ways into the kernel in odd states: software interrupts, flags, the end of the address space, bad stacks.

use super::frames;
use crate::harness::attempt::{self, BOTH, DONE, Mode, code};
use crate::harness::{check, check_trap, check_vector, events, tables, world};
use pvops_abi::call::{Base, Event};
use pvops_abi::layout::{PortKind, TrapFrame};

/// TF, DF, NT, RF, AC.
const TRAP_FLAG: u64 = 1 << 8;
const ODD_FLAGS: [u64; 8] = [
    TRAP_FLAG,
    1 << 10,
    1 << 14,
    1 << 16,
    1 << 18,
    1 << 21,
    TRAP_FLAG | 1 << 18,
    1 << 10 | 1 << 14 | 1 << 18,
];
/// Flags that no handler may start with.
const UNCLEAN: u64 = TRAP_FLAG | 1 << 10 | 3 << 12 | 1 << 14 | 1 << 16 | 1 << 17 | 1 << 18;

pub(super) fn run() {
    software_interrupts();
    flags();
    after_stack_switch();
    end_of_lower_half();
    frames::run();
    bad_stacks();
    bad_entry_stacks();
    bad_event_stacks();
    stacks_on_two_pages();
}

/// `int n` for every n: the kernel's arrive, a program's only where the gate is open.
pub(super) fn software_interrupts() {
    for number in 0..=255u8 {
        for mode in BOTH {
            let trap = attempt::run(&attempt::bytes(mode, &[0xcd, number]));
            let is_open = mode == Mode::Kernel || matches!(number, 3 | 4);
            let what = format_args!("int {number} in {mode:?} mode");
            if is_open {
                check_trap(&trap, number.into(), 0, what);
            } else {
                check_trap(&trap, 13, u64::from(number) << 3 | 2, what);
            }
            let expected = attempt::code_page(mode) + if is_open { 2 } else { 0 };
            check(trap.rip == expected, format_args!("int {number} in {mode:?} mode: rip {:#x}", trap.rip));
        }
    }
    for mode in BOTH {
        check_trap(
            &attempt::run(&attempt::bytes(mode, &[0xcc])),
            3,
            0,
            format_args!("int3 in {mode:?} mode"),
        );
        // QEMU does not know int1.
        let trap = attempt::run(&attempt::bytes(mode, &[0xf1]));
        check_vector(&trap, &[1, 6], format_args!("int1 in {mode:?} mode"));
        // With prefixes, which the one who reads the instruction must not trip over.
        for bytes in
            [&[0x48, 0xcd, 0x80][..], &[0xf0, 0xcd, 0x80], &[0x66, 0x66, 0xcd, 0xff], &[0xf3, 0xcd, 0x0e]]
        {
            let trap = attempt::run(&attempt::bytes(mode, bytes));
            check_vector(&trap, &[6, 13, 0x80, 0xff, 14], format_args!("{bytes:x?} in {mode:?} mode"));
        }
    }
}

/// `syscall` and traps with odd flags, and states entered with every bit of the flags.
fn flags() {
    let system_call = code!("push rbx", "popfq", "syscall");
    let trap_code = code!("push rbx", "popfq", "ud2");
    for flags in ODD_FLAGS {
        let mut state = attempt::snippet(Mode::User, system_call);
        state.rbx = flags;
        let trap = attempt::run(&state);
        check_vector(&trap, &[TrapFrame::SYSTEM_CALL, 1], format_args!("syscall with flags {flags:#x}"));
        clean(flags);
        // The kernel's is a call and comes back with the flags it had: with TF, by a debug trap.
        let mut state = attempt::snippet(Mode::Kernel, system_call);
        state.rbx = flags;
        state.rax = Base::Version.id().0;
        let trap = attempt::run(&state);
        check_vector(&trap, &[DONE, 1], format_args!("call with flags {flags:#x}"));
        clean(flags);
        for mode in BOTH {
            let mut state = attempt::snippet(mode, trap_code);
            state.rbx = flags;
            check_vector(
                &attempt::run(&state),
                &[6, 1],
                format_args!("trap with flags {flags:#x} in {mode:?} mode"),
            );
            clean(flags);
        }
    }
    for bit in 0..64 {
        for mode in BOTH {
            let mut state = attempt::bytes(mode, &[0x9c, 0x58]);
            state.rflags = 1 << bit | 2;
            let trap = attempt::run(&state);
            check_vector(&trap, &[DONE, 1], format_args!("iret with flag {bit} in {mode:?} mode"));
            check(
                trap.rflags & (3 << 12 | 7 << 17 & !(1 << 18)) == 0,
                format_args!("iret with flag {bit}: its frame"),
            );
            check(
                trap.vector != DONE || trap.rax & (1 << 9 | 3 << 12) == 1 << 9,
                format_args!("flags of bit {bit}"),
            );
            clean(1 << bit);
        }
    }
}

fn clean(flags: u64) {
    let handler = attempt::handler_flags();
    check(
        handler & UNCLEAN == 0 && handler & 1 << 9 != 0,
        format_args!("handler's flags {handler:#x} after {flags:#x}"),
    );
}

/// MOV SS and POP SS hold traps back for one instruction, which is the one that enters (CVE-2018-8897).
fn after_stack_switch() {
    let table = [
        code!("mov eax, ss", "push rbx", "popfq", "mov ss, eax", "syscall"),
        code!("mov eax, ss", "push rbx", "popfq", "mov ss, eax", "int3"),
        code!("mov eax, ss", "push rbx", "popfq", "mov ss, eax", "int 0x40"),
        code!("mov eax, ss", "push rbx", "popfq", "mov ss, eax", "ud2"),
        code!("mov eax, ss", "push rbx", "popfq", "mov ss, eax", "mov ss, eax", "mov ss, eax", "hlt"),
        code!("mov eax, ss", "push rax", "mov [rsp], eax", "push rbx", "popfq", "lss rcx, [rsp]", "syscall"),
    ];
    for code in table {
        for flags in [2, TRAP_FLAG, TRAP_FLAG | 1 << 18] {
            for mode in BOTH {
                let mut state = attempt::snippet(mode, code);
                state.rbx = flags;
                let trap = attempt::run(&state);
                let expected = [1, 3, DONE, 6, 12, 13, 14, 0x40, TrapFrame::SYSTEM_CALL];
                check_vector(&trap, &expected, format_args!("after mov ss, flags {flags:#x}, {mode:?} mode"));
                clean(flags);
            }
        }
    }
}

/// The last page of the lower half: what follows its last instruction is not canonical.
fn end_of_lower_half() {
    const PAGE: u64 = 0x7fff_ffff_f000;
    const BEHIND: u64 = 0x8000_0000_0000;
    let frame = world::frame();
    for mode in BOTH {
        let rights = if mode == Mode::User { tables::U } else { 0 };
        tables::map(tables::base_root(), PAGE, frame, rights | tables::W);
        tables::flush_everything();
        // syscall; int3; int 4; int 0x40; a long nop that ends there; nop; one that reaches beyond.
        let endings: [(&[u8], &[u64]); 8] = [
            (&[0x0f, 0x05], &[TrapFrame::SYSTEM_CALL, 13]),
            (&[0xcc], &[3]),
            (&[0xcd, 4], &[4]),
            (&[0xcd, 0x40], &[0x40, 13]),
            (&[0x0f, 0x1f, 0], &[13]),
            (&[0x90], &[13]),
            (&[0xb8, 0, 0], &[13]),
            (&[0xcd], &[13]),
        ];
        for (bytes, expected) in endings {
            let mut page = [0x90; 16];
            page[16 - bytes.len()..].copy_from_slice(bytes);
            world::put_bytes(frame + 0xff0, &page);
            let mut state = attempt::state(mode);
            state.rip = PAGE + 0x1000 - bytes.len() as u64;
            state.rax = Base::Version.id().0;
            let trap = attempt::run(&state);
            check_vector(
                &trap,
                expected,
                format_args!("{bytes:x?} at the end of the lower half, {mode:?} mode"),
            );
            check(trap.rip <= BEHIND, format_args!("rip {:#x} behind the end", trap.rip));
        }
        world::put(tables::entry(tables::base_root(), PAGE, 1), 0);
        tables::flush_everything();
    }
}

/// Stack pointers at which no frame can be stored.
pub(super) fn bad_stack_pointers() -> [u64; 19] {
    let reserved = world::start_info().reserved_ranges[0];
    [
        0x8,
        0x40,
        tables::WINDOW,
        tables::WINDOW + 0x1000,
        0x7fff_ffff_f000,
        0x8000_0000_0000,
        0x8000_0000_0010,
        0x8000_0000_0040,
        0xffff_7fff_ffff_ffff,
        reserved.start,
        reserved.start + 8,
        reserved.start + 0x41,
        reserved.start + (1 << 30) + 5 * 4096,
        reserved.start + (1 << 39) + 0x10_0000,
        reserved.start + (3 << 39) + 0x1000,
        reserved.last,
        reserved.last + 0x11,
        reserved.last + 0x3f,
        1 << 63,
    ]
}

/// A trap of the kernel at each: the double-fault stack takes it. A call needs no stack.
fn bad_stacks() {
    let call = code!("syscall", "ud2");
    let trap_code = code!("ud2");
    let push = code!("push rax");
    for rsp in bad_stack_pointers() {
        for code in [trap_code, push] {
            let mut state = attempt::snippet(Mode::Kernel, code);
            state.rsp = rsp;
            let trap = attempt::run(&state);
            check_trap(&trap, 8, 0, format_args!("a trap with rsp {rsp:#x}"));
            check(trap.rsp == rsp, format_args!("the frame's rsp {:#x}", trap.rsp));
        }
        let mut state = attempt::snippet(Mode::Kernel, call);
        state.rsp = rsp;
        state.rax = Base::Version.id().0;
        let trap = attempt::run(&state);
        check_trap(&trap, 8, 0, format_args!("a call with rsp {rsp:#x}"));
        check(trap.rip == attempt::KERNEL_CODE + 2, format_args!("the call came back: {:#x}", trap.rip));
        // A program may have any: its frames go to the kernel's stack.
        let mut state = attempt::snippet(Mode::User, trap_code);
        state.rsp = rsp;
        let trap = attempt::run(&state);
        check_trap(&trap, 6, 0, format_args!("a user trap with rsp {rsp:#x}"));
        check(trap.rsp == rsp, format_args!("the frame's user rsp {:#x}", trap.rsp));
        let mut state = attempt::snippet(Mode::User, code!("syscall"));
        state.rsp = rsp;
        let trap = attempt::run(&state);
        check(
            trap.vector == TrapFrame::SYSTEM_CALL && trap.rsp == rsp,
            format_args!("syscall with rsp {rsp:#x}"),
        );
    }
    // Misaligned but good: rounded down.
    for offset in 1..16 {
        let mut state = attempt::snippet(Mode::Kernel, trap_code);
        state.rsp -= offset;
        check_trap(&attempt::run(&state), 6, 0, format_args!("rsp misaligned by {offset}"));
    }
}

/// The same for the stack that entries from user mode use.
fn bad_entry_stacks() {
    let trap_code = code!("ud2");
    let system_call = code!("syscall");
    for rsp in bad_stack_pointers() {
        attempt::set_entry_stack(rsp);
        let trap = attempt::run(&attempt::snippet(Mode::User, trap_code));
        check_trap(&trap, 8, 0, format_args!("a user trap with entry stack {rsp:#x}"));
        // Nothing is pushed at a system call; the stub's own push faults, in the kernel.
        let trap = attempt::run(&attempt::snippet(Mode::User, system_call));
        check_trap(&trap, 8, 0, format_args!("syscall with entry stack {rsp:#x}"));
    }
    attempt::set_entry_stack(attempt::ENTRY_STACK);
}

/// A frame of which one half is in a page that is missing is a double fault; one on two pages that were mapped but never
/// used is stored, and they are dirty then. Where nothing was, the frame says the same.
fn stacks_on_two_pages() {
    const DIRTY: u64 = 1 << 6;
    const LOWER: u64 = tables::WINDOW + 5 * tables::SLOT_BYTES;
    const UPPER: u64 = LOWER + 0x1000;
    const NOTHING: u64 = LOWER + 0x5008;
    let root = tables::base_root();
    let frames = [world::frame(), world::frame()];
    let cases = BOTH.into_iter().flat_map(|mode| [6, 14].map(|vector| (mode, vector)));
    for ((mode, vector), is_mapped) in cases.flat_map(|case| [0b01, 0b10, 0b11].map(|pages| (case, pages))) {
        for (page, (address, frame)) in [LOWER, UPPER].into_iter().zip(frames).enumerate() {
            tables::map(root, address, frame, tables::W);
            if is_mapped >> page & 1 == 0 {
                world::put(tables::entry(root, address, 1), 0);
            }
        }
        tables::flush_everything();
        let code = if vector == 6 { code!("ud2") } else { code!("mov al, [rdi]") };
        let mut state = attempt::snippet(mode, code);
        state.rdi = NOTHING;
        if mode == Mode::Kernel {
            state.rsp = UPPER + 32;
        } else {
            attempt::set_entry_stack(UPPER + 32);
        }
        let trap = attempt::run(&state);
        attempt::set_entry_stack(attempt::ENTRY_STACK);
        let what = format_args!("vector {vector}, {mode:?} mode, pages {is_mapped:#b} of a stack");
        if is_mapped != 0b11 {
            check_trap(&trap, 8, 0, what);
            continue;
        }
        let error = if (mode, vector) == (Mode::User, 14) { 4 } else { 0 };
        check_trap(&trap, vector, error, what);
        check(vector == 6 || trap.fault_address == NOTHING, format_args!("where: {:#x}", trap.fault_address));
        let is_dirty = |address| world::get(tables::entry(root, address, 1)) & DIRTY != 0;
        check(is_dirty(LOWER) && is_dirty(UPPER), format_args!("marks on both pages of the stack"));
    }
    tables::clear_windows();
}

/// An upcall at a bad stack is a double fault as well.
fn bad_event_stacks() {
    let port = events::bind(PortKind::Ipi);
    check(port != 0, format_args!("a port"));
    let spin = code!("2: pause", "jmp 2b");
    let send = code!("syscall", "ud2");
    for rsp in bad_stack_pointers() {
        // Pending while masked; the iret that enters the state unmasks.
        crate::harness::call(Event::Send.id(), &[port]);
        let mut state = attempt::snippet(Mode::Kernel, spin);
        state.rsp = rsp;
        state.rflags = 1 << 9 | 2;
        check_trap(&attempt::run(&state), 8, 0, format_args!("an upcall with rsp {rsp:#x}"));
        events::enable(true);
        events::enable(false);
        // Sent by a call made on that stack.
        let mut state = attempt::snippet(Mode::Kernel, send);
        state.rsp = rsp;
        state.rflags = 1 << 9 | 2;
        state.rax = Event::Send.id().0;
        state.rdi = port;
        check_trap(&attempt::run(&state), 8, 0, format_args!("an upcall of a call with rsp {rsp:#x}"));
        events::enable(true);
        events::enable(false);
        attempt::set_entry_stack(rsp);
        crate::harness::call(Event::Send.id(), &[port]);
        check_trap(
            &attempt::run(&attempt::snippet(Mode::User, spin)),
            8,
            0,
            format_args!("a user's upcall, {rsp:#x}"),
        );
        attempt::set_entry_stack(attempt::ENTRY_STACK);
        events::enable(true);
        events::enable(false);
    }
    events::unbind(port);
}
