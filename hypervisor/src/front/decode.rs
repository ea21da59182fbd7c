//! From registers to calls: no behaviour. Which ids are calls is told by the table in [`super::fast`].

use crate::arch::x86_64::Frame;
use pvops_abi::call;

/// Arguments in their order: `rdi rsi rdx r10`.
pub type Arguments = [u64; 4];

/// Version of an extension here; 0: absent.
#[must_use]
pub const fn extension_version(extension: u64) -> u64 {
    (extension >= call::Extension::Base as u64 && extension <= call::Extension::Sched as u64) as u64
}

/// The arguments in `frame`.
#[must_use]
pub const fn arguments(frame: &Frame) -> Arguments {
    [frame.rdi, frame.rsi, frame.rdx, frame.r10]
}
