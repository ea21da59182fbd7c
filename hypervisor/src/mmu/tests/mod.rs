//! Tests of the software TLB against hardware in miniature.
//!
//! [`super::miniature`] has the hardware.

mod fills;
mod flushes;
mod model;
mod pools;
mod registers;
mod views;
mod walks;

use super::miniature::{Machine, Random};
use super::shadow::Failure;
use super::walk::{Access, error};

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
/// An address for user pages, one for kernel pages, in slots of their own.
const USER_ADDRESS: u64 = 0x40_0000_0000;
const KERNEL_ADDRESS: u64 = 0xffff_ffff_8000_0000;

const USER_READ: Access = Access::from_error_code(0, true);
const USER_WRITE: Access = Access::from_error_code(error::WRITE, true);
const USER_FETCH: Access = Access::from_error_code(error::FETCH, true);
const KERNEL_FETCH: Access = Access::from_error_code(error::FETCH, false);

/// A machine on which large pages stay large, with a generous pool.
fn usual() -> Machine {
    Machine::new(4 * GIB, 8 * GIB, if cfg!(miri) { 32 } else { 256 })
}

/// Fewer rounds under Miri, which is some hundred times slower.
const fn rounds(native: u64) -> u64 {
    if cfg!(miri) { native / 100 + 1 } else { native }
}
