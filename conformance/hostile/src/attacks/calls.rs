//! Calls with wild, straddling, misaligned and wrapping arguments, unknown ids, and batches that misbehave.

use super::registered;
use crate::harness::{call, check, check_status, events, println, register_again, tables, world};
use pvops_abi::call::{Base, CallId, Console, Cpu, Event, Mmu, Sched, Time};
use pvops_abi::layout::MAX_BATCH;
use pvops_abi::layout::PortKind;

/// Every call that returns, whatever its arguments are.
pub(super) const CALLS: [CallId; 29] = [
    Base::Version.id(),
    Base::Implementation.id(),
    Base::ImplementationVersion.id(),
    Base::Probe.id(),
    Base::Batch.id(),
    Cpu::RegisterArea.id(),
    Cpu::SetTrapTable.id(),
    Cpu::SetEntries.id(),
    Cpu::SetDoubleFaultStack.id(),
    Cpu::SetSegmentBase.id(),
    Cpu::Cpuid.id(),
    Cpu::SetXcr0.id(),
    Cpu::FpuAreaSize.id(),
    Event::RegisterPage.id(),
    Event::Bind.id(),
    Event::Unbind.id(),
    Event::Send.id(),
    Event::Unmask.id(),
    Event::Eoi.id(),
    Event::Deliver.id(),
    Mmu::FlushPage.id(),
    Mmu::FlushRange.id(),
    Mmu::FlushAll.id(),
    Mmu::Populate.id(),
    Mmu::ReleaseRoot.id(),
    Mmu::SetCommonSlots.id(),
    Time::Clock.id(),
    Time::SetDeadline.id(),
    Sched::Yield.id(),
];

/// Words that mean something to some argument. `scratch` is memory that may be overwritten.
pub(super) fn words(scratch: u64) -> [u64; 40] {
    let end = world::memory_end();
    let reserved = world::start_info().reserved_ranges[0];
    [
        0,
        1,
        2,
        3,
        7,
        31,
        32,
        63,
        64,
        65,
        256,
        257,
        4095,
        4096 - 8,
        scratch,
        scratch + 8,
        scratch + 1,
        scratch + 64,
        scratch + 4096 - 8,
        scratch + 4096 - 64,
        end - 1,
        end - 8,
        end - 64,
        end,
        end + 8,
        end + 4096,
        end << 1,
        1 << 32,
        1 << 47,
        1 << 52,
        1 << 60,
        1 << 63,
        tables::WINDOW,
        reserved.start,
        reserved.start + (1 << 39),
        reserved.last,
        u64::MAX - 4095,
        u64::MAX - 63,
        u64::MAX - 7,
        u64::MAX,
    ]
}

pub(super) fn run() {
    unknown_ids();
    println!("calls: arguments");
    matrix();
    println!("calls: console");
    console();
    println!("calls: batches");
    batches();
    println!("calls: shared structures");
    registered::run();
}

fn unknown_ids() {
    let check_one = |id: u64| {
        let reply = call(CallId(id), &[u64::MAX; 6]);
        check(reply.status == -1, format_args!("id {id:#x}: status {}", reply.status));
    };
    for extension in 0..0x40u64 {
        for function in [9, 10, 31, 0x7fff, 0x8000, 0xffff] {
            check_one(extension << 16 | function);
        }
        if !(1..=7).contains(&extension) {
            (0..9).for_each(|function| check_one(extension << 16 | function));
        }
    }
    for id in CALLS {
        for bit in 23..64 {
            check_one(id.0 | 1 << bit);
        }
    }
    check_one(u64::MAX);
    check_one(i64::MIN as u64);
}

/// Each call with each word in each place, beside words that are good somewhere.
fn matrix() {
    let scratch = world::frames(4 * 4096, 4096) + 4096;
    let words = words(scratch);
    for id in CALLS {
        for place in 0..4 {
            for word in words {
                for other in [0, 1, scratch, u64::MAX] {
                    let mut arguments = [other; 6];
                    arguments[place] = word;
                    one(id, &arguments);
                }
            }
        }
        // Two wild ones.
        for first in words {
            for second in words {
                one(id, &[first, second, second, first, first, second]);
            }
        }
    }
    restore();
}

/// Makes a call that may change what this guest stands on, and puts that back.
fn one(id: CallId, arguments: &[u64]) {
    let reply = call(id, arguments);
    check_status(reply.status, format_args!("{:#x} with {arguments:x?}", id.0));
    let changes = id.0 >> 16 == Cpu::RegisterArea.id().0 >> 16;
    if changes && reply.status == 0 {
        register_again();
    }
    if id == Mmu::SetCommonSlots.id() && reply.status == 0 {
        let none = world::mark();
        let zero = world::frame();
        check(call(id, &[zero]).status == 0, format_args!("no common slots"));
        world::give_back(none);
    }
}

/// Ports, deadline, XCR0 as they were.
fn restore() {
    (1..64).for_each(events::unbind);
    events::set_deadline(u64::MAX);
    register_again();
    tables::load_base_root();
    tables::flush_everything();
    check(
        call(Event::RegisterPage.id(), &[events::page()]).status == 0,
        format_args!("the event page again"),
    );
}

