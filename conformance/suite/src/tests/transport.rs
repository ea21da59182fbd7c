//! Behaviour: the hypercall page works wherever it is mapped, leaves no secrets in registers, and no call takes long.
//! Reason: kernels move it; what a hypervisor leaves behind is an address or somebody else's data; a call that takes
//! long is an interrupt that comes late.
//! Method: a second mapping, a look at `rcx`, `r11` and `rdx` behind each call, and the longest calls there are.

use crate::harness::Needs::Abi;
use crate::harness::abi::{call_and_look, call_at};
use crate::harness::tables::{self, map, window};
use crate::harness::{Report, Test, world};
use pvops_abi::addr::PhysAddr;
use pvops_abi::call::{Base, CALL_STUB_OFFSET, CallId, Console, Cpu, Event, Mmu, Sched, Time};
use pvops_abi::ops::irq;
use pvops_abi::ops::mmu::PageFlags;
use pvops_abi::ops::time::now_ns;

pub(super) const TESTS: &[Test] = &[
    Test { name: "transport.elsewhere", requirement_ids: &["CALL-002"], needs: Abi, run: elsewhere },
    Test { name: "transport.unspecified", requirement_ids: &["CALL-005"], needs: Abi, run: unspecified },
    Test { name: "transport.bounded", requirement_ids: &["CALL-008"], needs: Abi, run: bounded },
];

/// The longest that a call may take here. A bound of the suite's: the specification gives none, and machines differ.
const MOST_NS: u64 = 20_000_000;
/// Attempts, of which the best counts: a virtual machine may lose its processor meanwhile.
const ATTEMPTS: u32 = 4;

fn elsewhere(report: &mut Report) {
    let info = world::hypervisor();
    let (root, address) = (tables::base_root(), window());
    map(root, address, PhysAddr(info.hypercall_page_phys), PageFlags::PRESENT);
    let usual = call_at(info.hypercall_page_virt + CALL_STUB_OFFSET, Base::Version.id(), [0; 6]);
    let here = call_at(address.0 + CALL_STUB_OFFSET, Base::Version.id(), [0; 6]);
    report.equal("BASE.VERSION at another address", here, usual);
    let unknown = call_at(address.0 + CALL_STUB_OFFSET, CallId(u64::MAX), [0; 6]);
    report.equal("an unknown call", unknown.status, pvops_abi::error::Error::NotSupported.to_status());
}

/// Calls of each kind, those that fail among them.
fn some_calls() -> [(CallId, [u64; 6]); 14] {
    let page = world::frame().0;
    let id = |extension: u64, function: u64| CallId(extension << 16 | function);
    [
        (Base::Version.id(), [0; 6]),
        (Base::Batch.id(), [page, 0, 0, 0, 0, 0]),
        (Base::Batch.id(), [1, 65, 0, 0, 0, 0]),
        (id(0x7fff, 0), [1, 2, 3, 4, 5, 6]),
        (Cpu::Cpuid.id(), [0, 0, page, 0, 0, 0]),
        (Cpu::SetXcr0.id(), [0; 6]),
        (Event::Deliver.id(), [0; 6]),
        (Event::Send.id(), [4096, 0, 0, 0, 0, 0]),
        (Mmu::FlushAll.id(), [0, u64::MAX, 1, 0, 0, 0]),
        (Mmu::LoadRoot.id(), [1, 0, 0, 0, 0, 0]),
        (Mmu::Populate.id(), [0, 4, 0, 0, 0, 0]),
        (Time::Clock.id(), [0; 6]),
        (Console::Write.id(), [u64::MAX, 1, 0, 0, 0, 0]),
        (Sched::Yield.id(), [0; 6]),
    ]
}

/// Nothing that is left in a register is an address of the hypervisor's.
fn unspecified(report: &mut Report) {
    let info = world::hypervisor();
    let ranges = || info.reserved_ranges.iter().take(info.reserved_range_count as usize);
    let is_secret = |value: u64| ranges().any(|range| (range.start..=range.last).contains(&value));
    for (id, arguments) in some_calls() {
        let stub = info.hypercall_page_virt + CALL_STUB_OFFSET;
        let left = irq::without(|| call_and_look(stub, id, arguments));
        for (name, value) in [("rcx", left.rcx), ("r11", left.r11), ("rdx", left.value)] {
            if is_secret(value) {
                report.equal(name, value, 0);
            }
        }
        report.check(left.status <= 0, "a status is never positive");
    }
}

fn bounded(report: &mut Report) {
    const BYTES: u64 = 1 << 20;
    let memory = world::frames(BYTES, 4096).expect("memory to write from").0;
    let window = window().0;
    let everybody = [0, u64::MAX];
    let [mask, base] = everybody;
    let calls: [(&str, CallId, [u64; 6]); 7] = [
        ("MMU.FLUSH_RANGE of everything", Mmu::FlushRange.id(), [0, u64::MAX, mask, base, 0, 0]),
        ("MMU.FLUSH_RANGE of a gigabyte", Mmu::FlushRange.id(), [window, 1 << 30, mask, base, 0, 0]),
        ("MMU.FLUSH_ALL", Mmu::FlushAll.id(), [mask, base, 1, 0, 0, 0]),
        (
            "MMU.POPULATE of all memory",
            Mmu::Populate.id(),
            [world::boot().physical_map.0, 1 << 40, 0, 0, 0, 0],
        ),
        ("CONS.READ of a megabyte", Console::Read.id(), [memory, BYTES, 0, 0, 0, 0]),
        ("BASE.BATCH of unknown calls", Base::Batch.id(), [memory, 64, 0, 0, 0, 0]),
        ("SCHED.YIELD", Sched::Yield.id(), [0; 6]),
    ];
    let stub = world::hypervisor().hypercall_page_virt + CALL_STUB_OFFSET;
    let mut longest = 0;
    for (what, id, arguments) in calls {
        let took = (0..ATTEMPTS).map(|_| {
            let before = now_ns();
            call_at(stub, id, arguments);
            now_ns() - before
        });
        let best = took.min().unwrap_or(u64::MAX);
        report.check(best < MOST_NS, what);
        longest = longest.max(best);
    }
    report.remark(format_args!("at most {} us", longest / 1000));
}
