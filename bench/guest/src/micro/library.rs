//! What a kernel pays that calls the library: the same in both worlds, through the table of operations.

use crate::measure::{Span, figure};
use crate::tables;
use core::arch::asm;
use pvops_abi::addr::{PhysAddr, VirtAddr};
use pvops_abi::ops::mmu::{Retain, mmu};
use pvops_abi::ops::{CpuSet, irq, time};

/// Reads the low half of the counter; what is called between two of these is not moved across them.
fn reading() -> u32 {
    let low: u32;
    // SAFETY: both worlds allow it.
    unsafe { asm!("rdtsc", out("eax") low, out("edx") _, options(nostack)) };
    low
}

/// These are measured from outside the inlined code, and not recorded.
const NO_MARK: u16 = 0;

/// Samples of `work`, and of nothing.
fn operation(name: &str, mut work: impl FnMut()) {
    let sample = |work: &mut dyn FnMut()| {
        let start = reading();
        work();
        reading().wrapping_sub(start)
    };
    let nothing = (0..9).map(|_| sample(&mut || {})).min().unwrap_or(0);
    figure(name, NO_MARK, Span::Whole, 1, |_| sample(&mut work).wrapping_sub(nothing));
}

pub(super) fn measure() {
    operation("library.irq.disable", irq::disable);
    operation("library.irq.save_restore", || irq::restore(irq::save_and_disable()));
    irq::disable();
    operation("library.time.now", || _ = time::now_ns());
    operation("library.time.set_deadline", || time::set_deadline(Some(u64::MAX / 2)));
    time::set_deadline(None);
    let page = tables::address(tables::Place::Window);
    operation("library.mmu.flush_page", || mmu().flush_page(VirtAddr(page), CpuSet::single(0)));
    let root = PhysAddr(tables::base_root());
    // SAFETY: the root that is loaded anyway.
    operation("library.mmu.load_root", || unsafe { mmu().load_root(root, Retain::Keep) });
}
