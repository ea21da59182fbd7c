//! Physical memory, page tables as plain words, and this vCPU's data.

use core::sync::atomic::{AtomicU64, Ordering};
use pvops_abi::addr::{PAGE_SIZE, PhysAddr, VirtAddr};
use pvops_abi::boot::{BootContext, BootRegion, Platform};
use pvops_abi::layout::{MemoryKind, StartInfo};
use pvops_abi::ops::Kernel;
use pvops_abi::ops::cpu::CpuBlock;
use spin::Once;

/// This vCPU's data, in GS.
pub(crate) static BLOCK: CpuBlock = CpuBlock::new();
/// What the backend asks of this kernel.
pub(crate) static GUEST: Guest = Guest;

static BOOT: Once<&'static BootContext> = Once::new();
static NEXT_FRAME: AtomicU64 = AtomicU64::new(0);
static LAST_FRAME: AtomicU64 = AtomicU64::new(0);

/// Remembers what we were told.
pub(crate) fn init(boot: &'static BootContext) {
    BOOT.call_once(|| boot);
    let is_free = |region: &&BootRegion| region.kind == MemoryKind::Usable;
    let largest = boot.regions().iter().filter(is_free).max_by_key(|region| region.bytes);
    let largest = largest.expect("free memory");
    NEXT_FRAME.store(largest.start.0, Ordering::Relaxed);
    LAST_FRAME.store(largest.start.0 + largest.bytes, Ordering::Relaxed);
}

/// What we were told.
pub(crate) fn boot() -> &'static BootContext {
    BOOT.get().expect("set first of all")
}

/// The hypervisor's start information.
pub(crate) fn start_info() -> &'static StartInfo {
    match boot().platform {
        Platform::Hypervisor { start_info } => start_info,
        Platform::Metal { .. } => panic!("there is nobody to attack on the bare machine"),
    }
}

/// First address behind all memory of this domain.
pub(crate) fn memory_end() -> u64 {
    let is_memory = |region: &&BootRegion| !matches!(region.kind, MemoryKind::Device | MemoryKind::Reserved);
    boot().regions().iter().filter(is_memory).map(|region| region.start.0 + region.bytes).max().unwrap_or(0)
}

/// `bytes` of zeroed memory aligned to `alignment`, both multiples of 4096; never given back.
pub(crate) fn frames(bytes: u64, alignment: u64) -> u64 {
    let start = NEXT_FRAME.load(Ordering::Relaxed).next_multiple_of(alignment);
    assert!(start + bytes <= LAST_FRAME.load(Ordering::Relaxed), "a domain of 64 MiB");
    NEXT_FRAME.store(start + bytes, Ordering::Relaxed);
    for address in (start..start + bytes).step_by(8) {
        put(address, 0);
    }
    start
}

/// A zeroed frame.
pub(crate) fn frame() -> u64 {
    frames(PAGE_SIZE, PAGE_SIZE)
}

/// A number that tells how much was taken; [`give_back`] frees all that was taken since.
pub(crate) fn mark() -> u64 {
    NEXT_FRAME.load(Ordering::Relaxed)
}

/// See [`mark`].
pub(crate) fn give_back(mark: u64) {
    NEXT_FRAME.store(mark, Ordering::Relaxed);
}

/// The word at `phys`, a multiple of 8 in this domain's memory.
pub(crate) fn word(phys: u64) -> &'static AtomicU64 {
    assert!(phys.is_multiple_of(8) && phys < memory_end(), "a word of memory: {phys:#x}");
    // SAFETY: mapped writable by the physical map in every root that this guest runs in; frames are accessed as
    // atomic words only.
    unsafe { &*(boot().physical_map.0.wrapping_add(phys) as *const AtomicU64) }
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

/// The guest-physical address behind an address of the image.
pub(crate) fn image_phys(virt: u64) -> u64 {
    virt - start_info().kernel_virt + start_info().kernel_phys
}

/// See [`GUEST`].
pub(crate) struct Guest;

impl Kernel for Guest {
    fn alloc_frame(&self) -> Option<PhysAddr> {
        Some(PhysAddr(frame()))
    }
    fn free_frame(&self, _: PhysAddr) {}
    fn phys_to_virt(&self, phys: PhysAddr) -> VirtAddr {
        VirtAddr(boot().physical_map.0.wrapping_add(phys.0))
    }
}
