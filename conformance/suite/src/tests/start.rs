//! Behaviour: what a kernel is told at entry is complete and consistent.
//! Reason: everything a kernel does rests on it, and no other call can repair it.
//! Method: checks the boot context in every world, and `StartInfo` field by field under a hypervisor.

use crate::harness::Needs::{Abi, Ops};
use crate::harness::abi::call;
use crate::harness::{Report, Test, world};
use core::sync::atomic::Ordering;
use pvops_abi::addr::{PAGE_SIZE, PhysAddr};
use pvops_abi::call::{Base, CALL_STUB_OFFSET, Console, Extension, IRET_STUB_OFFSET};
use pvops_abi::error::Error;
use pvops_abi::layout::start_info::{ExecutionMode, MAX_RESERVED_RANGES, START_INFO_MAGIC};
use pvops_abi::layout::{MemoryKind, StartInfo};
use pvops_abi::version::{AbiVersion, CURRENT};

pub(super) const TESTS: &[Test] = &[
    Test { name: "start.memory_map", requirement_ids: &["BOOT-003"], needs: Ops, run: memory_map },
    Test { name: "start.stack", requirement_ids: &["BOOT-006"], needs: Ops, run: stack },
    Test {
        name: "start.info",
        requirement_ids: &["VER-001", "BASE-001", "SMP-001", "VER-004"],
        needs: Abi,
        run: info,
    },
    Test { name: "start.hypercall_page", requirement_ids: &["CALL-001"], needs: Abi, run: hypercall_page },
    Test { name: "start.reserved_ranges", requirement_ids: &["BOOT-009"], needs: Abi, run: reserved_ranges },
    Test { name: "start.not_memory", requirement_ids: &["GEN-003"], needs: Abi, run: not_memory },
];

fn memory_map(report: &mut Report) {
    let regions = world::boot().regions();
    let aligned = |value: u64| value.is_multiple_of(PAGE_SIZE);
    report.check(
        regions.iter().all(|r| aligned(r.start.0) && aligned(r.bytes)),
        "bounds are multiples of 4096",
    );
    report.check(regions.iter().all(|r| r.bytes > 0), "no region is empty");
    let in_order = regions.windows(2).all(|pair| pair[0].start.0 + pair[0].bytes <= pair[1].start.0);
    report.check(in_order, "regions are sorted and do not overlap");
    let bytes = |kind| regions.iter().filter(|r| r.kind == kind).map(|r| r.bytes).sum::<u64>();
    report
        .check(regions.iter().all(|r| r.kind != MemoryKind::Usable || r.start.0 > 0), "page 0 is not usable");
    report.check(bytes(MemoryKind::Usable) >= 1 << 20, "some memory is free");
    report.check(bytes(MemoryKind::Kernel) > 0, "the kernel's own memory is in the map");
    report.remark(format_args!("{} KiB free", bytes(MemoryKind::Usable) >> 10));
}

fn stack(report: &mut Report) {
    let (base, bytes) = (world::boot().boot_stack.0, world::boot().boot_stack_bytes);
    let here = (&raw const base) as u64;
    report.check((base..base + bytes).contains(&here), "we run on the boot stack");
    let image = world::boot().kernel_start.0..world::boot().kernel_start.0 + world::boot().kernel_bytes;
    report.check(image.contains(&(stack as *const () as u64)), "we run in the kernel image");
}

fn info(report: &mut Report) {
    let info = world::hypervisor();
    report.equal("magic", info.magic, START_INFO_MAGIC);
    report.check(info.size as usize >= size_of::<StartInfo>(), "the size covers this version");
    report.check(info.version >= 1, "a version");
    report.equal("reserved field", info.reserved, 0);
    let agreed = AbiVersion::from_bits(info.abi_version);
    report.check(agreed.satisfies(CURRENT), "the ABI version serves the one we ask for");
    report.check(info.implementation != 0, "an implementation id");
    report.equal("execution mode", info.execution_mode, ExecutionMode::Deprivileged as u32);
    report.check(info.vcpu_count >= 1, "at least one vCPU");
    let has_smp = call(Base::Probe.id(), &[Extension::Smp as u64]).value != 0;
    report.check(has_smp || info.vcpu_count == 1, "one vCPU without SMP");
    report.check(info.tsc_hz > 1_000_000, "a counter frequency");
    let aligned =
        [info.boot_root, info.kernel_phys, info.kernel_virt, info.physical_map, info.boot_stack_base];
    report.check(aligned.iter().all(|value| value.is_multiple_of(PAGE_SIZE)), "page alignment");
    let selectors = info.selectors;
    report.equal("kernel cs, virtual privilege", selectors.kernel_cs & 3, 0);
    report.equal("user cs, virtual privilege", selectors.user_cs & 3, 3);
    report.check(selectors.kernel_ss & 3 == 0 && selectors.user_ss & 3 == 3, "the same for ss");
}

fn hypercall_page(report: &mut Report) {
    const ENDBR64: u64 = 0xfa1e_0ff3;
    let info = world::hypervisor();
    report.check(info.hypercall_page_virt.is_multiple_of(PAGE_SIZE), "page alignment");
    for (what, offset) in [("call stub", CALL_STUB_OFFSET), ("iret stub", IRET_STUB_OFFSET)] {
        let code = world::word(PhysAddr(info.hypercall_page_phys + offset)).load(Ordering::Relaxed);
        report.equal(what, code & 0xffff_ffff, ENDBR64);
    }
    let region = world::boot().regions().iter().find(|region| region.start.0 == info.hypercall_page_phys);
    report.check(region.is_some_and(|r| r.kind == MemoryKind::HypercallPage), "it is in the memory map");
}

fn reserved_ranges(report: &mut Report) {
    let info = world::hypervisor();
    report.check(info.usable_range.start < info.usable_range.last, "a usable range");
    let count = info.reserved_range_count as usize;
    report.check(count <= MAX_RESERVED_RANGES, "the count fits");
    let image = (info.kernel_virt, info.kernel_virt + (info.kernel_bytes - 1));
    for range in info.reserved_ranges.iter().take(count) {
        report.check(range.start <= range.last, "a range is not empty");
        report.check(range.start > image.1 || image.0 > range.last, "the image is outside");
        let page = info.hypercall_page_virt;
        report.check(!(range.start..=range.last).contains(&page), "the hypercall page is outside");
    }
}

/// What the map does not call the domain's memory is none for calls either.
fn not_memory(report: &mut Report) {
    let regions = world::boot().regions();
    for region in regions.iter().filter(|r| matches!(r.kind, MemoryKind::Reserved | MemoryKind::Device)) {
        let reply = call(Console::Read.id(), &[region.start.0, 1]);
        report.refused(
            format_args!("{:#x}, which is {:?}", region.start.0, region.kind),
            reply,
            Error::BadAddress,
        );
    }
    let reply = call(Console::Read.id(), &[world::memory_end() + PAGE_SIZE, 0]);
    report.refused(format_args!("an empty range behind memory"), reply, Error::BadAddress);
}
