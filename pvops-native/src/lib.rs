//! The bare-metal backend of [`pvops_abi`]: the same operations, done by the machine itself in ring 0.
//!
//! [`BACKEND`] implements every group of operations; [`checking::BACKEND`] replaces the MMU group by one that
//! verifies what the kernel does to its tables; [`entry_point!`] gives a kernel both of its entries, so that
//! one ELF boots by `bootloader` on the metal and by notes under a hypervisor.
//!
//! One file per hardware thing. What needs no hardware (encodings, arithmetic, the parsing of firmware's
//! bytes) is plain Rust that `cargo test` runs on the host; the rest exists for `target_os = "none"` only.
//!
//! Only the boot CPU runs for now: every state is per CPU already, but [`pvops_abi::ops::smp::SmpOps::start`]
//! answers `NotSupported`, and a flush concerns the calling CPU alone.
#![no_std]

#[cfg(any(test, target_os = "none"))]
mod arithmetic;
#[cfg(target_os = "none")]
pub mod boot;
#[cfg(any(test, target_os = "none"))]
pub mod checking;
#[cfg(target_os = "none")]
mod clock;
#[cfg(target_os = "none")]
mod code;
#[cfg(target_os = "none")]
mod console;
#[cfg(target_os = "none")]
mod cpu;
#[cfg(target_os = "none")]
mod event;
#[cfg(target_os = "none")]
mod io_apic;
#[cfg(target_os = "none")]
mod irq;
#[cfg(target_os = "none")]
mod local_apic;
#[cfg(target_os = "none")]
mod machine;
#[cfg(any(test, target_os = "none"))]
mod memory_map;
#[cfg(target_os = "none")]
mod mmio;
#[cfg(target_os = "none")]
mod mmu;
#[cfg(any(test, target_os = "none"))]
mod page_entry;
#[cfg(target_os = "none")]
mod pic;
#[cfg(target_os = "none")]
mod power;
#[cfg(target_os = "none")]
mod smp;

#[cfg(target_os = "none")]
mod backend;
#[cfg(target_os = "none")]
pub use backend::{BACKEND, NativeBackend};

/// For the expansion of [`entry_point!`] only.
#[cfg(target_os = "none")]
#[doc(hidden)]
pub mod private {
    pub use bootloader_api;
    pub use pvops_abi;
}

/// Most CPUs that this backend keeps state for.
#[cfg(target_os = "none")]
const MAX_CPUS: usize = 8;
