//! Structures that guest and hypervisor share, registered in places where they hurt the guest most: its own page
//! tables, each other, pages that it then overwrites.

use super::random;
use crate::harness::attempt::{self, BOTH, DONE, Mode, code};
use crate::harness::{call, check, check_status, check_vector, events, register_again, tables, world};
use core::sync::atomic::Ordering;
use pvops_abi::call::{Cpu, Event};
use pvops_abi::layout::event::EVENT_PAGE_VERSION;
use pvops_abi::layout::vcpu_area::VCPU_AREA_VERSION;
use pvops_abi::layout::{PortKind, VcpuArea};

const AREA_BYTES: u64 = size_of::<VcpuArea>() as u64;

pub(super) fn run() {
    area_in_a_page_table();
    event_page_as_a_page_table();
    area_in_the_event_page();
    garbage_entries();
    garbage_while_events_fire();
}

/// A page's words for an area.
pub(super) fn put_area(at: u64) {
    world::put(at, AREA_BYTES | u64::from(VCPU_AREA_VERSION) << 32);
    world::put(at + 120, 0);
}

/// The hypervisor's stores change the entries of the page that the area is in; the guest faults there meanwhile.
fn area_in_a_page_table() {
    let address = tables::WINDOW + 11 * tables::SLOT_BYTES;
    let root = tables::base_root();
    let table = tables::entry(root, address, 1) & tables::FRAME;
    let read = code!("mov rax, [rdi]");
    for offset in [0, 64, 2048, 4096 - AREA_BYTES] {
        (0..512).for_each(|word| world::put(table + word * 8, world::memory_end() | 7));
        put_area(table + offset);
        let status = call(Cpu::RegisterArea.id(), &[table + offset]).status;
        check(status == 0, format_args!("an area in a page table: status {status}"));
        for page in 0..512 {
            let mut state = attempt::snippet(Mode::Kernel, read);
            state.rdi = address + page * 4096;
            check_vector(
                &attempt::run(&state),
                &[DONE, 14],
                format_args!("page {page} of a table with an area"),
            );
        }
        register_again();
    }
    // And in the root itself, in entries that map nothing of ours.
    let other = tables::copy_of_base_root();
    let at = other + 32 * 8 * 2;
    put_area(at);
    check(tables::load(other, 0) == 0, format_args!("the root"));
    check(call(Cpu::RegisterArea.id(), &[at]).status == 0, format_args!("an area in the root"));
    for slot in 64..80 {
        let mut state = attempt::snippet(Mode::Kernel, read);
        state.rdi = slot * tables::SLOT_BYTES;
        check_vector(&attempt::run(&state), &[DONE, 14], format_args!("slot {slot} of a root with an area"));
    }
    register_again();
    tables::load_base_root();
    (0..512).for_each(|word| world::put(table + word * 8, 0));
    tables::flush_everything();
}

/// Bind, send and unmask set and clear bits of entries.
fn event_page_as_a_page_table() {
    let address = tables::WINDOW + 12 * tables::SLOT_BYTES;
    let root = tables::base_root();
    let table = tables::entry(root, address, 1) & tables::FRAME;
    world::put(table, 4096 | u64::from(EVENT_PAGE_VERSION) << 32);
    for word in 8..136 {
        world::put(table + word * 8, world::frame() | tables::P | tables::W | tables::U);
    }
    check(
        call(Event::RegisterPage.id(), &[table]).status == 0,
        format_args!("an event page that is a table"),
    );
    for round in 0..8u64 {
        let ports: [u64; 63] = core::array::from_fn(|_| events::bind(PortKind::Ipi));
        for port in ports {
            call(Event::Send.id(), &[port]);
        }
        for word in 8..136 {
            let mut state = attempt::snippet(BOTH[round as usize % 2], code!("mov rax, [rdi]"));
            state.rdi = address + word * 4096;
            // The first word of each array has the bits of these ports.
            check_vector(&attempt::run(&state), &[DONE, 14], format_args!("entry {word} of an event page"));
        }
        ports.into_iter().for_each(events::unbind);
        tables::flush(address + 8 * 4096);
    }
    restore_event_page();
    (0..512).for_each(|word| world::put(table + word * 8, 0));
    tables::flush_everything();
}

fn restore_event_page() {
    let page = events::page();
    (0..512).for_each(|word| world::put(page + word * 8, 0));
    world::put(page, 4096 | u64::from(EVENT_PAGE_VERSION) << 32);
    (72..136).for_each(|word| world::put(page + word * 8, u64::MAX));
    check(call(Event::RegisterPage.id(), &[page]).status == 0, format_args!("the event page again"));
}

