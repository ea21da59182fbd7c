//! Further CPUs: counted, not started yet.

use pvops_abi::addr::VirtAddr;
use pvops_abi::ops::smp::{SmpOps, StartError};

use crate::machine::machine;

/// The machine's CPUs.
pub(crate) struct Processors;

impl SmpOps for Processors {
    fn cpu_count(&self) -> usize {
        machine().boot.cpu_count
    }

    unsafe fn start(
        &self,
        _cpu: usize,
        _entry: extern "C" fn(u64) -> !,
        _stack_top: VirtAddr,
        _argument: u64,
    ) -> Result<(), StartError> {
        Err(StartError::NotSupported)
    }
}
