//! BASE.BATCH: a list of calls in the guest's memory, made one after the other.
//!
//! Apart from the calls themselves, and over an abstract memory, so that lists are tried by millions on a host.

use super::fast::{Call, Reply};
use crate::arch::x86_64::call_list::Place;
use crate::arch::x86_64::guest::GuestMemory;
use crate::arch::x86_64::system_call::make as make_call;
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
    /// The call `id`, if it can be made without further thought.
    fn plain(&self, id: u64) -> Option<Call>;
    /// Makes any other.
    fn make(&mut self, id: u64, first: u64, second: u64, third: u64, fourth: u64) -> Done;
}

/// What became of an entry.
#[derive(Clone, Copy, Debug)]
pub struct Done {
    /// Goes to the entry.
    pub reply: Reply,
    /// The batch ends short behind it.
    pub is_enough: bool,
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
        memory.entries(list, 1)?.for_each(|entry| entry.store(make(&entry, calls).reply));
    }
    let mut done = 0;
    for entry in entries? {
        let Done { reply, is_enough } = make(&entry, calls);
        entry.store(reply);
        done += 1;
        if mutant!(BatchStopsAtError) && reply.status != 0 {
            return Ok(count);
        }
        if is_enough {
            break;
        }
    }
    Ok(done)
}

/// The arguments of a plain call go straight into its registers.
#[inline]
fn make(entry: &impl ListEntry, calls: &mut impl Calls) -> Done {
    let id = entry.id();
    let call = calls.plain(id);
    let [first, second, third, fourth] = entry.arguments();
    trace!(BatchedCall, id, first);
    match call {
        Some(call) => Done { reply: make_call(call, [first, second, third, fourth]), is_enough: false },
        None => calls.make(id, first, second, third, fourth),
    }
}
