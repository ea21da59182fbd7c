//! The longest of everything, again and again: calls that have much to do, faults that need many tables, timers that
//! fire as soon as they are armed. A neighbour that is preferred must not notice; the tests look at its deadlines.

use super::exhaustion::map_sparsely;
use crate::harness::attempt::{self, BOTH, DONE, Mode, code};
use crate::harness::tables::{self, G, U, W};
use crate::harness::{call, check, check_status, check_vector, events, println, register_again, world};
use pvops_abi::call::{Base, CallId, Console, Cpu, Event, Mmu, Sched};
use pvops_abi::layout::PortKind;

/// How long each stage goes on.
const STAGE_NS: u64 = 25_000_000;
/// As many as the hypervisor caches, and some.
const ROOTS: usize = 66;

/// One round of something long: the roots, and the number of the round.
type Stage = fn(&[u64; ROOTS], u64);

pub(super) fn run() {
    map_sparsely();
    let roots: [u64; ROOTS] = core::array::from_fn(|_| tables::copy_of_base_root());
    let stages: [(&str, Stage); 10] = [
        ("populate", populate),
        ("roots", load_roots),
        ("flushes", flushes),
        ("common slots", common_slots),
        ("batches", batches),
        ("stacks", stacks),
        ("iret", returns),
        ("deliver", deliver),
        ("registrations", registrations),
        ("deadlines", deadlines),
    ];
    for (name, stage) in stages {
        println!("longest: {name}");
        let end = events::now_ns() + STAGE_NS;
        for round in 0.. {
            stage(&roots, round);
            if events::now_ns() >= end {
                check(round > 0, format_args!("{name}: one round only"));
                break;
            }
        }
        restore();
    }
}

fn restore() {
    let none = world::mark();
    check_status(call(Mmu::SetCommonSlots.id(), &[world::frame()]).status, format_args!("no common slots"));
    world::give_back(none);
    tables::load_base_root();
    register_again();
    (1..64).for_each(events::unbind);
    tables::flush_everything();
}

/// An address in the sparse slots that needs tables of its own, another one each round.
fn sparse_address(round: u64) -> u64 {
    tables::WINDOW + round.wrapping_mul((1 << 30) + (2 << 20) + 4096) % (8 * tables::SLOT_BYTES - (1 << 22))
}

/// Pages on both sides of an end of a table.
fn populate(_: &[u64; ROOTS], round: u64) {
    let address = (sparse_address(round * 37) | 0x1f_ffff) - 8 * 4096;
    let reply = call(Mmu::Populate.id(), &[address, u64::MAX]);
    check(reply.status == 0 && reply.value > 0, format_args!("populate {address:#x}: {}", reply.status));
}

/// Each root is filled a little, and the one used longest ago has to go.
fn load_roots(roots: &[u64; ROOTS], round: u64) {
    check(tables::load(roots[round as usize % ROOTS], round & 1) == 0, format_args!("root {round}"));
    for step in 0..8 {
        call(Mmu::Populate.id(), &[sparse_address(round * 8 + step), 16]);
    }
}

/// Global pages in every root, so that a flush of one concerns all.
fn flushes(roots: &[u64; ROOTS], round: u64) {
    if round == 0 {
        let (place, frame) = (tables::WINDOW + 9 * tables::SLOT_BYTES, world::frame());
        for root in roots {
            tables::map(*root, place, frame, W | U | G);
            tables::load(*root, 1);
            call(Mmu::Populate.id(), &[place, 1]);
        }
    }
    let place = tables::WINDOW + 9 * tables::SLOT_BYTES;
    for (id, arguments) in [
        (Mmu::FlushPage.id(), [place, 0, u64::MAX, 0]),
        (Mmu::FlushRange.id(), [place, 63 * 4096, 0, u64::MAX]),
        (Mmu::FlushRange.id(), [place, 3 * 4096, 0, u64::MAX]),
        (Mmu::FlushAll.id(), [0, u64::MAX, u64::from(round % 64 == 63), 0]),
    ] {
        check(call(id, &arguments).status == 0, format_args!("{:#x} in round {round}", id.0));
    }
}

