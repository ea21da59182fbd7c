//! Behaviour: segment bases, CPUID and extended state are the kernel's to read and, within bounds, to set.
//! Reason: threads and programs are switched by them; a wrong base or XCR0 reaches into somebody else's state.
//! Method: sets values and reads them back by the instructions themselves; tries every value that is out of bounds.

use crate::harness::Needs::{Abi, Ops};
use crate::harness::abi::{NOT_CANONICAL, call, refuses_bad_addresses};
use crate::harness::{Report, Test, world};
use core::arch::asm;
use core::sync::atomic::Ordering;
use pvops_abi::addr::PhysAddr;
use pvops_abi::call::{Cpu, SegmentBase};
use pvops_abi::error::Error;
use pvops_abi::ops::{self, cpu};

pub(super) const TESTS: &[Test] = &[
    Test { name: "cpu.user_bases", requirement_ids: &["CPU-010"], needs: Ops, run: user_bases },
    Test { name: "cpu.number", requirement_ids: &[], needs: Ops, run: number },
    Test { name: "cpu.cpuid", requirement_ids: &[], needs: Ops, run: cpuid },
    Test { name: "cpu.fpu", requirement_ids: &["CPU-011"], needs: Ops, run: fpu },
    Test { name: "cpu.segment_base", requirement_ids: &["CPU-010"], needs: Abi, run: segment_base },
    Test {
        name: "cpu.segment_base_errors",
        requirement_ids: &["ERR-002"],
        needs: Abi,
        run: segment_base_errors,
    },
    Test {
        name: "cpu.cpuid_errors",
        requirement_ids: &["GEN-003", "LAY-002"],
        needs: Abi,
        run: cpuid_errors,
    },
    Test { name: "cpu.cpuid_hides", requirement_ids: &["CPU-020"], needs: Abi, run: cpuid_hides },
    Test { name: "cpu.xcr0", requirement_ids: &["CPU-011"], needs: Abi, run: xcr0 },
    Test { name: "cpu.xcr0_errors", requirement_ids: &["ERR-001"], needs: Abi, run: xcr0_errors },
];

const BASES: [u64; 4] = [0, 0x1234_5678_9abc, 0x7fff_ffff_ffff, 0xffff_ffff_ffff_f000];

fn user_bases(report: &mut Report) {
    ops::irq::without(|| {
        let before = cpu::user_bases();
        for (fs, gs) in BASES.into_iter().zip(BASES.into_iter().rev()) {
            cpu::set_user_bases(fs, gs);
            report.equal("FS and GS base of user mode", cpu::user_bases(), (fs, gs));
        }
        cpu::set_user_bases(before.0, before.1);
    });
}

fn number(report: &mut Report) {
    report.equal("the boot CPU's number", cpu::current(), 0);
    report.check(ops::smp::cpu_count() >= 1, "CPUs are counted");
    report.equal("and as at boot", ops::smp::cpu_count(), world::boot().cpu_count);
}

fn cpuid(report: &mut Report) {
    report.check(cpu::cpuid(0, 0).eax >= 7, "basic leaves");
    report.check(cpu::cpuid(0x8000_0000, 0).eax >= 0x8000_0008, "extended leaves");
    report.check(cpu::cpuid(0x8000_0001, 0).edx >> 29 & 1 != 0, "long mode");
    report.equal("the same twice", cpu::cpuid(1, 0).eax, cpu::cpuid(1, 0).eax);
}

fn xgetbv() -> u64 {
    let (low, high): (u32, u32);
    // SAFETY: reads XCR0, which exists with OSXSAVE: callers checked, or the ABI promises it.
    unsafe { asm!("xgetbv", in("ecx") 0, out("eax") low, out("edx") high, options(nomem, nostack)) };
    u64::from(high) << 32 | u64::from(low)
}

fn fpu(report: &mut Report) {
    let info = cpu::fpu();
    report.check(info.area_bytes >= 512, "the area holds x87 and SSE state");
    let has_xsave = cpu::cpuid(1, 0).ecx >> 27 & 1 != 0;
    report.equal("OSXSAVE and components", has_xsave, info.components != 0);
    if has_xsave {
        report.check(info.components & 3 == 3, "x87 and SSE are enabled");
        report.equal("components and XCR0", info.components, xgetbv());
        report.check(info.area_bytes >= 512 + 64, "the area has a header");
    }
    report.remark(format_args!("{} bytes, components {:#x}", info.area_bytes, info.components));
}

fn set_base(which: u64, base: u64) -> pvops_abi::hyper::Reply {
    call(Cpu::SetSegmentBase.id(), &[which, base])
}

