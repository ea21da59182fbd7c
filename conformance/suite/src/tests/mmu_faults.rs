//! Behaviour: accesses that the tables do not allow are page faults with the address and the error code that
//! hardware has.
//! Reason: demand paging and copy-on-write decide by them.
//! Method: an access of each kind to a page of each kind; natively the CPU itself answers.

use crate::harness::Needs::{Abi, Ops};
use crate::harness::faults::{FETCH, Fault, PAGE_FAULT, PRESENT, RESERVED, WRITE};
use crate::harness::tables::{self, DATA, flags, map, marked_frame, page, window};
use crate::harness::{Report, Test, faults, world};
use pvops_abi::addr::{PhysAddr, VirtAddr};
use pvops_abi::ops::cpu;
use pvops_abi::ops::mmu::{Entry, Level, PageFlags, Retain, mmu};

pub(super) const TESTS: &[Test] = &[
    Test { name: "mmu.not_present", requirement_ids: &[], needs: Ops, run: not_present },
    Test { name: "mmu.read_only", requirement_ids: &[], needs: Ops, run: read_only },
    Test { name: "mmu.no_execute", requirement_ids: &[], needs: Ops, run: no_execute },
    Test { name: "mmu.upper_rights", requirement_ids: &[], needs: Ops, run: upper_rights },
    Test { name: "mmu.user_page_execution", requirement_ids: &[], needs: Ops, run: user_page_execution },
    Test { name: "mmu.reserved_bit", requirement_ids: &[], needs: Ops, run: reserved_bit },
    Test { name: "mmu.frame_outside", requirement_ids: &[], needs: Abi, run: frame_outside },
    Test { name: "mmu.table_outside", requirement_ids: &[], needs: Abi, run: table_outside },
    Test { name: "mmu.reserved_range", requirement_ids: &[], needs: Abi, run: reserved_range },
];

/// `ret`, eight times.
const RETURNS: u64 = 0xc3c3_c3c3_c3c3_c3c3;

fn base() -> PhysAddr {
    tables::base_root()
}

fn not_present(report: &mut Report) {
    let address = VirtAddr(window().0 + 0x123 * 8);
    for (what, attempt, code) in [
        ("a read", faults::read(address).map(drop), 0),
        ("a write", faults::write(address, 1), WRITE),
        ("a fetch", faults::execute(address), FETCH),
    ] {
        if let Some(fault) = report.faults(what, attempt, PAGE_FAULT, code) {
            report.equal(what, fault.address, address.0);
        }
    }
}

fn read_only(report: &mut Report) {
    let address = window();
    let slot = map(base(), address, marked_frame(0xa1), DATA - PageFlags::WRITABLE);
    let inside = VirtAddr(address.0 + 0x7f8);
    // Without and with a cached translation.
    for _ in 0..2 {
        if let Some(fault) = report.faults("a write", faults::write(inside, 1), PAGE_FAULT, PRESENT | WRITE) {
            report.equal("address", fault.address, inside.0);
        }
        report.equal("a read", faults::read(address).ok(), Some(0xa1));
    }
    report.check(!flags(slot).contains(PageFlags::DIRTY), "a write that faults leaves the page clean");
}

fn no_execute(report: &mut Report) {
    if cpu::cpuid(0x8000_0001, 0).edx >> 20 & 1 == 0 {
        report.skip("this CPU has no NX");
        return;
    }
    let address = window();
    let frame = marked_frame(RETURNS);
    map(base(), address, frame, DATA);
    map(base(), page(address, 1), frame, PageFlags::PRESENT);
    for _ in 0..2 {
        let attempt = faults::execute(address);
        if let Some(fault) = report.faults("a fetch with NX", attempt, PAGE_FAULT, PRESENT | FETCH) {
            report.equal("address and rip", (fault.address, fault.rip), (address.0, address.0));
        }
        report.equal("a read with NX", faults::read(address).ok(), Some(RETURNS));
        report.works("a fetch without NX", faults::execute(page(address, 1)));
    }
}

