//! Behaviour: registrations of the vCPU area, the trap table, entries and stacks are checked when they are made.
//! Reason: what is registered is used at the worst time, in the middle of a trap.
//! Method: everything that is out of bounds for each call; afterwards the right ones are registered again.

use crate::harness::Needs::Abi;
use crate::harness::abi::{self, bad_virtual_addresses, call, refuses_bad_addresses};
use crate::harness::{Report, Test, events, world};
use core::mem::offset_of;
use core::sync::atomic::Ordering;
use pvops_abi::addr::{PAGE_SIZE, PhysAddr};
use pvops_abi::call::{Cpu, Event};
use pvops_abi::error::Error;
use pvops_abi::layout::VcpuArea;
use pvops_abi::layout::vcpu_area::VCPU_AREA_VERSION;
use pvops_abi::ops;
use pvops_abi::ops::event;

pub(super) const TESTS: &[Test] = &[
    Test { name: "cpu.area", requirement_ids: &["CPU-015"], needs: Abi, run: area },
    Test {
        name: "cpu.area_replaced",
        requirement_ids: &["CPU-015", "CPU-016", "VER-004", "LAY-002"],
        needs: Abi,
        run: area_replaced,
    },
    Test { name: "cpu.area_addresses", requirement_ids: &["GEN-003"], needs: Abi, run: area_addresses },
    Test {
        name: "cpu.area_contents",
        requirement_ids: &["GEN-001", "VER-005", "ERR-001"],
        needs: Abi,
        run: area_contents,
    },
    Test {
        name: "cpu.trap_table_errors",
        requirement_ids: &["GEN-003", "ERR-002"],
        needs: Abi,
        run: trap_table_errors,
    },
    Test { name: "cpu.entries_errors", requirement_ids: &["ERR-001"], needs: Abi, run: entries_errors },
    Test {
        name: "cpu.double_fault_stack_errors",
        requirement_ids: &[],
        needs: Abi,
        run: double_fault_errors,
    },
];

/// Tries registrations with events masked, and puts the right ones back.
fn trying(work: impl FnOnce()) {
    ops::irq::disable();
    work();
    abi::register_again();
}

fn area(report: &mut Report) {
    let area = &world::BLOCK.area;
    report.equal("number of the vCPU", area.vcpu.load(Ordering::Relaxed), 0);
    report.equal("time sequence is even", area.time_sequence.load(Ordering::Relaxed) & 1, 0);
    report.check(area.time_mul.load(Ordering::Relaxed) != 0, "the clock's parameters are there");
    report.equal("reserved field", area.reserved, 0);
    let own = (&raw const world::BLOCK) as u64;
    report.equal("kernel GS base", area.kernel_gs_base.load(Ordering::Relaxed), own);
}

/// A new area takes over: what was pending in the old one may not be lost.
fn area_replaced(report: &mut Report) {
    const KERNEL_STACK: u64 = 0x1234_5670;
    const BEHIND: u64 = 0x7777_7777_7777_7777;
    let page = world::frame().0;
    let word = |offset: usize| world::word(PhysAddr(page + offset as u64)).load(Ordering::Relaxed);
    put_header(page, size_of::<VcpuArea>() as u64, VCPU_AREA_VERSION.into());
    world::word(PhysAddr(page + offset_of!(VcpuArea, kernel_stack) as u64))
        .store(KERNEL_STACK, Ordering::Relaxed);
    world::word(PhysAddr(page + size_of::<VcpuArea>() as u64)).store(BEHIND, Ordering::Relaxed);
    trying(|| {
        report.accepted("another area", call(Cpu::RegisterArea.id(), &[page]));
        report.equal("selector", word(offset_of!(VcpuArea, selector)), u64::MAX);
        report.equal("events_pending", word(0) >> 56, 1);
        report.equal("vcpu, and an even time_sequence", word(offset_of!(VcpuArea, vcpu)) & 0x1_ffff_ffff, 0);
        report.check(word(offset_of!(VcpuArea, time_mul)) != 0, "the clock's parameters");
        report.equal("kernel_stack is left alone", word(offset_of!(VcpuArea, kernel_stack)), KERNEL_STACK);
        // Nothing is used beyond the size: these would be fields of a larger edition's.
        call(Event::Deliver.id(), &[]);
        report.equal("the word behind the area", word(size_of::<VcpuArea>()), BEHIND);
    });
}

