//! BASE.BATCH: a list of calls in the guest's memory, made one after the other.
//!
//! Apart from the calls themselves, and over an abstract memory, so that lists are tried by millions on a host.

use super::fast::Reply;
use crate::arch::x86_64::call_list::Place;
use crate::arch::x86_64::guest::GuestMemory;
use pvops_abi::error::Error;
use pvops_abi::layout::MAX_BATCH;

/// The memory that lists stand in.
pub trait ListMemory {
    /// The entries of a list, if all of it is memory.
    ///
    /// # Errors
    /// [`Error::BadAddress`].
    fn entries(&self, list: u64, count: u64) -> Result<impl Iterator<Item = impl ListEntry>, Error>;
}

/// An entry of a list.
pub trait ListEntry {
    /// Copies its id. Called once: the id that is checked is the one that is run.
    fn id(&self) -> u64;
    /// Copies its first four arguments. Called once at most.
    fn arguments(&self) -> [u64; 4];
    /// Stores status and value.
    fn store(&self, reply: Reply);
}

impl ListMemory for GuestMemory {
    #[inline]
    fn entries(&self, list: u64, count: u64) -> Result<impl Iterator<Item = impl ListEntry>, Error> {
        Place::all(self, list, count)
    }
}

impl ListEntry for Place {
    #[inline]
    fn id(&self) -> u64 {
        Place::id(self)
    }

    #[inline]
    fn arguments(&self) -> [u64; 4] {
        Place::arguments(self)
    }

    #[inline]
    fn store(&self, reply: Reply) {
        Place::store(self, [reply.status, reply.value]);
    }
}

/// How the calls of a list are made.
pub trait Calls {
    /// A call that was looked for.
    type Call: Copy;
    /// The call `id`, if there is one.
    fn find(&self, id: u64) -> Self::Call;
    /// Makes it.
    fn make(&mut self, call: Self::Call, arguments: [u64; 4]) -> Reply;
    /// Whether the batch ends short behind it.
    fn is_enough(&mut self, call: Self::Call) -> bool;
}

/// Makes the `count` calls of `list`. Value: entries done.
///
/// # Errors
/// [`Error::InvalidArgument`] for too many, [`Error::BadAddress`] before anything is done.
#[inline]
pub fn run(memory: &impl ListMemory, list: u64, count: u64, calls: &mut impl Calls) -> Result<u64, Error> {
    if count > MAX_BATCH {
        return Err(Error::InvalidArgument);
    }
    let entries = memory.entries(list, count);
    #[cfg(feature = "mutants")]
    if mutant!(BatchUnchecked) && entries.is_err() {
        memory
            .entries(list, 1)?
            .for_each(|entry| entry.store(calls.make(calls.find(entry.id()), entry.arguments())));
    }
    let mut done = 0;
    for entry in entries? {
        let (id, arguments) = (entry.id(), entry.arguments());
        trace!(BatchedCall, id, arguments[0]);
        let call = calls.find(id);
        let reply = calls.make(call, arguments);
        entry.store(reply);
        done += 1;
        if mutant!(BatchStopsAtError) && reply.status != 0 {
            return Ok(count);
        }
        if calls.is_enough(call) {
            break;
        }
    }
    Ok(done)
}