fn segment_base(report: &mut Report) {
    ops::irq::without(|| {
        let (fs_before, user_gs_before) = cpu::user_bases();
        let own = (&raw const world::BLOCK) as u64;
        for base in BASES {
            report.accepted("FS base", set_base(SegmentBase::Fs as u64, base));
            let now: u64;
            // SAFETY: reads the FS base; the ABI promises the instruction.
            unsafe { asm!("rdfsbase {0}", out(reg) now, options(nomem, nostack)) };
            report.equal("FS base read back", now, base);
            report.accepted("user GS base", set_base(SegmentBase::UserGs as u64, base));
            let user_gs = world::BLOCK.area.user_gs_base.load(Ordering::Relaxed);
            report.equal("user GS base in the area", user_gs, base);
            // Nothing between the two calls may use GS.
            let reply = set_base(SegmentBase::KernelGs as u64, base);
            let now: u64;
            // SAFETY: as above, for GS.
            unsafe { asm!("rdgsbase {0}", out(reg) now, options(nomem, nostack)) };
            let back = set_base(SegmentBase::KernelGs as u64, own);
            report.equal("kernel GS base", (reply.status, now, back.status), (0, base, 0));
            let in_area = world::BLOCK.area.kernel_gs_base.load(Ordering::Relaxed);
            report.equal("kernel GS base in the area", in_area, own);
        }
        cpu::set_user_bases(fs_before, user_gs_before);
    });
}

fn segment_base_errors(report: &mut Report) {
    for which in [3, 4, 1 << 32, u64::MAX] {
        report.refused(format_args!("base number {which:#x}"), set_base(which, 0), Error::InvalidArgument);
    }
    for which in 0..3 {
        for base in NOT_CANONICAL {
            let reply = set_base(which, base);
            report.refused(format_args!("base {which} at {base:#x}"), reply, Error::InvalidArgument);
        }
    }
}

fn cpuid_errors(report: &mut Report) {
    let page = world::frame().0;
    for (leaf, subleaf) in [(1 << 32, 0), (0, 1 << 32), (u64::MAX, 0), (0, u64::MAX)] {
        let reply = call(Cpu::Cpuid.id(), &[leaf, subleaf, page]);
        report.refused(format_args!("leaf {leaf:#x}, subleaf {subleaf:#x}"), reply, Error::InvalidArgument);
    }
    refuses_bad_addresses(report, "CPU.cpuid", (16, 4), |address| call(Cpu::Cpuid.id(), &[0, 0, address]));
    report.accepted("an unknown leaf", call(Cpu::Cpuid.id(), &[0xffff_fff0, 0, page]));
    let reply = call(Cpu::Cpuid.id(), &[0, 0, page]);
    report.accepted("leaf 0", reply);
    let word = world::word(PhysAddr(page)).load(Ordering::Relaxed);
    report.equal("its first register", word as u32, cpu::cpuid(0, 0).eax);
    report.equal("nothing behind the result", world::word(PhysAddr(page + 16)).load(Ordering::Relaxed), 0);
}

/// What deprivileged kernels cannot use must not be offered.
fn cpuid_hides(report: &mut Report) {
    let (basic, structured, amd) = (cpu::cpuid(1, 0), cpu::cpuid(7, 0), cpu::cpuid(0x8000_0001, 0));
    let hidden = [
        ("MONITOR", basic.ecx >> 3),
        ("VMX", basic.ecx >> 5),
        ("PCID", basic.ecx >> 17),
        ("x2APIC", basic.ecx >> 21),
        ("TSC deadline", basic.ecx >> 24),
        ("SMEP", structured.ebx >> 7),
        ("INVPCID", structured.ebx >> 10),
        ("SMAP", structured.ebx >> 20),
        ("UMIP", structured.ecx >> 2),
        ("PKU", structured.ecx >> 3),
        ("57-bit addresses", structured.ecx >> 16),
        ("SVM", amd.ecx >> 2),
        ("MCE", basic.edx >> 7),
        ("MTRR", basic.edx >> 12),
        ("MCA", basic.edx >> 14),
        ("shadow stacks", structured.ecx >> 7),
        ("indirect branch tracking", structured.edx >> 20),
    ];
    for (name, shifted) in hidden {
        report.check(shifted & 1 == 0, name);
    }
    let offered = u64::from(cpu::cpuid(0xd, 0).eax) | u64::from(cpu::cpuid(0xd, 0).edx) << 32;
    report.equal("components offered, and enabled at entry", offered, xgetbv());
    report.check(structured.ebx & 1 != 0, "FSGSBASE, which is promised, is shown");
}

fn area_bytes() -> u64 {
    call(Cpu::FpuAreaSize.id(), &[]).value
}

fn xcr0(report: &mut Report) {
    let (all, full) = (xgetbv(), area_bytes());
    report.equal("area size and the operations'", full, cpu::fpu().area_bytes as u64);
    for value in [1, 3, all] {
        report.accepted("XCR0", call(Cpu::SetXcr0.id(), &[value]));
        report.equal("XCR0 read back", xgetbv(), value);
        let bytes = area_bytes();
        report.check((512 + 64..=full).contains(&bytes), "the area shrinks with the components");
    }
    report.equal("area size in the end", area_bytes(), full);
}

fn xcr0_errors(report: &mut Report) {
    let before = xgetbv();
    let offered = u64::from(cpu::cpuid(0xd, 0).eax) | u64::from(cpu::cpuid(0xd, 0).edx) << 32;
    let absent = (0..64).map(|bit| 1 << bit).filter(|bit| bit & offered == 0).map(|bit| before | bit);
    let malformed = [0, 2, 4, 6, 5, 1 << 63 | 3, u64::MAX];
    for value in malformed.into_iter().chain(absent) {
        let reply = call(Cpu::SetXcr0.id(), &[value]);
        report.refused(format_args!("XCR0 {value:#x}"), reply, Error::InvalidArgument);
        report.equal("XCR0 after a refusal", xgetbv(), before);
    }
}
