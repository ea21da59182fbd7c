//! Physical memory, page tables as plain words, and this vCPU's data. Addresses are plain numbers here: most are wrong ones.

use core::sync::atomic::{AtomicU64, Ordering};
use guest_kit::world::{self, hypervisor};
pub(crate) use guest_kit::world::{BLOCK, KERNEL, boot, give_back, image_phys, init, memory_end};
use pvops_abi::addr::{PAGE_SIZE, PhysAddr};
use pvops_abi::layout::StartInfo;

/// The hypervisor's start information.
pub(crate) fn start_info() -> &'static StartInfo {
    hypervisor()
}

/// `bytes` of zeroed memory aligned to `alignment`, both multiples of 4096.
pub(crate) fn frames(bytes: u64, alignment: u64) -> u64 {
    world::frames(bytes, alignment).expect("a domain of 64 MiB").0
}

/// A zeroed frame.
pub(crate) fn frame() -> u64 {
    frames(PAGE_SIZE, PAGE_SIZE)
}

/// A number that tells how much was taken; [`give_back`] frees all that was taken since.
pub(crate) fn mark() -> u64 {
    world::used_frames().end
}

/// The word at `phys`, a multiple of 8 in this domain's memory.
pub(crate) fn word(phys: u64) -> &'static AtomicU64 {
    assert!(phys < memory_end(), "a word of memory: {phys:#x}");
    world::word(PhysAddr(phys))
}

/// Loads the word at `phys`.
pub(crate) fn get(phys: u64) -> u64 {
    word(phys).load(Ordering::SeqCst)
}

/// Stores the word at `phys`.
pub(crate) fn put(phys: u64, value: u64) {
    word(phys).store(value, Ordering::SeqCst);
}

/// Writes `bytes` at `phys`, a multiple of 8.
pub(crate) fn put_bytes(phys: u64, bytes: &[u8]) {
    for (index, chunk) in bytes.chunks(8).enumerate() {
        let mut word = [0; 8];
        word[..chunk.len()].copy_from_slice(chunk);
        put(phys + index as u64 * 8, u64::from_le_bytes(word));
    }
}
