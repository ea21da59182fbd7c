//! Odd selectors: loads, far transfers, `iretq`. There is a page of forged descriptors at linear address 0, for a
//! CPU whose LDT register was left as a reset sets it: base 0, limit 0xffff.

use crate::harness::attempt::{self, BOTH, DONE, Mode, code};
use crate::harness::{check, check_vector, println, tables, world};

/// Segment not present, stack fault, general protection, page fault.
const REFUSED: &[u64] = &[11, 12, 13, 14];

pub(super) fn run() {
    forge_descriptors();
    println!("selectors: loads");
    loads();
    println!("selectors: far transfers");
    far_transfers();
    bases();
}

/// Fills sixteen pages from address 0 with, in turn: user data, user code of 64 and of 32 bits, ring 0 code, and a call
/// gate open to ring 3 with ring 0's code and an address of the hypervisor's.
fn forge_descriptors() {
    const DESCRIPTORS: [u64; 6] = [
        0x00cf_f300_0000_ffff,
        0x00af_fb00_0000_ffff,
        0x00cf_fb00_0000_ffff,
        0x00af_9b00_0000_ffff,
        0x8000_ec00_0008_1000,
        0x0000_0000_ffff_8000,
    ];
    let frame = world::frame();
    for index in 0..512 {
        world::put(frame + index as u64 * 8, DESCRIPTORS[index % DESCRIPTORS.len()]);
    }
    let occupied = world::get(tables::base_root()) & tables::P != 0;
    if !occupied {
        for page in 0..16 {
            tables::map(tables::base_root(), page * 4096, frame, tables::W | tables::U | tables::NX);
        }
    }
    // In the hardware's view too: descriptors are read where the processor finds them.
    let touch = code!("mov rax, [rdi]");
    for mode in BOTH {
        let mut state = attempt::snippet(mode, touch);
        state.rdi = 0;
        check_vector(&attempt::run(&state), &[DONE], format_args!("address 0 is mapped in {mode:?} mode"));
    }
}

fn loads() {
    let table = [
        ("ds", code!("mov ds, eax")),
        ("es", code!("mov es, eax")),
        ("fs", code!("mov fs, eax")),
        // The stub needs the base: GS stays a null selector with the kernel's base.
        ("gs", code!("rdgsbase rdx", "mov gs, eax", "wrgsbase rdx")),
        ("ss", code!("mov ss, eax")),
        ("lfs", code!("mov [rdi + 4], eax", "mov [rdi + 8], eax", "lfs rcx, [rdi]")),
        ("lss", code!("mov [rdi + 4], eax", "mov [rdi + 8], eax", "lss rcx, [rdi]")),
    ];
    let local = (0..64).map(|index| index << 3 | 4).chain([0xffff, 0xfffc, 0x7fff, 0x8007]);
    for selector in (0u64..0x48).chain(local) {
        for (what, code) in table {
            for mode in BOTH {
                let mut state = attempt::snippet(mode, code);
                state.rax = selector;
                let trap = attempt::run(&state);
                // Null selectors, and those of the hypervisor's table that are ring 3's.
                let may_load = selector < 4 || (0x18..0x24).contains(&selector);
                let expected: &[u64] = if may_load { &[DONE, 13] } else { &[11, 12, 13] };
                check_vector(&trap, expected, format_args!("{what} = {selector:#x} in {mode:?} mode"));
                check(
                    trap.error_code == 0,
                    format_args!("{what} = {selector:#x}: error {:#x}", trap.error_code),
                );
            }
        }
    }
}