/// Lengths and addresses of both directions. What is written is blanks, what could be read nobody types.
fn console() {
    let scratch = world::frames(4 * 4096, 4096) + 4096;
    for word in 0..512 {
        world::put(scratch + word * 8, 0x2020_2020_2020_2020);
    }
    for address in words(scratch) {
        for bytes in words(scratch) {
            let fits = address.checked_add(bytes).is_some_and(|end| end <= world::memory_end());
            for id in [Console::Write.id(), Console::Read.id()] {
                if fits && !(scratch..scratch + 4096).contains(&address) {
                    // Its own memory is the guest's to print or to overwrite; here it is not wanted.
                    continue;
                }
                let reply = call(id, &[address, bytes]);
                check_status(reply.status, format_args!("{:#x} of {address:#x} {bytes:#x}", id.0));
                check(
                    reply.status != 0 || reply.value <= bytes,
                    format_args!("{} of {bytes:#x}", reply.value),
                );
                check(fits || reply.status == -3, format_args!("{:#x} of {address:#x} {bytes:#x}", id.0));
            }
        }
    }
}

/// Writes a batch's entry.
fn entry(list: u64, index: u64, id: u64, arguments: [u64; 4]) {
    let at = list + index * 72;
    world::put(at, id);
    for (place, argument) in arguments.into_iter().enumerate() {
        world::put(at + 8 + place as u64 * 8, argument);
    }
    world::put(at + 56, 0x77);
    world::put(at + 64, 0x77);
}

fn status(list: u64, index: u64) -> i64 {
    world::get(list + index * 72 + 56) as i64
}

fn batches() {
    let list = world::frames(4 * 4096, 4096) + 4096;
    let batch = |list: u64, count: u64| call(Base::Batch.id(), &[list, count]);
    let end = world::memory_end();
    for (list, count, expected) in [
        (list, MAX_BATCH + 1, -2),
        (list, u64::MAX, -2),
        (list, 1 << 60, -2),
        (list + 4, 1, -3),
        (end - 64, 1, -3),
        (end, 1, -3),
        (u64::MAX - 7, 1, -3),
        (0, 1, -3),
        (!7, 64, -3),
    ] {
        let reply = batch(list, count);
        check(reply.status == expected, format_args!("batch {list:#x} {count:#x}: status {}", reply.status));
    }
    // What cannot stand in one.
    for id in [
        Base::Batch.id(),
        Cpu::Iret.id(),
        Sched::Shutdown.id(),
        Sched::Block.id(),
        CallId(0x7_0009),
        CallId(u64::MAX),
    ] {
        entry(list, 0, id.0, [list, 1, 0, 0]);
        entry(list, 1, Time::Clock.id().0, [0; 4]);
        let reply = batch(list, 2);
        check(reply.status == 0 && reply.value == 2, format_args!("a batch with {:#x}", id.0));
        check(
            matches!(status(list, 0), -2 | -1),
            format_args!("{:#x} in a batch: {}", id.0, status(list, 0)),
        );
        check(status(list, 1) == 0, format_args!("the one behind {:#x}", id.0));
    }
    // Each entry's answer is stored into the next entry's id and arguments: what comes is read when its turn is.
    for offset in (0..72).step_by(8) {
        for index in 0..63 {
            entry(list, index, Cpu::Cpuid.id().0, [0, 0, list + (index + 1) * 72 + offset, 0]);
        }
        entry(list, 63, Time::Clock.id().0, [0; 4]);
        let reply = batch(list, 64);
        check(
            reply.status == 0 && reply.value <= 64,
            format_args!("a batch that rewrites itself, offset {offset}"),
        );
    }
    // Roots and releases by turns; every long call there is; all of it over the page tables of a window.
    let other = tables::copy_of_base_root();
    for index in 0..64 {
        match index % 4 {
            0 => entry(
                list,
                index,
                Mmu::LoadRoot.id().0,
                [[other, tables::base_root()][index as usize / 4 % 2], index & 1, 0, 0],
            ),
            1 => entry(
                list,
                index,
                Mmu::ReleaseRoot.id().0,
                [[tables::base_root(), other][index as usize / 4 % 2], 0, 0, 0],
            ),
            2 => entry(list, index, Mmu::FlushAll.id().0, [0, u64::MAX, 1, 0]),
            _ => entry(list, index, Mmu::Populate.id().0, [world::boot().physical_map.0, u64::MAX, 0, 0]),
        }
    }
    let mut done = 0;
    for _ in 0..64 {
        let reply = batch(list + done * 72, 64 - done);
        check(reply.status == 0 && reply.value > 0, format_args!("a long batch makes progress"));
        done += reply.value;
        if done >= 64 {
            break;
        }
    }
    check(done == 64, format_args!("a long batch ends: {done}"));
    tables::load_base_root();
    call(Mmu::ReleaseRoot.id(), &[other]);
    let table = tables::entry(tables::base_root(), tables::WINDOW, 1) & tables::FRAME;
    for index in 0..56 {
        entry(table, index, Time::Clock.id().0, [u64::MAX; 4]);
    }
    check(batch(table, 56).value == 56, format_args!("a batch in a page table"));
    (0..512).for_each(|word| world::put(table + word * 8, 0));
    tables::flush_everything();
    // Everything that can be bound, sent and unbound in one go.
    for index in 0..64 {
        let id = [Event::Bind, Event::Send, Event::Unmask, Event::Unbind][index as usize % 4].id().0;
        let argument = if index % 4 == 0 { PortKind::Ipi as u64 } else { 1 };
        entry(list, index, id, [argument, 0, 0, 0]);
    }
    check(batch(list, 64).value == 64, format_args!("a batch of ports"));
    (1..64).for_each(events::unbind);
}