fn area_addresses(report: &mut Report) {
    const BYTES: u64 = size_of::<VcpuArea>() as u64;
    let pages = world::frames(2 * PAGE_SIZE, PAGE_SIZE).expect("memory for an area").0;
    trying(|| {
        let register = |address| call(Cpu::RegisterArea.id(), &[address]);
        refuses_bad_addresses(report, "CPU.register_area", (BYTES, 64), register);
        let across = pages + PAGE_SIZE - BYTES / 2;
        put_header(across, BYTES, VCPU_AREA_VERSION.into());
        report.refused(format_args!("an area across two pages"), register(across), Error::BadAddress);
    });
}

fn put_header(address: u64, size: u64, version: u64) {
    world::word(PhysAddr(address)).store(size | version << 32, Ordering::Relaxed);
}

fn area_contents(report: &mut Report) {
    const BYTES: u64 = size_of::<VcpuArea>() as u64;
    trying(|| {
        for (size, version) in [(0, 1), (BYTES - 8, 1), (BYTES, 0), (0xffff_ffff, 0xffff)] {
            let page = world::frame().0;
            put_header(page, size, version);
            let reply = call(Cpu::RegisterArea.id(), &[page]);
            report.refused(format_args!("size {size}, version {version}"), reply, Error::InvalidArgument);
        }
        let page = world::frame().0;
        put_header(page, BYTES, VCPU_AREA_VERSION.into());
        world::word(PhysAddr(page + BYTES - 8)).store(1, Ordering::Relaxed);
        let reply = call(Cpu::RegisterArea.id(), &[page]);
        report.refused(format_args!("a reserved field that is not zero"), reply, Error::InvalidArgument);
    });
}

fn trap_table_errors(report: &mut Report) {
    let page = world::frame().0;
    trying(|| {
        for count in [0, 1, 31, 257, 1 << 32 | 32, 1 << 60 | 32, u64::MAX] {
            let reply = call(Cpu::SetTrapTable.id(), &[page, count]);
            report.refused(format_args!("{count:#x} gates"), reply, Error::InvalidArgument);
        }
        let register = |address| call(Cpu::SetTrapTable.id(), &[address, 32]);
        refuses_bad_addresses(report, "CPU.set_trap_table", (32 * 16, 16), register);
        report.accepted("the smallest table", register(page));
    });
}

fn entries_errors(report: &mut Report) {
    let good = entries_errors as *const () as u64;
    trying(|| {
        for bad in bad_virtual_addresses() {
            let reply = call(Cpu::SetEntries.id(), &[bad, good]);
            report.refused(format_args!("event entry {bad:#x}"), reply, Error::InvalidArgument);
            let reply = call(Cpu::SetEntries.id(), &[good, bad]);
            report.refused(format_args!("system-call entry {bad:#x}"), reply, Error::InvalidArgument);
        }
        event_entry_is_ours(report);
        report.accepted("no entries", call(Cpu::SetEntries.id(), &[0, 0]));
    });
}

fn double_fault_errors(report: &mut Report) {
    let stack = world::boot().boot_stack.0;
    trying(|| {
        let misaligned = [stack + 8, stack + 1, stack + 15];
        for bad in bad_virtual_addresses().chain(misaligned) {
            let reply = call(Cpu::SetDoubleFaultStack.id(), &[bad]);
            report.refused(format_args!("stack {bad:#x}"), reply, Error::InvalidArgument);
        }
        report.accepted("no stack", call(Cpu::SetDoubleFaultStack.id(), &[0]));
    });
}

/// An event reaches the suite's own entry, and not one of a refused registration.
fn event_entry_is_ours(report: &mut Report) {
    let Ok(port) = events::bind_own() else { return report.error("no port") };
    event::unmask(port);
    event::send(port);
    ops::irq::enable();
    report.check(events::await_deliveries(port, 1), "an event reaches the entry from before");
    ops::irq::disable();
}
