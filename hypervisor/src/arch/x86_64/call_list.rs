//! A list of calls in the running domain's memory: checked once, then walked in the domain's window.

use super::guest::GuestMemory;
use core::mem::offset_of;
use pvops_abi::error::Error;
use pvops_abi::layout::{BatchEntry, MAX_BATCH};

const BYTES: u64 = size_of::<BatchEntry>() as u64;
const _: () = assert!(offset_of!(BatchEntry, id) == 0 && offset_of!(BatchEntry, arguments) == 8);
const _: () = assert!(offset_of!(BatchEntry, value) == offset_of!(BatchEntry, status) + 8);

/// Where an entry stands. Exists only while the call that names the list is served.
#[derive(Debug)]
pub struct Place(u64);

/// Where the entries of a list stand.
#[derive(Debug)]
pub struct Places {
    next: u64,
    end: u64,
}

impl Iterator for Places {
    type Item = Place;

    #[inline]
    fn next(&mut self) -> Option<Place> {
        let place = self.next;
        if place == self.end {
            return None;
        }
        self.next += BYTES;
        Some(Place(place))
    }
}

impl Place {
    /// The places of the `count` entries from guest-physical `list` on.
    ///
    /// # Errors
    /// [`Error::BadAddress`] unless all of it is memory, and aligned.
    #[inline]
    pub fn all(memory: &GuestMemory, list: u64, count: u64) -> Result<Places, Error> {
        let bytes = count.min(MAX_BATCH) * BYTES;
        let next = memory.at(list, bytes, align_of::<BatchEntry>() as u64)?;
        Ok(Places { next, end: next + bytes })
    }

    /// Copies the id.
    #[must_use]
    #[inline]
    pub fn id(&self) -> u64 {
        self.word(0)
    }

    /// Copies the first four arguments.
    #[must_use]
    #[inline]
    pub fn arguments(&self) -> [u64; 4] {
        [self.word(1), self.word(2), self.word(3), self.word(4)]
    }

    #[inline]
    fn word(&self, number: usize) -> u64 {
        // SAFETY: `all` checked that the entry lies in the window, aligned, and callers name words of it. Volatile,
        // because the guest may write meanwhile: the copy may be torn, and is checked as any claim.
        unsafe { (self.0 as *const u64).add(number).read_volatile() }
    }

    /// Stores status and value.
    #[inline]
    pub fn store(&self, results: [u64; 2]) {
        let words = (self.0 + offset_of!(BatchEntry, status) as u64) as *mut u64;
        // SAFETY: as in `word`, and no Rust object is there.
        unsafe {
            words.write_volatile(results[0]);
            words.add(1).write_volatile(results[1]);
        }
    }
}