/// Area and pending words are the same memory.
fn area_in_the_event_page() {
    let page = events::page();
    for offset in [64, 128, 512, 576, 960] {
        put_area(page + offset);
        check(
            call(Cpu::RegisterArea.id(), &[page + offset]).status == 0,
            format_args!("an area in the event page"),
        );
        // The flag and the pending byte may be ports now; an upcall that is always pending would never end.
        call(Cpu::SetEntries.id(), &[0, 0]);
        for _ in 0..70 {
            let port = events::bind(PortKind::Ipi);
            check_status(call(Event::Send.id(), &[port]).status, format_args!("send to port {port}"));
            call(Event::Unmask.id(), &[port]);
        }
        (1..64).for_each(events::unbind);
        register_again();
        restore_event_page();
    }
}

/// Entries that are refused, and such as nobody can refuse: the gate of one vector, not taken here.
fn garbage_entries() {
    let reserved = world::start_info().reserved_ranges[0];
    for entry in
        [1 << 47, 1 << 63, reserved.start, reserved.last, reserved.start + 0x1000, 0xffff_7fff_ffff_ffff]
    {
        for pair in [[entry, 0], [0, entry], [entry, entry]] {
            check(call(Cpu::SetEntries.id(), &pair).status == -2, format_args!("entries {pair:x?}"));
        }
        check(call(Cpu::SetDoubleFaultStack.id(), &[entry]).status == -2, format_args!("stack {entry:#x}"));
    }
    // A system-call entry at nothing: the fetch faults in kernel mode.
    for entry in [tables::WINDOW, attempt::USER_CODE] {
        check(call(Cpu::SetEntries.id(), &[0, entry]).status == 0, format_args!("entry {entry:#x}"));
        let trap = attempt::run(&attempt::snippet(Mode::User, code!("syscall")));
        check(
            trap.vector == 14 && !trap.is_user(),
            format_args!("a system call to {entry:#x}: {}", trap.vector),
        );
        register_again();
    }
    // An event entry there.
    let port = events::bind(PortKind::Ipi);
    check(call(Cpu::SetEntries.id(), &[tables::WINDOW, 0]).status == 0, format_args!("an event entry"));
    call(Event::Send.id(), &[port]);
    let mut state = attempt::snippet(Mode::Kernel, code!("2: pause", "jmp 2b"));
    state.rflags = 1 << 9 | 2;
    check_vector(&attempt::run(&state), &[14], format_args!("an upcall to nothing"));
    register_again();
    events::unbind(port);
    // A trap table that cannot be: then one that is in the last bytes of memory, and one over the area.
    let end = world::memory_end();
    for (table, gates, expected) in [
        (end - 4096 + 16, 256, -3),
        (end - 512, 32, 0),
        (end - 496, 32, -3),
        (u64::MAX - 15, 32, -3),
        (0, 32, -3),
    ] {
        let status = call(Cpu::SetTrapTable.id(), &[table, gates]).status;
        register_again();
        check(status == expected, format_args!("a table at {table:#x}: status {status}"));
    }
}

/// Every word of area and event page but the GS base, while deadlines and sends fire.
fn garbage_while_events_fire() {
    let area = &world::BLOCK.area;
    let at = world::image_phys((&raw const world::BLOCK.area) as u64);
    let timer = events::bind(PortKind::Timer);
    let own = events::bind(PortKind::Ipi);
    let kept = area.kernel_gs_base.load(Ordering::SeqCst);
    let mut seed = 0xfeed_f00d_dead_beef;
    let before = events::count();
    for round in 0..4000u64 {
        let garbage = random::next(&mut seed);
        for offset in [8, 16, 24, 40, 48, 56, 64, 72, 80, 88, 96, 104, 112, 120] {
            world::put(at + offset, garbage.rotate_left(offset as u32));
        }
        world::put(at, garbage & 0xff_ffff_ffff_ffff);
        world::put(events::page() + garbage % 512 * 8, garbage);
        events::set_deadline([0, events::now_ns() + 1000, garbage, u64::MAX][round as usize % 4]);
        check_status(call(Event::Send.id(), &[own]).status, format_args!("send among garbage"));
        check_status(call(Event::Unmask.id(), &[own]).status, format_args!("unmask among garbage"));
        check_status(call(Event::Unmask.id(), &[timer]).status, format_args!("unmask among garbage"));
        events::enable(round % 3 == 0);
        events::enable(false);
    }
    check(events::count() > before, format_args!("some events arrived"));
    put_area(at);
    area.kernel_gs_base.store(kept, Ordering::SeqCst);
    attempt::set_entry_stack(attempt::ENTRY_STACK);
    events::set_deadline(u64::MAX);
    events::unbind(timer);
    events::unbind(own);
    register_again();
    restore_event_page();
}