fn far_transfers() {
    let table = [
        ("far return", code!("push rbx", "push rsi", ".byte 0x48, 0xcb")),
        ("far return of 32 bits", code!("sub rsp, 8", "mov [rsp], esi", "mov [rsp + 4], ebx", ".byte 0xcb")),
        ("far jump", code!("mov [rdi], rsi", "mov [rdi + 8], ebx", ".byte 0x48, 0xff, 0x2f")),
        ("far call", code!("mov [rdi], rsi", "mov [rdi + 8], ebx", ".byte 0x48, 0xff, 0x1f")),
        ("far jump of 32 bits", code!("mov [rdi], esi", "mov [rdi + 4], ebx", ".byte 0xff, 0x2f")),
        ("iretq", code!("push 0x1b", "push rdi", "push 0x3002", "push rbx", "push rsi", "iretq")),
        ("iretq, all flags", code!("push 0x1b", "push rdi", "push -257", "push rbx", "push rsi", "iretq")),
        ("iretd", code!("sub rsp, 24", "mov [rsp], esi", "mov [rsp + 4], ebx", "iretd")),
    ];
    let info = world::start_info();
    // The last bytes of the code page, all traps; the hypercall page; the hypervisor's image; not canonical.
    let targets = [0, info.hypercall_page_virt, info.reserved_ranges[0].start + 0x1000, 0x8000_0000_0000];
    let local = (0..12).map(|index| index << 3 | 7);
    for selector in (0u64..0x40).chain(local).chain([0xffff, 0xfffb]) {
        for target in targets {
            for (what, code) in table {
                for mode in BOTH {
                    let mut state = attempt::snippet(mode, code);
                    state.rbx = selector;
                    state.rsi = if target == 0 { attempt::code_page(mode) + 0x800 } else { target };
                    let trap = attempt::run(&state);
                    // Where the selector is ring 3's code, the transfer works and faults at its target: int3 bytes
                    // of zero pages are `add [rax], al`, so a page fault or the trap of the address.
                    let is_ours = (0x20..0x24).contains(&selector);
                    let expected: &[u64] = if is_ours { &[DONE, 1, 3, 6, 11, 12, 13, 14] } else { REFUSED };
                    check_vector(
                        &trap,
                        expected,
                        format_args!("{what} to {selector:#x}:{target:#x} in {mode:?} mode"),
                    );
                    check(
                        trap.is_user() == (mode == Mode::User),
                        format_args!("{what}: the mode in the frame"),
                    );
                    check(trap.rflags >> 12 & 3 == 0, format_args!("{what}: IOPL"));
                }
            }
        }
    }
}

/// FS and GS bases: any canonical one, the hypervisor's addresses too, which then fault when used.
fn bases() {
    let fs = code!("wrfsbase rbx", "mov rax, fs:[0]");
    let gs = code!("rdgsbase rdx", "wrgsbase rbx", "mov rcx, 1", "wrgsbase rdx");
    let user_gs = code!("wrgsbase rbx", "mov rax, gs:[0]");
    let reserved = world::start_info().reserved_ranges[0];
    for mode in BOTH {
        for base in [1 << 47, 0x8000_0000_0000_0000, 0xffff_7fff_ffff_ffff, 0x1234_5678_9abc_def0] {
            // QEMU takes any base and faults when it is used.
            for (code, expected) in [(fs, &[13][..]), (gs, &[13, DONE])] {
                let mut state = attempt::snippet(mode, code);
                state.rbx = base;
                check_vector(
                    &attempt::run(&state),
                    expected,
                    format_args!("base {base:#x} in {mode:?} mode"),
                );
            }
        }
        for base in [reserved.start, reserved.start + (1 << 30), reserved.last - 8, u64::MAX - 7] {
            let mut state = attempt::snippet(mode, fs);
            state.rbx = base;
            check_vector(&attempt::run(&state), &[14], format_args!("fs at {base:#x} in {mode:?} mode"));
        }
        let mut state = attempt::snippet(mode, gs);
        state.rbx = reserved.start;
        check_vector(&attempt::run(&state), &[DONE], format_args!("gs at {:#x}", state.rbx));
    }
    let mut state = attempt::snippet(Mode::User, user_gs);
    state.rbx = reserved.start;
    check_vector(&attempt::run(&state), &[14], format_args!("user gs at {:#x}", state.rbx));
    // What is stored for the next entry into user mode: a bad base counts as 0.
    let read = code!("rdgsbase rax");
    for base in [1 << 47, u64::MAX >> 1, 0x8000_0000_0000_0000] {
        world::BLOCK.area.user_gs_base.store(base, core::sync::atomic::Ordering::Relaxed);
        let trap = attempt::run(&attempt::snippet(Mode::User, read));
        check(trap.vector == DONE && trap.rax == 0, format_args!("user GS base {base:#x}: {:#x}", trap.rax));
    }
    attempt::run(&attempt::snippet(Mode::Kernel, code!("xor eax, eax", "wrfsbase rax")));
}
