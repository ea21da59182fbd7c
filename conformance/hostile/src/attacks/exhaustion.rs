//! Everything that is bounded is used up: shadow tables, roots, ports, the patience of the timer.

use crate::harness::attempt::{self, BOTH, DONE, Mode, code};
use crate::harness::tables::{self, P, U, W};
use crate::harness::{call, check, check_vector, events, println, register_again, world};
use core::arch::asm;
use core::fmt::Write;
use core::sync::atomic::Ordering;
use pvops_abi::call::{Cpu, Event, Mmu, Sched};
use pvops_abi::layout::PortKind;
use pvops_abi::layout::frame::DeliveredFrame;
use pvops_abi::ops::console::Writer;

pub(super) fn run() {
    let stages: [(&str, fn()); 8] = [
        ("ports", ports),
        ("roots", roots),
        ("sparse mappings", sparse),
        ("deadlines", deadlines),
        ("masked events", masked),
        ("events let in by a store", let_in_by_a_store),
        ("yield", yields),
        ("console", flood),
    ];
    for (name, stage) in stages {
        println!("exhaustion: {name}");
        stage();
    }
}

fn ports() {
    for round in 0..3 {
        let mut bound = 0;
        let mut last = 0;
        for _ in 0..5000 {
            let reply = call(Event::Bind.id(), &[PortKind::Ipi as u64, 0, 0]);
            if reply.status != 0 {
                last = reply.status;
                break;
            }
            bound += 1;
        }
        check(bound > 0 && last == -6, format_args!("round {round}: {bound} ports, then status {last}"));
        for port in 0..4100 {
            events::unbind(port);
        }
    }
    let port = events::bind(PortKind::Timer);
    check(port != 0, format_args!("a port afterwards"));
    events::unbind(port);
}

/// Many more roots than can be cached, each used in both modes.
fn roots() {
    let mark = world::mark();
    let read = code!("mov rax, [rdi]");
    for number in 0..1200 {
        let root = tables::copy_of_base_root();
        check(tables::load(root, number & 1) == 0, format_args!("root {number}"));
        if number % 8 == 0 {
            let trap = attempt::run(&attempt::snippet(BOTH[number as usize / 8 % 2], read));
            check_vector(&trap, &[DONE], format_args!("in root {number}"));
        }
    }
    tables::load_base_root();
    world::give_back(mark);
}

/// A table of each level, shared by all entries above it, maps one frame at every address of eight slots. One touch
/// per 2 MiB costs a shadow table each. Returns the tables that stand for 512 GiB and for 1 GiB.
pub(super) fn map_sparsely() -> [u64; 2] {
    let frame = world::frame();
    let [table, directory, pointers] = [world::frame(), world::frame(), world::frame()];
    for index in 0..512 {
        world::put(table + index * 8, frame | P | W | U);
        world::put(directory + index * 8, table | P | W | U);
        world::put(pointers + index * 8, directory | P | W | U);
    }
    let root = tables::base_root();
    for slot in 0..8 {
        world::put(root + (tables::WINDOW_SLOT + slot) * 8, pointers | P | W | U);
    }
    tables::flush_everything();
    [pointers, directory]
}

fn sparse() {
    let [_, directory] = map_sparsely();
    let root = tables::base_root();
    let touch = code!("2: mov rax, [rdi]", "mov [rdi], rax", "add rdi, rsi", "dec ecx", "jnz 2b");
    for stride in [2u64 << 20, 1 << 30, (1 << 30) + (2 << 20) + 4096, (1 << 39) + (1 << 21)] {
        for mode in BOTH {
            let room = (8 * tables::SLOT_BYTES - 4096) / stride;
            let mut state = attempt::snippet(mode, touch);
            state.rdi = tables::WINDOW;
            state.rsi = stride;
            state.rcx = room.min(3000);
            let trap = attempt::run(&state);
            check_vector(&trap, &[DONE], format_args!("stride {stride:#x} in {mode:?} mode"));
        }
    }
    // In slots where kernel pages stand among user pages each mode has tables of its own.
    let mixed = world::frame();
    for index in 0..512 {
        world::put(mixed + index * 8, if index % 2 == 0 { directory | P | W } else { directory | P | W | U });
    }
    world::put(root + tables::WINDOW_SLOT * 8, mixed | P | W | U);
    tables::flush_everything();
    for round in 0..6u64 {
        let mode = BOTH[round as usize % 2];
        let mut state = attempt::snippet(mode, touch);
        state.rdi = tables::WINDOW + (1 << 30) + round * 4096;
        state.rsi = 2 << 20;
        state.rcx = 500;
        check_vector(&attempt::run(&state), &[DONE], format_args!("mixed slot, round {round}"));
    }
    let mut populated = 0;
    for page in 0..2000 {
        populated += call(Mmu::Populate.id(), &[tables::WINDOW + page * ((2 << 20) + 4096), 64]).value;
    }
    check(populated > 0, format_args!("populate"));
    (0..8).for_each(|slot| world::put(root + (tables::WINDOW_SLOT + slot) * 8, 0));
    tables::flush_everything();
}

