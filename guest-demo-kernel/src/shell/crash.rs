//! Kinds of crash. The kernel reports what its trap handler can see; the environment reports the rest.

use crate::arch::breakage;
use crate::console::println;
use crate::cpu;
use crate::memory::{kernel_space, tables};
use pvops_abi::addr::VirtAddr;
use pvops_abi::ops::mmu::{Entry, mmu};

struct Kind {
    name: &'static str,
    what: &'static str,
    crash: fn(),
}

const KINDS: &[Kind] = &[
    Kind { name: "panic", what: "a Rust panic", crash: panic },
    Kind { name: "null", what: "the kernel reads address 0", crash: breakage::read_null },
    Kind { name: "ud", what: "an undefined instruction", crash: breakage::undefined_instruction },
    Kind {
        name: "gp",
        what: "a privileged instruction, or a non-canonical address",
        crash: breakage::general_protection,
    },
    Kind { name: "jump", what: "a jump to nowhere", crash: breakage::wild_jump },
    Kind {
        name: "stack",
        what: "a kernel stack overflows into its guard page",
        crash: breakage::overflow_stack,
    },
    Kind {
        name: "double",
        what: "a fault while the stack pointer leads nowhere",
        crash: breakage::fault_without_stack,
    },
    Kind { name: "triple", what: "the kernel unmaps itself, handlers and all", crash: unmap_kernel },
];

/// Prints the kinds.
pub(super) fn list() {
    KINDS.iter().for_each(|kind| println!("  {:<8}  {}", kind.name, kind.what));
}

/// Crashes; false when there is no such kind. Coming back with true means that it did not work.
pub(crate) fn crash(name: &str) -> bool {
    let kind = KINDS.iter().find(|kind| kind.name == name);
    kind.inspect(|kind| (kind.crash)()).is_some()
}

fn panic() {
    panic!("asked for by the crash command");
}

/// Nothing is left to run, no handler either: only the environment can tell what happened.
fn unmap_kernel() {
    let here = VirtAddr(unmap_kernel as fn() as usize as u64);
    mmu().set(tables::root_slot(kernel_space::root(), here), Entry::ABSENT);
    mmu().flush_all(cpu::online());
}
