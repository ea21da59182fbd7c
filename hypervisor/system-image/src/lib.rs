//! The system image: what the hypervisor is to run, in one file that the boot loader hands over as a ramdisk.
//!
//! The tools compile it from `system.toml` ([`write`], feature `std`); the hypervisor reads it at boot with
//! [`SystemImage::parse`] and trusts none of it: the file may be truncated, altered or made by other tools.
//! All rules are checked in `parse`, once; what it returns can be used without further doubt, although the
//! guest ELFs and command lines inside stay opaque here.
//!
//! Integers are read byte by byte instead of through `repr(C)` casts, so that there is no alignment to check,
//! no `unsafe`, and one place that says what lies where: [`layout`].

#![cfg_attr(not(any(test, feature = "std")), no_std)]
#![forbid(unsafe_code)]

#[macro_use]
mod boot_text;
mod checksum;
mod error;
#[cfg(any(test, feature = "fuzzing"))]
pub mod judge;
pub mod layout;
pub mod limits;
mod parse;
mod status;
#[cfg(any(test, feature = "std"))]
mod write;

pub use boot_text::text_of;
pub use error::ImageError;
pub use parse::{
    ChannelEnd, CrashPolicy, Device, Domain, Domains, MmioRange, PortRange, RESERVED_INTERRUPTS,
    RESERVED_MMIO, RESERVED_PORTS, Reserved, SystemImage, VcpuPlacement, debug_exit_port_of_refused,
    reserved_interrupt, reserved_mmio, reserved_ports,
};
pub use status::ExitStatus;
#[cfg(any(test, feature = "std"))]
pub use write::{DomainDescription, SystemDescription, WriteError, update_checksum, write};

#[cfg(test)]
mod tests;
