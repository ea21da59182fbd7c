//! From registers to calls: one table of names and argument counts, no behaviour.

use crate::arch::x86_64::Frame;
use pvops_abi::call;
use pvops_abi::error::Error;

/// A call of a guest: its function, by extension.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs, reason = "named as in `pvops_abi::call`")]
pub enum Function {
    Base(call::Base),
    Cpu(call::Cpu),
    Event(call::Event),
    Mmu(call::Mmu),
    Time(call::Time),
    Console(call::Console),
    Sched(call::Sched),
}

/// Arguments in their order: `rdi rsi rdx r10`.
pub type Arguments = [u64; 4];

/// Decodes an id.
///
/// # Errors
/// [`Error::NotSupported`] for everything unknown, absent extensions included.
pub fn function(id: u64) -> Result<Function, Error> {
    let number = id as u16;
    match id >> 16 {
        0x01 => number.try_into().map(Function::Base),
        0x02 => number.try_into().map(Function::Cpu),
        0x03 => number.try_into().map(Function::Event),
        0x04 => number.try_into().map(Function::Mmu),
        0x05 => number.try_into().map(Function::Time),
        0x06 => number.try_into().map(Function::Console),
        0x07 => number.try_into().map(Function::Sched),
        _ => Err(Error::NotSupported),
    }
}

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_ids_decode_and_others_do_not() {
        assert_eq!(function(call::Mmu::FlushAll.id().0), Ok(Function::Mmu(call::Mmu::FlushAll)));
        assert_eq!(function(0x8_0000), Err(Error::NotSupported));
        assert_eq!(function(0x1_0000_0001_0000), Err(Error::NotSupported));
        assert_eq!(function(0x1_0005), Err(Error::NotSupported));
        assert_eq!(function(u64::MAX), Err(Error::NotSupported));
    }

    #[test]
    fn probe_matches_the_decoder() {
        for extension in 0..0x20u64 {
            assert_eq!(extension_version(extension) != 0, function(extension << 16).is_ok());
        }
    }
}
