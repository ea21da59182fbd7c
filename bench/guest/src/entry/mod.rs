//! Entries of this program's own, that read the counter before anything else and then do the least that a kernel must.
//!
//! The library's stubs save all registers first; that is the library's cost, not the operation's. In a handler the
//! reading goes into `r13`, which the interrupted code leaves alone while it is measured (see
//! [`timed!`](crate::measure::timed)); `rax` and `rdx` are lost. Vector 4 (`int 4`) ends a user program: it goes on at
//! the landing of [`guest_kit::excursion`].

mod deprivileged;
mod metal;

use crate::world;

/// Installs the entries of the world at hand.
pub(crate) fn install() {
    match world::start_info() {
        Some(_) => deprivileged::install(),
        None => metal::install(),
    }
}

pub(crate) use metal::local_apic;