/// Rights are those of all levels together.
fn upper_rights(report: &mut Report) {
    let address = window();
    map(base(), address, marked_frame(RETURNS), PageFlags::PRESENT | PageFlags::WRITABLE);
    let above = tables::slot(base(), address, Level::Pd, false);
    let entry = mmu().read(above).to_raw();
    mmu().set(above, Entry::from_raw(entry & !PageFlags::WRITABLE.bits() | PageFlags::NO_EXECUTE.bits()));
    report.equal("a read", faults::read(address).ok(), Some(RETURNS));
    report.faults("a write", faults::write(address, 1), PAGE_FAULT, PRESENT | WRITE);
    report.faults("a fetch", faults::execute(address), PAGE_FAULT, PRESENT | FETCH);
}

fn user_page_execution(report: &mut Report) {
    let natively = world::start_info().is_none();
    if natively && cpu::cpuid(7, 0).ebx >> 7 & 1 == 0 {
        report.skip("this CPU has no SMEP");
        return;
    }
    // A root of its own: a page is user mode's only if the tables above it are too.
    let (root, address) = (tables::new_root(), window());
    map(root, address, marked_frame(RETURNS), PageFlags::PRESENT | PageFlags::USER);
    tables::load(root, Retain::Drop);
    for _ in 0..2 {
        let attempt = faults::execute(address);
        report.faults("the kernel runs a user page", attempt, PAGE_FAULT, PRESENT | FETCH);
        let value = cpu::with_user_access(|| faults::read(address));
        report.equal("the kernel reads a user page", value.ok(), Some(RETURNS));
    }
}

/// Bit 51 of the frame is beyond any memory here.
fn reserved_bit(report: &mut Report) {
    if cpu::cpuid(0x8000_0008, 0).eax & 0xff > 51 {
        report.skip("this CPU has no reserved frame bit");
        return;
    }
    let address = window();
    let slot = map(base(), address, world::frame(), DATA);
    let entry = mmu().read(slot).to_raw() | 1 << 51;
    mmu().set(slot, Entry::from_raw(entry));
    for (what, attempt, code) in
        [("a read", faults::read(address).map(drop), 0), ("a write", faults::write(address, 1), WRITE)]
    {
        // The manual wants PRESENT too; QEMU 7.2 leaves it out.
        let attempt = attempt.map_err(|fault| Fault { error_code: fault.error_code | PRESENT, ..fault });
        report.faults(what, attempt, PAGE_FAULT, PRESENT | RESERVED | code);
    }
}

fn frame_outside(report: &mut Report) {
    let address = window();
    for (index, frame) in [world::memory_end(), 1 << 40, 0x000f_ffff_ffff_f000].into_iter().enumerate() {
        let address = page(address, index as u64);
        map(base(), address, PhysAddr(frame), DATA);
        report.faults("a read", faults::read(address), PAGE_FAULT, PRESENT | RESERVED);
        report.faults("a write", faults::write(address, 1), PAGE_FAULT, PRESENT | RESERVED | WRITE);
    }
}

fn table_outside(report: &mut Report) {
    let address = window();
    let above = tables::slot(base(), address, Level::Pd, false);
    for table in [world::memory_end(), 1 << 40, 0x000f_ffff_ffff_f000] {
        mmu().set(above, mmu().table(PhysAddr(table), false));
        mmu().flush_page(address, tables::this_cpu());
        report.faults("a read", faults::read(address), PAGE_FAULT, PRESENT | RESERVED);
    }
    mmu().set(above, Entry::ABSENT);
}

/// What lies in the reserved ranges is not there for the guest, whatever its tables say.
fn reserved_range(report: &mut Report) {
    let info = world::hypervisor();
    for range in info.reserved_ranges.iter().take(info.reserved_range_count as usize) {
        let middle = range.start + (range.last - range.start) / 2;
        for address in [range.start, range.start + 0x1000, middle & !7, range.last & !7] {
            for attempt in [
                faults::read(VirtAddr(address)).map(drop),
                faults::write(VirtAddr(address), 0),
                faults::execute(VirtAddr(address)),
            ] {
                report.check(
                    attempt.is_err_and(|fault| fault.vector == PAGE_FAULT),
                    "an access is a page fault",
                );
                report.equal("its address", attempt.err().map(|fault| fault.address), Some(address));
            }
        }
    }
}
