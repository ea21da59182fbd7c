//! Behaviour: accesses that the tables do not allow are page faults with the address and the error code that
//! hardware has.
//! Reason: demand paging and copy-on-write decide by them.
//! Method: an access of each kind to a page of each kind; natively the CPU itself answers.

use crate::harness::Needs::{Abi, Ops};
use crate::harness::faults::{FETCH, Fault, PAGE_FAULT, PRESENT, RESERVED, WRITE};
use crate::harness::tables::{self, DATA, flags, map, marked_frame, page, window};
use crate::harness::{Report, Test, faults, world};
use core::sync::atomic::Ordering;
use pvops_abi::addr::{PhysAddr, VirtAddr};
use pvops_abi::ops::cpu;
use pvops_abi::ops::mmu::{Entry, Level, PageFlags, Retain, mmu};

pub(super) const TESTS: &[Test] = &[
    Test { name: "mmu.not_present", requirement_ids: &["MMU-004", "CPU-007"], needs: Ops, run: not_present },
    Test {
        name: "mmu.read_only",
        requirement_ids: &["MMU-001", "MMU-004", "CPU-007"],
        needs: Ops,
        run: read_only,
    },
    Test { name: "mmu.no_execute", requirement_ids: &["MMU-001", "MMU-004"], needs: Ops, run: no_execute },
    Test { name: "mmu.upper_rights", requirement_ids: &["MMU-001"], needs: Ops, run: upper_rights },
    Test {
        name: "mmu.user_page_execution",
        requirement_ids: &["MMU-003"],
        needs: Ops,
        run: user_page_execution,
    },
    Test { name: "mmu.reserved_bits", requirement_ids: &["MMU-005"], needs: Ops, run: reserved_bits },
    Test { name: "mmu.partly_outside", requirement_ids: &["MMU-005"], needs: Abi, run: partly_outside },
    Test { name: "mmu.no_marks", requirement_ids: &["MMU-008"], needs: Abi, run: no_marks },
    Test { name: "mmu.frame_outside", requirement_ids: &["MMU-005"], needs: Abi, run: frame_outside },
    Test { name: "mmu.table_outside", requirement_ids: &["MMU-005"], needs: Abi, run: table_outside },
    Test {
        name: "mmu.reserved_range",
        requirement_ids: &["MMU-006", "BOOT-010"],
        needs: Abi,
        run: reserved_range,
    },
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

/// An access to a page behind a malformed entry.
fn malformed(report: &mut Report, what: &str, address: VirtAddr) {
    for (attempt, code) in [(faults::read(address).map(drop), 0), (faults::write(address, 1), WRITE)] {
        // The manual wants PRESENT too; QEMU 7.2 leaves it out.
        let natively = world::start_info().is_none();
        let present = if natively { PRESENT } else { 0 };
        let attempt = attempt.map_err(|fault| Fault { error_code: fault.error_code | present, ..fault });
        report.faults(what, attempt, PAGE_FAULT, PRESENT | RESERVED | code);
    }
}

/// Bits that the manual reserves: of the frame beyond any memory, of a large leaf's frame, and PS in a PML4 entry.
fn reserved_bits(report: &mut Report) {
    let (root, address) = (tables::new_root(), window());
    let slot = map(root, address, world::frame(), DATA);
    tables::load(root, Retain::Drop);
    if cpu::cpuid(0x8000_0008, 0).eax & 0xff <= 51 {
        mmu().set(slot, Entry::from_raw(mmu().read(slot).to_raw() | 1 << 51));
        malformed(report, "bit 51 of a frame", address);
    }
    let large = tables::slot(root, window(), Level::Pd, false);
    // Memory of the test's own: without the reserved bits there would be nothing wrong with the leaf.
    let Some(memory) = world::frames(2 << 20, 2 << 20) else {
        return report.error("no 2 MiB of free memory");
    };
    let leaf = mmu().leaf(Level::Pd, memory, DATA).to_raw();
    mmu().set(large, Entry::from_raw(leaf));
    report.works("the leaf without them", faults::read(large.address));
    for bit in [13, 20] {
        mmu().set(large, Entry::from_raw(leaf | 1 << bit));
        mmu().flush_page(large.address, tables::this_cpu());
        malformed(report, "a reserved bit of a large leaf", large.address);
    }
    let top = tables::slot(root, address, Level::Pml4, false);
    mmu().set(top, Entry::from_raw(mmu().read(top).to_raw() | 1 << 7));
    mmu().flush_range(address, 1 << 30, tables::this_cpu());
    malformed(report, "PS in a PML4 entry", address);
}

/// Of a leaf that reaches beyond memory, what is in memory can be used.
fn partly_outside(report: &mut Report) {
    const GIGABYTE: u64 = 1 << 30;
    let end = world::memory_end();
    if end.is_multiple_of(GIGABYTE) {
        return report.skip("memory ends at a multiple of 1 GiB");
    }
    let root = tables::new_root();
    // The second gigabyte of the slot: the first one's directory holds the other windows.
    let address = VirtAddr((window().0 & !(GIGABYTE - 1)) + GIGABYTE);
    let slot = tables::slot(root, address, Level::Pdpt, false);
    let start = end & !(GIGABYTE - 1);
    mmu().set(slot, mmu().leaf(Level::Pdpt, PhysAddr(start), DATA));
    tables::load(root, Retain::Drop);
    let frame = world::frame();
    if frame.0 >= start {
        let inside = VirtAddr(address.0 + (frame.0 - start));
        report.works("a write inside memory", faults::write(inside, 0x77));
        report.equal("what was written", world::word(frame).load(Ordering::Relaxed), 0x77);
    }
    malformed(report, "behind memory", VirtAddr(address.0 + (end - start)));
}

/// An access that is refused leaves no marks.
fn no_marks(report: &mut Report) {
    let address = window();
    let slot = map(base(), address, world::frame(), DATA - PageFlags::WRITABLE);
    report.faults("a write", faults::write(address, 1), PAGE_FAULT, PRESENT | WRITE);
    report.faults("a fetch", faults::execute(address), PAGE_FAULT, PRESENT | FETCH);
    let marks = PageFlags::ACCESSED | PageFlags::DIRTY;
    report.equal("marks", flags(slot) & marks, PageFlags::empty());
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
            for (attempt, code) in [
                (faults::read(VirtAddr(address)).map(drop), 0),
                (faults::write(VirtAddr(address), 0), WRITE),
                (faults::execute(VirtAddr(address)), FETCH),
            ] {
                let fault = report.faults("an access", attempt, PAGE_FAULT, code);
                report.equal("its address", fault.map(|fault| fault.address), Some(address));
            }
        }
    }
}
