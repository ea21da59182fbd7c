//! Going back to an address space that was loaded before costs no fault that the kernel does not see.

use super::programs;
use crate::arch::raw;
use crate::cpu;
use crate::memory::kernel_space;
use crate::process;
use crate::process::address_space::{Access, AddressSpace};
use crate::report::Report;
use crate::threads;
use demo_programs::{FAILED, Program};
use pvops_abi::addr::PAGE_SIZE;
use pvops_abi::ops::mmu::Retain;

/// Exercises `mmu::load_root` with roots to keep: by the kernel, then by two programs that yield to each other.
pub(super) fn run(report: &mut Report) {
    let by_kernel = switch_in_kernel(report);
    let by_programs = switch_by_programs();
    report.check("the programs ran", by_programs != FAILED);
    report.expect("known_root_hidden_faults", by_kernel.saturating_add(by_programs), 0);
}

fn switch_in_kernel(report: &mut Report) -> u64 {
    const TIMES: usize = 64;
    let mut spaces = [(), ()].map(|()| AddressSpace::new().expect("memory for an address space"));
    let pages = [0, 1].map(|index| page_of(&mut spaces[index], index as u8));
    let mut wrong = 0;
    let mut visit_both = || {
        for (index, page) in pages.into_iter().enumerate() {
            threads::adopt_root(spaces[index].root, Retain::Keep);
            let mut byte = [0];
            raw::copy_from_user(page, &mut byte);
            wrong += u64::from(usize::from(byte[0]) != index);
        }
    };
    (0..4).for_each(|_| visit_both());
    let before = cpu::hidden_faults();
    (0..TIMES).for_each(|_| visit_both());
    let taken = cpu::hidden_faults() - before;
    threads::adopt_root(kernel_space::root(), Retain::Keep);
    report.expect("root_switches_wrong", wrong, 0);
    taken
}

/// A page at the same address in each space, holding `mark`.
fn page_of(space: &mut AddressSpace, mark: u8) -> u64 {
    threads::adopt_root(space.root, Retain::Drop);
    let page = space.grow(PAGE_SIZE).expect("room in a new heap");
    space.prepare(page, 1, Access::Write).expect("memory for a page");
    raw::copy_to_user(page, &[mark]);
    page
}

fn switch_by_programs() -> u64 {
    let both = [(), ()].map(|()| programs::start(Program::Yielder, 128));
    both.map(|process| process::wait(&process)).into_iter().fold(0, u64::saturating_add)
}
