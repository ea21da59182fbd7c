//! What of the kernel user mode can see: nothing.

use super::programs;
use crate::memory::kernel_space;
use crate::memory::tables::Leaf;
use crate::process;
use crate::report::Report;
use alloc::vec::Vec;
use demo_programs::{FAILED, Program};
use pvops_abi::addr::PAGE_SIZE;
use pvops_abi::layout::start_info::VirtRange;
use pvops_abi::ops::mmu::mmu;
use spin::Once;

/// All pages of a run of neighbours up to here are tried; of longer runs, some.
const DENSE_PAGES: u64 = 256;
/// Then every so-manieth, no power of two, so that they fall differently into larger tables.
const SPARSE_STEP: u64 = 509;

static ADDRESSES: Once<Vec<u64>> = Once::new();

pub(super) fn run(report: &mut Report) {
    let status = process::wait(&programs::start(Program::Intruder, 0));
    report.check("the intruder could read its own memory", status != FAILED);
    report.measured("kernel_addresses_tried", status >> 32, "addresses");
    report.expect("user_view_kernel_pages", status & 0xffff_ffff, 0);
}

/// The kernel's addresses, one by one: of the image, the physical map, stacks and what backends required; then
/// some of those that the environment reserved for itself.
pub(crate) fn kernel_address(index: usize) -> Option<u64> {
    ADDRESSES.call_once(collect).get(index).copied()
}

fn collect() -> Vec<u64> {
    let mut addresses = Vec::new();
    let (mut run_start, mut next) = (0, 0);
    kernel_space::visit_pages(&mut |Leaf { slot, .. }| {
        let (start, bytes) = (slot.address.0, slot.level.entry_bytes());
        if start != next {
            run_start = start;
        }
        next = start.wrapping_add(bytes);
        let page = start.wrapping_sub(run_start) / PAGE_SIZE;
        if bytes > PAGE_SIZE {
            // A large leaf: its ends and something between them.
            addresses.extend([start, start + bytes / 2 + 8, start + (bytes - 1)]);
        } else if page < DENSE_PAGES || page.is_multiple_of(SPARSE_STEP) {
            addresses.push(start);
        }
    });
    mmu().reserved_ranges().iter().for_each(|range| addresses.extend(reserved_addresses(range)));
    addresses
}

/// First pages of a reserved range, ever sparser ones, and its end. Exercises `mmu::reserved_ranges`.
fn reserved_addresses(range: &VirtRange) -> impl Iterator<Item = u64> {
    let (start, bytes) = (range.start, range.last - range.start);
    let near = (0..64).map(|page| page * PAGE_SIZE);
    let far = (18..64).map(|bit| 1 << bit);
    near.chain(far)
        .take_while(move |offset| *offset <= bytes)
        .map(move |offset| start + offset)
        .chain([range.last])
}
