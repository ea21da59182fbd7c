//! The pvops hypervisor: guest kernels run deprivileged in ring 3, by calls of the pvops ABI.
//!
//! Start reading at [`boot::start`] (how a guest comes to run), then [`front`] (what it sees), [`mmu`] (its
//! memory), [`domain`], [`sched`], and `arch` for the machine. Everything but `arch` is free of `unsafe`.
#![cfg_attr(not(any(test, feature = "fuzzing")), no_std)]
#![deny(unsafe_code)]

#[macro_use]
pub mod mutants;
#[macro_use]
pub mod trace;

#[allow(unsafe_code, reason = "the machine is touched here and nowhere else")]
pub mod arch;
pub mod boot;
pub mod domain;
pub mod front;
pub mod lock;
pub mod mmu;
pub mod sched;
