//! Who started us, physical memory, and this CPU's data.

use core::sync::atomic::{AtomicU64, Ordering};
use pvops_abi::addr::{PAGE_SIZE, PhysAddr, VirtAddr};
use pvops_abi::boot::{BootContext, BootRegion, Platform};
use pvops_abi::layout::{MemoryKind, StartInfo};
use pvops_abi::ops::Kernel;
use pvops_abi::ops::cpu::CpuBlock;
use spin::Once;

/// This CPU's data, in GS.
pub(crate) static BLOCK: CpuBlock = CpuBlock::new();
/// What backends ask of this kernel.
pub(crate) static SUITE: Suite = Suite;

static BOOT: Once<&'static BootContext> = Once::new();
/// The next frame of the largest free region, and that region's start and end.
static NEXT_FRAME: AtomicU64 = AtomicU64::new(0);
static FIRST_FRAME: AtomicU64 = AtomicU64::new(0);
static LAST_FRAME: AtomicU64 = AtomicU64::new(0);

/// Remembers what we were told.
pub(crate) fn init(boot: &'static BootContext) {
    BOOT.call_once(|| boot);
    let is_free = |region: &&BootRegion| region.kind == MemoryKind::Usable;
    let largest =
        boot.regions().iter().filter(is_free).max_by_key(|region| region.bytes).expect("free memory");
    FIRST_FRAME.store(largest.start.0, Ordering::Relaxed);
    NEXT_FRAME.store(largest.start.0, Ordering::Relaxed);
    LAST_FRAME.store(largest.start.0 + largest.bytes, Ordering::Relaxed);
}

/// What we were told.
pub(crate) fn boot() -> &'static BootContext {
    BOOT.get().expect("set first of all")
}

/// The hypervisor's start information; nothing on the bare machine.
pub(crate) fn start_info() -> Option<&'static StartInfo> {
    match boot().platform {
        Platform::Hypervisor { start_info } => Some(start_info),
        Platform::Metal { .. } => None,
    }
}

/// As [`start_info`], for tests that run under a hypervisor only.
pub(crate) fn hypervisor() -> &'static StartInfo {
    start_info().expect("tests that need the ABI are skipped elsewhere")
}

/// First address behind all memory of this kernel.
pub(crate) fn memory_end() -> u64 {
    let is_memory = |region: &&BootRegion| !matches!(region.kind, MemoryKind::Device | MemoryKind::Reserved);
    boot().regions().iter().filter(is_memory).map(|region| region.start.0 + region.bytes).max().unwrap_or(0)
}

/// `bytes` of zeroed memory aligned to `alignment`, both multiples of 4096. It is never given back: tests take
/// little, and once.
pub(crate) fn frames(bytes: u64, alignment: u64) -> Option<PhysAddr> {
    let start = NEXT_FRAME.load(Ordering::Relaxed).next_multiple_of(alignment);
    if start + bytes > LAST_FRAME.load(Ordering::Relaxed) {
        return None;
    }
    NEXT_FRAME.store(start + bytes, Ordering::Relaxed);
    // SAFETY: free memory by the map, nobody else's from now on, and mapped writable by the physical map.
    unsafe { core::ptr::write_bytes(phys_to_virt(PhysAddr(start)).0 as *mut u8, 0, bytes as usize) };
    Some(PhysAddr(start))
}

/// The memory that [`frames`] gave so far, and before it the start of the free region that it is in.
pub(crate) fn used_frames() -> core::ops::Range<u64> {
    FIRST_FRAME.load(Ordering::Relaxed)..NEXT_FRAME.load(Ordering::Relaxed)
}

/// A zeroed frame.
pub(crate) fn frame() -> PhysAddr {
    frames(PAGE_SIZE, PAGE_SIZE).expect("a guest with 16 MiB of memory")
}

/// Where physical memory is mapped, in every root of the suite.
pub(crate) fn phys_to_virt(phys: PhysAddr) -> VirtAddr {
    VirtAddr(boot().physical_map.0.wrapping_add(phys.0))
}

/// The word at `phys`, in a frame of [`frames`].
pub(crate) fn word(phys: PhysAddr) -> &'static AtomicU64 {
    assert!(phys.0.is_multiple_of(8), "words are aligned");
    // SAFETY: mapped writable by the physical map; frames are accessed as atomic words only once they are used.
    unsafe { &*(phys_to_virt(phys).0 as *const AtomicU64) }
}

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

/// See [`SUITE`].
pub(crate) struct Suite;

impl Kernel for Suite {
    fn alloc_frame(&self) -> Option<PhysAddr> {
        frames(PAGE_SIZE, PAGE_SIZE)
    }
    fn free_frame(&self, _: PhysAddr) {}
    fn phys_to_virt(&self, phys: PhysAddr) -> VirtAddr {
        phys_to_virt(phys)
    }
}