/// Deadlines in the past: by calls, from the handler itself, and one behind the other as close as can be.
fn deadlines() {
    let port = events::bind(PortKind::Timer);
    let before = events::count();
    for number in 0..5000 {
        events::set_deadline(if number % 2 == 0 { 0 } else { 1 });
        events::enable(true);
        events::enable(false);
    }
    check(events::count() >= before + 5000, format_args!("{} upcalls of 5000", events::count() - before));
    // The handler arms it again each time: all upcalls come, and then the kernel goes on.
    const STORM: u64 = 20_000;
    let before = events::count();
    events::set_storm(STORM);
    let mut state = attempt::snippet(Mode::Kernel, code!("2: dec ecx", "jnz 2b"));
    state.rcx = 1000;
    state.rflags = 1 << 9 | 2;
    events::set_deadline(0);
    check_vector(&attempt::run(&state), &[DONE], format_args!("the kernel behind a storm"));
    check(events::count() > before + STORM, format_args!("{} upcalls of a storm", events::count() - before));
    for step in 0..3000 {
        events::set_deadline(events::now_ns() + step % 64);
        events::enable(true);
        events::enable(false);
    }
    check_vector(&attempt::run(&state), &[DONE], format_args!("the kernel goes on"));
    for deadline in [u64::MAX - 1, u64::MAX / 2, 1 << 63, 1 << 50] {
        events::set_deadline(deadline);
    }
    events::set_deadline(u64::MAX);
    // Blocking with what is pending already, and until a deadline.
    for delay in [0, 1, 1000, 2_000_000] {
        events::set_deadline(events::now_ns() + delay);
        check(call(Sched::Block.id(), &[]).status == 0, format_args!("block for {delay} ns"));
        events::enable(false);
    }
    events::unbind(port);
}

/// Everything pending, nothing ever taken.
fn masked() {
    let ports: [u64; 40] = core::array::from_fn(|_| events::bind(PortKind::Ipi));
    let before = events::count();
    for round in 0..100 {
        for port in ports {
            check(call(Event::Send.id(), &[port]).status == 0, format_args!("round {round}, port {port}"));
        }
    }
    check(events::count() == before, format_args!("no upcall came"));
    check(world::BLOCK.area.events_pending.load(Ordering::SeqCst) != 0, format_args!("it is pending"));
    events::enable(true);
    events::enable(false);
    check(events::count() > before, format_args!("it comes when it may"));
    ports.into_iter().for_each(events::unbind);
}

unsafe extern "C" {
    /// Where a trap's handler starts that loads the word at `rdi` and goes on at `rsi`, on the stack that was interrupted.
    fn hostile_load_and_go_on();
}

core::arch::global_asm!(
    ".globl hostile_load_and_go_on",
    "hostile_load_and_go_on:",
    "mov rax, [rdi]",
    "mov rsp, [rsp + {rsp}]",
    "jmp rsi",
    rsp = const core::mem::offset_of!(DeliveredFrame, rsp),
);

/// A store is all that lets a pending event in. It comes at the next entry into the hypervisor, whatever that is for, and
/// before the instruction with which the kernel goes on.
fn let_in_by_a_store() {
    let port = events::bind(PortKind::Ipi);
    let enabled = &world::BLOCK.area.events_enabled;
    let make_due = || {
        call(Event::Send.id(), &[port]);
        let before = events::count();
        enabled.store(1, Ordering::SeqCst);
        before
    };
    tables::map(tables::base_root(), tables::WINDOW, world::frame(), W);
    let before = make_due();
    let mut seen: u64;
    // SAFETY: both can be read, the page for the first time.
    unsafe {
        asm!("mov {seen}, [{page}]", "mov {seen}, [{counter}]", page = in(reg) tables::WINDOW,
            counter = in(reg) events::counter(), seen = out(reg) seen, options(nostack));
    }
    enabled.store(0, Ordering::SeqCst);
    check(seen == before + 1, format_args!("behind a hidden fault: {} upcalls", seen - before));

    // A gate that does not mask.
    let table = world::frame();
    world::put(table + 6 * 16, hostile_load_and_go_on as *const () as u64);
    check(call(Cpu::SetTrapTable.id(), &[table, 32]).status == 0, format_args!("a table with one gate"));
    let before = make_due();
    // SAFETY: the handler of the trap comes back, with nothing changed but what it says; a trap leaves the other two.
    unsafe {
        asm!("lea rsi, [rip + 2f]", "ud2", "2:", in("rdi") events::counter(), out("rax") seen, out("rsi") _,
            out("rcx") _, out("r11") _);
    }
    enabled.store(0, Ordering::SeqCst);
    register_again();
    check(
        seen == before + 1,
        format_args!("before a handler's first instruction: {} upcalls", seen - before),
    );
    events::unbind(port);
}

fn yields() {
    for _ in 0..30_000 {
        check(call(Sched::Yield.id(), &[1, 2, 3, 4, 5, 6]).status == 0, format_args!("yield"));
    }
}

/// Long lines, no lines, control characters.
fn flood() {
    for round in 0..64u8 {
        let mut text = [b'~'; 256];
        text[round as usize] = round % 32;
        text[255 - round as usize] = b'\n';
        _ = Writer.write_str(core::str::from_utf8(&text).unwrap_or(""));
    }
    println!();
    println!("after the flood");
}
