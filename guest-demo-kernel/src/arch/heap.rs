//! The kernel's heap: `talc`, fed with runs of frames as it grows.

use super::phys_to_virt;
use crate::memory::frames;
use core::alloc::Layout;
use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use pvops_abi::addr::PAGE_SIZE;
use pvops_abi::ops::{self, irq::IrqState};
use talc::base::{Talc, binning::Binning};
use talc::lock_api::{GuardNoSend, RawMutex};
use talc::source::Source;

#[global_allocator]
static HEAP: talc::TalcLock<HeapLock, Growth> = talc::TalcLock::new(Growth);

/// Frames added at a time: 512 KiB.
const GROWTH_FRAMES: usize = 128;
/// Bytes handed to the allocator so far.
static SIZE: AtomicUsize = AtomicUsize::new(0);

/// Bytes of the heap.
pub(crate) fn size() -> usize {
    SIZE.load(Ordering::Relaxed)
}

#[derive(Debug)]
struct Growth;

// SAFETY: `acquire` uses the frame table only, which never allocates from the heap.
unsafe impl Source for Growth {
    fn acquire<B: Binning>(talc: &mut Talc<Self, B>, layout: Layout) -> Result<(), ()> {
        let wanted = (layout.size() + layout.align()).div_ceil(PAGE_SIZE as usize) + 2;
        let count = wanted.next_multiple_of(GROWTH_FRAMES);
        let start = frames::allocate_run(count).ok_or(())?;
        let bytes = count * PAGE_SIZE as usize;
        // SAFETY: these frames are ours alone from now on, and stay mapped at this address for good.
        unsafe { talc.claim(phys_to_virt(start).0 as *mut u8, bytes) }.ok_or(())?;
        SIZE.fetch_add(bytes, Ordering::Relaxed);
        Ok(())
    }
}

/// A spin lock that masks interrupts while it is held: event handlers allocate too.
struct HeapLock {
    locked: AtomicBool,
    /// The holder's interrupt state from before.
    state: AtomicUsize,
}

// SAFETY: `locked` goes from false to true by one compare-exchange with acquire order and back with release
// order, so one holder at a time sees what the one before did.
unsafe impl RawMutex for HeapLock {
    #[allow(clippy::declare_interior_mutable_const, reason = "the trait asks for it")]
    const INIT: Self = Self { locked: AtomicBool::new(false), state: AtomicUsize::new(0) };
    type GuardMarker = GuardNoSend;

    fn lock(&self) {
        while !self.try_lock() {
            core::hint::spin_loop();
        }
    }

    fn try_lock(&self) -> bool {
        let state = ops::irq::save_and_disable();
        let taken = self.locked.compare_exchange(false, true, Ordering::Acquire, Ordering::Relaxed).is_ok();
        if taken {
            self.state.store(state.to_raw(), Ordering::Relaxed);
        } else {
            ops::irq::restore(state);
        }
        taken
    }

    unsafe fn unlock(&self) {
        let state = IrqState::from_raw(self.state.load(Ordering::Relaxed));
        self.locked.store(false, Ordering::Release);
        ops::irq::restore(state);
    }
}
