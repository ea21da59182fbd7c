//! BASE.BATCH: a list of calls in the guest's memory, made one after the other.
//!
//! Apart from the calls themselves, and over an abstract memory, so that lists are tried by millions on a host.

use super::fast::Reply;
use crate::arch::x86_64::guest::GuestMemory;
use core::mem::offset_of;
use pvops_abi::error::Error;
use pvops_abi::layout::{BatchEntry, MAX_BATCH};

/// Bytes of an entry.
const BYTES: u64 = size_of::<BatchEntry>() as u64;
const RESULTS: u64 = offset_of!(BatchEntry, status) as u64;
const _: () = assert!(offset_of!(BatchEntry, value) == offset_of!(BatchEntry, status) + 8);
const _: () = assert!(offset_of!(BatchEntry, id) == 0 && offset_of!(BatchEntry, arguments) == 8);

/// The memory that a list stands in.
pub trait ListMemory {
    /// Whether all of it is memory.
    ///
    /// # Errors
    /// [`Error::BadAddress`].
    fn check(&self, address: u64, bytes: u64) -> Result<(), Error>;
    /// Copies an entry's id and its first four arguments, once.
    ///
    /// # Errors
    /// [`Error::BadAddress`].
    fn load(&self, address: u64) -> Result<[u64; 5], Error>;
    /// Stores an entry's status and value.
    ///
    /// # Errors
    /// [`Error::BadAddress`].
    fn store(&self, address: u64, results: [u64; 2]) -> Result<(), Error>;
}

impl ListMemory for GuestMemory {
    fn check(&self, address: u64, bytes: u64) -> Result<(), Error> {
        Self::check(self, address, bytes, align_of::<BatchEntry>() as u64)
    }

    fn load(&self, address: u64) -> Result<[u64; 5], Error> {
        Self::load(self, address)
    }

    fn store(&self, address: u64, results: [u64; 2]) -> Result<(), Error> {
        Self::store(self, address, results)
    }
}

/// Makes the `count` calls of `list` by `call`, which is told id and arguments; `is_enough` ends the batch short behind a
/// call. Value: entries done.
///
/// # Errors
/// [`Error::InvalidArgument`] for too many, [`Error::BadAddress`] before anything is done.
pub fn run(
    memory: &impl ListMemory,
    list: u64,
    count: u64,
    mut call: impl FnMut(u64, [u64; 4]) -> Reply,
    mut is_enough: impl FnMut(u64) -> bool,
) -> Result<u64, Error> {
    if count > MAX_BATCH {
        return Err(Error::InvalidArgument);
    }
    memory.check(list, if mutant!(BatchUnchecked) { BYTES } else { count * BYTES })?;
    for number in 0..count {
        let place = list + number * BYTES;
        // Copied once: the id that is checked is the one that is run.
        let [id, arguments @ ..] = memory.load(place)?;
        let Reply { status, value } = call(id, arguments);
        memory.store(place + RESULTS, [status, if status == 0 { value } else { 0 }])?;
        if mutant!(BatchStopsAtError) && status != 0 {
            return Ok(count);
        }
        if is_enough(id) {
            return Ok(number + 1);
        }
    }
    Ok(count)
}