/// As many as there may be, filled and declared anew.
fn common_slots(roots: &[u64; ROOTS], round: u64) {
    let mark = world::mark();
    let bitmap = world::frame();
    // The experimental slots, but not those of user pages and code.
    world::put(bitmap, 0xff << tables::WINDOW_SLOT);
    world::put(bitmap + 8, if round.is_multiple_of(2) { u64::MAX << 8 } else { 0 });
    let reply = call(Mmu::SetCommonSlots.id(), &[bitmap]);
    check(reply.status == 0, format_args!("common slots: status {}", reply.status));
    world::give_back(mark);
    tables::load(roots[round as usize % ROOTS], 1);
    for step in 0..8 {
        call(Mmu::Populate.id(), &[tables::WINDOW + step * tables::SLOT_BYTES + round * (2 << 20), 16]);
    }
}

/// Batches of nothing but long calls, of page flushes, and of long calls behind short ones.
fn batches(roots: &[u64; ROOTS], round: u64) {
    let mark = world::mark();
    let list = world::frames(2 * 4096, 4096);
    for index in 0..64u64 {
        let (id, arguments): (CallId, [u64; 3]) = match (round % 4, index % 4) {
            (0, _) => (Mmu::Populate.id(), [sparse_address(round * 64 + index), u64::MAX, 0]),
            (1, _) => (Mmu::FlushPage.id(), [tables::WINDOW + index * 4096, 0, u64::MAX]),
            (2, 0) => (Mmu::LoadRoot.id(), [roots[(round + index) as usize % ROOTS], 0, 0]),
            (2, 1) => (Mmu::FlushAll.id(), [0, u64::MAX, 1]),
            (2, _) => (Mmu::Populate.id(), [sparse_address(round * 64 + index), 64, 0]),
            (_, 3) => (Console::Read.id(), [list + 4096, 4096, 0]),
            (_, place) => {
                ([Base::Probe.id(), Cpu::Cpuid.id(), Event::Bind.id()][place as usize], [0xd, 0, list + 4096])
            }
        };
        world::put(list + index * 72, id.0);
        arguments
            .into_iter()
            .zip(1..)
            .for_each(|(word, place)| world::put(list + index * 72 + place * 8, word));
    }
    let mut done = 0;
    while done < 64 {
        let reply = call(Base::Batch.id(), &[list + done * 72, 64 - done]);
        check(reply.status == 0 && reply.value > 0, format_args!("batch {round} at {done}"));
        done += reply.value.max(1);
    }
    world::give_back(mark);
}

/// Traps whose frames lie across two pages that need all tables, in both modes.
fn stacks(_: &[u64; ROOTS], round: u64) {
    let mode = BOTH[round as usize % 2];
    let mut state = attempt::snippet(mode, code!("ud2"));
    let stack = (sparse_address(round * 41) | 0x1f_ffff) - 63;
    if mode == Mode::Kernel {
        state.rsp = stack + 128;
    } else {
        attempt::set_entry_stack(stack + 128);
    }
    let trap = attempt::run(&state);
    attempt::set_entry_stack(attempt::ENTRY_STACK);
    check_vector(&trap, &[6], format_args!("a trap on {stack:#x} in {mode:?} mode"));
}

fn returns(_: &[u64; ROOTS], round: u64) {
    let trap = attempt::run(&attempt::snippet(BOTH[round as usize % 2], code!("nop")));
    check_vector(&trap, &[DONE], format_args!("round {round}"));
}

fn deliver(_: &[u64; ROOTS], round: u64) {
    let id = if round.is_multiple_of(2) { Event::Deliver.id() } else { Sched::Yield.id() };
    check(call(id, &[]).status == 0, format_args!("{:#x} in round {round}", id.0));
}

fn registrations(_: &[u64; ROOTS], _: u64) {
    check(call(Event::RegisterPage.id(), &[events::page()]).status == 0, format_args!("the event page"));
    register_again();
}

/// One deadline behind the other, while the guest does nothing but let them in.
fn deadlines(_: &[u64; ROOTS], round: u64) {
    if round == 0 {
        check(events::bind(PortKind::Timer) != 0, format_args!("the timer"));
    }
    events::set_deadline(events::now_ns() + 200 + round % 2000);
    let mut state = attempt::snippet(Mode::Kernel, code!("2: dec ecx", "jnz 2b"));
    state.rcx = 300;
    state.rflags = 1 << 9 | 2;
    check_vector(&attempt::run(&state), &[DONE], format_args!("round {round} of deadlines"));
}
