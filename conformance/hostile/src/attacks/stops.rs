//! Attacks that leave no handler that could run: the specification stops the domain. None of these functions is
//! expected to return.

use super::{random, registered};
use crate::harness::attempt::{self, Mode, code};
use crate::harness::{call, check, events, option, println, tables, world};
use core::sync::atomic::Ordering;
use pvops_abi::call::{Cpu, Event};
use pvops_abi::layout::PortKind;
use pvops_abi::ops::sched::{self, ShutdownReason};

/// Executes an invalid opcode with a stack that is not there.
fn fault_on_bad_stack() {
    let mut state = attempt::snippet(Mode::Kernel, code!("ud2"));
    state.rsp = tables::WINDOW + 0x1000;
    // The dump shows them.
    [state.rax, state.rcx, state.rdx, state.rbx, state.rbp, state.rsi, state.rdi] = [1, 2, 3, 4, 5, 6, 7];
    [state.r8, state.r9, state.r10, state.r11] = [8, 9, 10, 11];
    [state.r12, state.r13, state.r14, state.r15] = [12, 13, 14, 15];
    attempt::run(&state);
}

/// CPU-009: no double-fault stack is registered.
pub(super) fn stack() {
    call(Cpu::SetDoubleFaultStack.id(), &[0]);
    fault_on_bad_stack();
}

/// CPU-009: that stack is not there either.
pub(super) fn double() {
    println!(
        "a stack that is not mapped: status {}",
        call(Cpu::SetDoubleFaultStack.id(), &[tables::WINDOW]).status
    );
    fault_on_bad_stack();
}

/// Registers a double-fault stack with nothing below it: faults that go on there end, wherever the image lies.
fn end_of_faults() {
    let top = attempt::KERNEL_CODE + 0x30_0000;
    tables::map(tables::base_root(), top - 4096, world::frame(), tables::W | tables::NX);
    println!("a double-fault stack: status {}", call(Cpu::SetDoubleFaultStack.id(), &[top]).status);
}

/// A table of gates with this entry for every vector.
fn set_all_gates(entry: u64, flags: u64) {
    let table = world::frame();
    for vector in 0..256 {
        world::put(table + vector * 16, entry);
        world::put(table + vector * 16 + 8, flags);
    }
    println!("the table: status {}", call(Cpu::SetTrapTable.id(), &[table, 256]).status);
}

/// CPU-008: the gate is as good as none.
pub(super) fn gate() {
    set_all_gates(0x8000_0000_0000, 0);
    attempt::run(&attempt::snippet(Mode::Kernel, code!("ud2")));
}

/// Each trap's handler cannot be fetched, which is a trap: the stack ends, then the double-fault stack.
pub(super) fn handler() {
    end_of_faults();
    set_all_gates(world::start_info().reserved_ranges[0].start + 0x1000, 4);
    attempt::run(&attempt::snippet(Mode::User, code!("ud2")));
}

/// CPU-019.
pub(super) fn iret() {
    let code = code!("mov rsp, rbx", "jmp rsi");
    let mut state = attempt::snippet(Mode::Kernel, code);
    state.rbx = world::start_info().reserved_ranges[0].start + (1 << 30) + 5 * 4096 - 72;
    state.rsi = world::start_info().hypercall_page_virt + pvops_abi::call::IRET_STUB_OFFSET;
    attempt::run(&state);
}

/// CPU-019: a frame that could be read, but stands where none may.
pub(super) fn misaligned_iret() {
    let mut state =
        attempt::snippet(Mode::Kernel, code!("sub rsp, 84", "mov qword ptr [rsp + 40], 0", "jmp rsi"));
    state.rsi = world::start_info().hypercall_page_virt + pvops_abi::call::IRET_STUB_OFFSET;
    attempt::run(&state);
}

/// SCHED-004: finds clean memory where the area was before the domain began anew, and puts it there.
fn area_is_gone() -> bool {
    // Low in memory, hence clean long before the last page is; meanwhile the neighbour gets its turns.
    let place = world::mark();
    let is_clean = (place..place + 4096).step_by(8).all(|word| world::get(word) == 0);
    check(is_clean, format_args!("memory that an area was in is as at first"));
    registered::put_area(place);
    check(call(Cpu::RegisterArea.id(), &[place]).status == 0, format_args!("an area"));
    is_clean
}

/// A domain that begins anew as soon as it has begun, until the clock, which goes on, says that it was often enough.
pub(super) fn reboot() {
    let until_ms = option("until_ms", 0);
    // Behind other attacks, memory is not as at first.
    if world::boot().option("attack") == Some("reboot") && !area_is_gone() {
        return;
    }
    if events::now_ns() < until_ms * 1_000_000 {
        sched::shutdown(ShutdownReason::Reboot, 0)
    }
    check(true, format_args!("the last start"));
}

/// The kernel is gone with the return from the call.
pub(super) fn root() {
    tables::load(world::frame(), 0);
}

/// What the hypervisor shares with this vCPU is overwritten while a deadline fires again and again; at the end a
/// program traps, and there is neither a stack nor a GS base for it.
pub(super) fn area() {
    let timer = events::bind(PortKind::Timer);
    let own = events::bind(PortKind::Ipi);
    let area = &world::BLOCK.area;
    let mut seed = 0x0bad_c0de_0bad_c0de;
    let area_at = world::image_phys(area as *const _ as u64);
    for round in 0..20_000u64 {
        let garbage = random::next(&mut seed);
        // All but the GS base, which the handlers of this guest need until the last round.
        for offset in [16, 24, 40, 48, 56, 64, 72, 80, 88, 96, 104, 112, 120] {
            world::put(area_at + offset, garbage.rotate_left(offset as u32));
        }
        area.selector.store(garbage, Ordering::SeqCst);
        world::put(events::page() + garbage % 512 * 8, garbage);
        world::put(events::page() + 576, garbage & !(1 << timer | 1 << own));
        world::put(events::page(), garbage);
        events::set_deadline(if round % 2 == 0 { 0 } else { events::now_ns() + 20_000 });
        call(Event::Send.id(), &[own]);
        area.events_pending.store(garbage as u8, Ordering::SeqCst);
        area.events_enabled.store((garbage >> 8) as u8, Ordering::SeqCst);
        call(Event::Deliver.id(), &[]);
        area.events_enabled.store(0, Ordering::SeqCst);
    }
    println!("{} upcalls among garbage", events::count());
    end_of_faults();
    area.kernel_gs_base.store(world::start_info().reserved_ranges[0].start, Ordering::SeqCst);
    area.kernel_stack.store(0x8000_0000_0040, Ordering::SeqCst);
    attempt::run(&attempt::snippet(Mode::User, code!("syscall")));
}
