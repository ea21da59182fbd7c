//! Who started us, physical memory, and this CPU's data. Memory is never given back: tests take little, and once.

pub(crate) use guest_kit::world::*;
use pvops_abi::addr::PAGE_SIZE;

/// A `value` in a frame of its own, and where that is: for calls that take addresses.
pub(crate) fn place<T: Sync>(value: T) -> (&'static T, u64) {
    assert!(size_of::<T>() as u64 <= PAGE_SIZE, "one page is enough");
    let phys = frame();
    let at = phys_to_virt(phys).0 as *mut T;
    // SAFETY: a frame of our own, aligned to its size; it stays.
    unsafe {
        at.write(value);
        (&*at, phys.0)
    }
}
