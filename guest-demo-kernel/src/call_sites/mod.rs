//! The call sites of this kernel: `run=sites` lists them as they were rewritten, `run=ops` counts what each operation
//! costs. Both are read by tests, which know what is right in which world; this kernel does not.

mod costs;

pub(crate) use costs::run as count_costs;

use crate::console::println;
use alloc::string::String;
use core::fmt::Write;
use pvops_abi::addr::VirtAddr;
use pvops_abi::ops;
use pvops_abi::patch::{self, Status};

/// One line that says what became of the sites.
pub(crate) fn print_status() {
    match ops::patching() {
        Status::Patched(counts) => println!(
            "call sites: {} rewritten, {} left to the table of operations",
            counts.patched, counts.left
        ),
        Status::NotAsked => println!("call sites: not rewritten, as asked"),
        Status::Refused(refusal) => println!("call sites: not rewritten: {refusal:?}"),
    }
}

/// Prints a line per site, `site: <operation> <offset in the image> <bytes>`; returns the status to end with.
pub(crate) fn list(image: VirtAddr) -> u8 {
    let mut count = 0_u64;
    for site in patch::sites() {
        let mut bytes = String::new();
        for byte in site.bytes() {
            write!(bytes, "{byte:02x}").expect("a string takes everything");
        }
        println!("site: {} {:x} {bytes}", site.operation.name(), site.address.0 - image.0);
        count += 1;
    }
    println!("result: sites {count}");
    0
}
