//! Who started us, physical memory, and this CPU's data.

use core::sync::atomic::AtomicU64;
use guest_kit::world::{self, hypervisor};
pub(crate) use guest_kit::world::{BLOCK, KERNEL, boot, init, start_info};
use pvops_abi::addr::PhysAddr;
use pvops_abi::call::CALL_STUB_OFFSET;

/// Where calls enter the hypercall page.
pub(crate) fn call_stub() -> u64 {
    hypervisor().hypercall_page_virt + CALL_STUB_OFFSET
}

/// The guest-physical address behind an object of the image.
pub(crate) fn image_phys<T>(object: &T) -> u64 {
    world::image_phys(core::ptr::from_ref(object) as u64)
}

/// A zeroed frame. None is ever given back.
pub(crate) fn frame() -> u64 {
    world::frame().0
}

/// Where physical memory is mapped, in every root.
pub(crate) fn phys_to_virt(phys: u64) -> u64 {
    world::phys_to_virt(PhysAddr(phys)).0
}

/// The word at `phys`, in a frame of [`frame`] or in a table.
pub(crate) fn word(phys: u64) -> &'static AtomicU64 {
    world::word(PhysAddr(phys))
}
