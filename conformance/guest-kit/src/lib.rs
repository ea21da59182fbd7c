//! What the guests that test and measure have in common: what they were told at boot, memory that is taken and hardly ever
//! given back, and excursions into a state of registers that end with a trap. For kernels with one CPU, and for the
//! target without an operating system only.
#![no_std]

#[cfg(target_os = "none")]
pub mod excursion;
#[cfg(target_os = "none")]
pub mod world;
