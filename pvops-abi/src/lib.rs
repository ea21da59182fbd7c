//! The pvops ABI and the guest-side interface library.
//!
//! Two things live here, in two layers:
//!
//! * **the ABI**: [`version`], [`call`], [`error`], [`note`] and [`layout`] are plain encodings shared by
//!   guests and hypervisors, with no behaviour. They mirror the specification in `spec/`.
//! * **the guest library**: [`ops`] is the interface that a kernel programs against, [`boot`] is what it is
//!   told at entry, and [`hyper`] is the backend that reaches any hypervisor that speaks the ABI. Backends
//!   for other environments (bare metal: the crate `pvops-native`) implement the same traits.
//!
//! A kernel calls [`ops::init`] once with its candidate backends and then the free functions of
//! [`ops::irq`], [`ops::mmu`] and their neighbours. It never asks which backend it runs on.
#![no_std]

pub mod addr;
pub mod boot;
pub mod call;
pub mod error;
#[cfg(target_os = "none")]
pub mod hyper;
pub mod layout;
pub mod note;
pub mod ops;
pub mod patch;
pub mod version;
