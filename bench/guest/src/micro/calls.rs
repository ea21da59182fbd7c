//! Calls that do nothing: what the way in and out costs.

use super::Mark;
use crate::measure::{Span, figure, timed};
use crate::world;
use core::sync::atomic::Ordering;
use pvops_abi::call::{Base, CallId};
use pvops_abi::error::Error;
use pvops_abi::hyper;
use pvops_abi::layout::BatchEntry;

/// Calls in a batch.
const BATCH: u64 = 32;
/// An extension that nobody has.
const UNKNOWN: CallId = CallId(0x7777_0000);

/// Shows that nothing reads as 0 and three instructions read as 3.
pub(super) fn calibration() {
    figure("calibration.empty", Mark::Empty as u16, Span::Whole, 1, |_| {
        // SAFETY: nothing.
        unsafe { timed!(Mark::Empty, [0; 9]) }.whole()
    });
    figure("calibration.three", Mark::Three as u16, Span::Whole, 1, |_| {
        // SAFETY: moves between registers that may be changed.
        unsafe { timed!(Mark::Three, [0; 9], "mov rsi, rdi", "mov r8, rdi", "mov r9, rdi") }.whole()
    });
}

pub(super) fn null() {
    super::call(Base::Version.id(), &[]);
    let arguments = [0, 0, 0, 0, 0, Base::Version.id().0, world::call_stub(), 0, 0];
    figure("call.null", Mark::NullCall as u16, Span::Whole, 1, |_| {
        // SAFETY: BASE.version changes nothing but the registers of a call.
        unsafe { timed!(Mark::NullCall, arguments, "mov eax, r14d", "call r15") }.whole()
    });
}

pub(super) fn unknown() {
    let reply = hyper::call(UNKNOWN, [0; 6]).result();
    assert!(reply == Err(Error::NotSupported), "the call is unknown: {reply:?}");
    let arguments = [0, 0, 0, 0, 0, UNKNOWN.0, world::call_stub(), 0, 0];
    figure("call.unknown", Mark::UnknownCall as u16, Span::Whole, 1, |_| {
        // SAFETY: a call that is refused changes nothing.
        unsafe { timed!(Mark::UnknownCall, arguments, "mov eax, r14d", "call r15") }.whole()
    });
}

pub(super) fn batch() {
    const WORDS: u64 = size_of::<BatchEntry>() as u64 / 8;
    let list = world::frame();
    for entry in 0..BATCH {
        world::word(list + entry * WORDS * 8).store(Base::Version.id().0, Ordering::Relaxed);
    }
    assert!(super::call(Base::Batch.id(), &[list, BATCH]) == BATCH, "the whole batch is done at once");
    let arguments = [0, 0, list, BATCH, 0, Base::Batch.id().0, world::call_stub(), 0, 0];
    figure("call.batch", Mark::Batch as u16, Span::Whole, BATCH as u32, |_| {
        // SAFETY: the batch is well-formed, and its results go into a frame that nobody else uses.
        unsafe { timed!(Mark::Batch, arguments, "mov eax, r14d", "mov rdi, r8", "mov rsi, r9", "call r15") }
            .whole()
    });
}
