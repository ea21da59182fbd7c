//! Which errors of which calls were provoked, and came as they had to: printed at the end, so that the list can be
//! compared with the tables of the specification.

use core::fmt::Write;
use core::sync::atomic::{AtomicU16, Ordering};
use pvops_abi::call::CallId;
use pvops_abi::error::Error;
use pvops_abi::ops::console::Writer;

/// Extensions and functions below these are kept; no more exist.
const EXTENSIONS: usize = 8;
const FUNCTIONS: usize = 16;

/// By extension and function: bit *n* for the error with the status -*n*.
static SEEN: [[AtomicU16; FUNCTIONS]; EXTENSIONS] =
    [const { [const { AtomicU16::new(0) }; FUNCTIONS] }; EXTENSIONS];

/// A call was refused with an error that it had to be refused with.
pub(crate) fn note(id: CallId, error: Error) {
    let (extension, function) = ((id.0 >> 16) as usize, (id.0 & 0xffff) as usize);
    if let Some(place) = SEEN.get(extension).and_then(|functions| functions.get(function)) {
        place.fetch_or(1 << -error.to_status(), Ordering::Relaxed);
    }
}

/// A line for each call with such errors.
pub(crate) fn print() {
    for (extension, functions) in (0u64..).zip(&SEEN) {
        for (function, place) in (0u64..).zip(functions) {
            let seen = place.load(Ordering::Relaxed);
            if seen == 0 {
                continue;
            }
            _ = write!(Writer, "refused: {:#x}", extension << 16 | function);
            for status in (1..16).filter(|status| seen >> status & 1 != 0) {
                _ = write!(Writer, " -{status}");
            }
            super::println!();
        }
    }
}
