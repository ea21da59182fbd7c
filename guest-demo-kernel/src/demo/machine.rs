//! The machine as the kernel sees it.

use crate::console;
use crate::cpu;
use crate::memory::frames;
use crate::report::Report;
use pvops_abi::ops;

pub(super) fn run(report: &mut Report) {
    // Exercises `cpu::code_segment`: the true ring, by the CPU's own word.
    report.measured("code_segment_ring", u64::from(ops::cpu::code_segment() & 3), "ring");
    report.measured("cpus", ops::smp::cpu_count() as u64, "CPUs");
    report.measured("memory", frames::total() as u64 * 4, "KiB");
    // Exercises `cpu::cpuid` and `cpu::fpu`.
    report.check("cpuid names a vendor", ops::cpu::cpuid(0, 0).ebx != 0);
    report.check("x87 and SSE state can be kept", ops::cpu::fpu().area_bytes >= 512);
    let own = core::ptr::from_ref(&cpu::current().block);
    report.check("the CPU's block is the one it was given", core::ptr::eq(ops::cpu::block(), own));
    // Exercises `console::write` with more than fits into any buffer at once.
    console::print(format_args!("{:->100}\n", " a long line, in pieces, must arrive whole "));
}
