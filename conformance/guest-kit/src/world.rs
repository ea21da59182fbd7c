//! Who started us, physical memory, and this CPU's data.

use core::ops::Range;
use core::sync::atomic::{AtomicU64, Ordering};
use pvops_abi::addr::{PAGE_SIZE, PhysAddr, VirtAddr};
use pvops_abi::boot::{BootContext, BootRegion, Platform};
use pvops_abi::layout::{MemoryKind, StartInfo};
use pvops_abi::ops::Kernel;
use pvops_abi::ops::cpu::CpuBlock;
use spin::Once;

/// This CPU's data, in GS.
pub static BLOCK: CpuBlock = CpuBlock::new();
/// What backends ask of a kernel.
pub static KERNEL: Frames = Frames;

static BOOT: Once<&'static BootContext> = Once::new();
/// The next frame of the largest free region, and that region's start and end.
static NEXT_FRAME: AtomicU64 = AtomicU64::new(0);
static FIRST_FRAME: AtomicU64 = AtomicU64::new(0);
static LAST_FRAME: AtomicU64 = AtomicU64::new(0);

/// Remembers what we were told. To be called first of all.
///
/// # Panics
/// Without free memory.
pub fn init(boot: &'static BootContext) {
    BOOT.call_once(|| boot);
    let is_free = |region: &&BootRegion| region.kind == MemoryKind::Usable;
    let largest = boot.regions().iter().filter(is_free).max_by_key(|region| region.bytes);
    let largest = largest.expect("free memory");
    FIRST_FRAME.store(largest.start.0, Ordering::Relaxed);
    NEXT_FRAME.store(largest.start.0, Ordering::Relaxed);
    LAST_FRAME.store(largest.start.0 + largest.bytes, Ordering::Relaxed);
}

/// What we were told.
///
/// # Panics
/// Before [`init`], as everything else in this module.
#[must_use]
pub fn boot() -> &'static BootContext {
    BOOT.get().expect("set first of all")
}

/// The hypervisor's start information; nothing on the bare machine.
#[must_use]
pub fn start_info() -> Option<&'static StartInfo> {
    match boot().platform {
        Platform::Hypervisor { start_info } => Some(start_info),
        Platform::Metal { .. } => None,
    }
}

/// As [`start_info`], for what is done under a hypervisor only.
///
/// # Panics
/// On the bare machine.
#[must_use]
pub fn hypervisor() -> &'static StartInfo {
    start_info().expect("what needs the ABI is not done elsewhere")
}

/// First address behind all memory of this kernel.
#[must_use]
pub fn memory_end() -> u64 {
    let is_memory = |region: &&BootRegion| !matches!(region.kind, MemoryKind::Device | MemoryKind::Reserved);
    boot().regions().iter().filter(is_memory).map(|region| region.start.0 + region.bytes).max().unwrap_or(0)
}

/// `bytes` of zeroed memory aligned to `alignment`, both multiples of 4096. `None`: there is no more.
#[must_use]
pub fn frames(bytes: u64, alignment: u64) -> Option<PhysAddr> {
    let start = NEXT_FRAME.load(Ordering::Relaxed).next_multiple_of(alignment);
    if start + bytes > LAST_FRAME.load(Ordering::Relaxed) {
        return None;
    }
    NEXT_FRAME.store(start + bytes, Ordering::Relaxed);
    for address in (start..start + bytes).step_by(8) {
        word(PhysAddr(address)).store(0, Ordering::Relaxed);
    }
    Some(PhysAddr(start))
}

/// A zeroed frame.
///
/// # Panics
/// When there is none: these guests know how much they take.
#[must_use]
pub fn frame() -> PhysAddr {
    frames(PAGE_SIZE, PAGE_SIZE).expect("more memory")
}

/// The memory that [`frames`] gave so far, and before it the start of the free region that it is in.
#[must_use]
pub fn used_frames() -> Range<u64> {
    FIRST_FRAME.load(Ordering::Relaxed)..NEXT_FRAME.load(Ordering::Relaxed)
}

/// Frees all that was taken since [`used_frames`] ended at `end`.
pub fn give_back(end: u64) {
    NEXT_FRAME.store(end, Ordering::Relaxed);
}

/// Where physical memory is mapped, in every root.
#[must_use]
pub fn phys_to_virt(phys: PhysAddr) -> VirtAddr {
    VirtAddr(boot().physical_map.0.wrapping_add(phys.0))
}

/// The word at `phys`, in a frame of [`frames`] or in a table.
///
/// # Panics
/// When `phys` is not aligned.
#[must_use]
pub fn word(phys: PhysAddr) -> &'static AtomicU64 {
    assert!(phys.0.is_multiple_of(8), "words are aligned");
    // SAFETY: mapped writable by the physical map, which is in every root; what is reached through here is accessed as
    // atomic words only.
    unsafe { &*(phys_to_virt(phys).0 as *const AtomicU64) }
}

/// The guest-physical address behind an object of the image.
///
/// # Panics
/// On the bare machine.
#[must_use]
pub fn image_phys(virt: u64) -> u64 {
    let info = hypervisor();
    virt - info.kernel_virt + info.kernel_phys
}

/// See [`KERNEL`].
#[derive(Debug)]
pub struct Frames;

impl Kernel for Frames {
    fn alloc_frame(&self) -> Option<PhysAddr> {
        frames(PAGE_SIZE, PAGE_SIZE)
    }
    fn free_frame(&self, _: PhysAddr) {}
    fn phys_to_virt(&self, phys: PhysAddr) -> VirtAddr {
        phys_to_virt(phys)
    }
}
