//! Switching to another root whose translations are cached: two that alternate, and 64 in a circle.

use super::Mark;
use crate::measure::{Span, figure, timed};
use crate::tables;
use crate::world;
use pvops_abi::addr::PhysAddr;
use pvops_abi::call::Mmu;
use pvops_abi::layout::LoadRootFlags;
use pvops_abi::ops::mmu::{Level, mmu};

/// Loads a root as the raw world does it, keeping what is cached.
macro_rules! load {
    ($mark:expr, $root:expr) => {
        match world::start_info() {
            Some(_) => timed!(
                $mark,
                [0, 0, $root, 0, 0, Mmu::LoadRoot.id().0, world::call_stub(), 0, 0],
                "mov eax, r14d",
                "mov rdi, r8",
                "mov esi, 1", /* KEEP */
                "xor edx, edx",
                "call r15"
            ),
            None => timed!($mark, [0, 0, $root, 0, 0, 0, 0, 0, 0], "mov cr3, r8"),
        }
    };
}

pub(super) fn switch() {
    const ROOTS: usize = 63;
    let base = tables::base_root();
    let roots = [(); ROOTS].map(|()| tables::new_root());
    let two = [roots[0], base];
    figure("root.switch", Mark::LoadRoot as u16, Span::Whole, 1, |sample| {
        // SAFETY: roots of `tables` hold all that this program uses.
        unsafe { load!(Mark::LoadRoot, two[sample % 2]) }.whole()
    });
    tables::load(base);
    figure("root.switch_64", Mark::LoadRootOf64 as u16, Span::Whole, 1, |sample| {
        // SAFETY: as above.
        unsafe { load!(Mark::LoadRootOf64, roots[sample % ROOTS]) }.whole()
    });
    tables::load(base);
    for root in roots {
        mmu().table_released(PhysAddr(root), Level::Pml4);
    }
}

const _: () = assert!(LoadRootFlags::KEEP.bits() == 1);
