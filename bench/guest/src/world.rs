//! Who started us, physical memory, and this CPU's data.

use core::sync::atomic::{AtomicU64, Ordering};
use pvops_abi::addr::{PAGE_SIZE, PhysAddr, VirtAddr};
use pvops_abi::boot::{BootContext, BootRegion, Platform};
use pvops_abi::call::CALL_STUB_OFFSET;
use pvops_abi::layout::{MemoryKind, StartInfo};
use pvops_abi::ops::Kernel;
use pvops_abi::ops::cpu::CpuBlock;
use spin::Once;

/// This CPU's data, in GS.
pub(crate) static BLOCK: CpuBlock = CpuBlock::new();
/// What backends ask of this kernel.
pub(crate) static KERNEL: BenchKernel = BenchKernel;

static BOOT: Once<&'static BootContext> = Once::new();
/// The next frame of the largest free region, and that region's end.
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

/// The hypervisor's start information; nothing on the bare machine.
pub(crate) fn start_info() -> Option<&'static StartInfo> {
    match boot().platform {
        Platform::Hypervisor { start_info } => Some(start_info),
        Platform::Metal { .. } => None,
    }
}

/// Where calls enter the hypercall page.
pub(crate) fn call_stub() -> u64 {
    start_info().expect("calls are made under a hypervisor only").hypercall_page_virt + CALL_STUB_OFFSET
}

/// The guest-physical address behind an object of the image.
pub(crate) fn image_phys<T>(object: &T) -> u64 {
    let info = start_info().expect("calls are made under a hypervisor only");
    core::ptr::from_ref(object) as u64 - info.kernel_virt + info.kernel_phys
}

/// A zeroed frame. None is ever given back.
pub(crate) fn frame() -> u64 {
    let frame = NEXT_FRAME.fetch_add(PAGE_SIZE, Ordering::Relaxed);
    assert!(frame < LAST_FRAME.load(Ordering::Relaxed), "more memory");
    for offset in (0..PAGE_SIZE).step_by(8) {
        word(frame + offset).store(0, Ordering::Relaxed);
    }
    frame
}

/// Where physical memory is mapped, in every root.
pub(crate) fn phys_to_virt(phys: u64) -> u64 {
    boot().physical_map.0.wrapping_add(phys)
}

/// The word at `phys`, in a frame of [`frame`] or in a table.
pub(crate) fn word(phys: u64) -> &'static AtomicU64 {
    // SAFETY: the physical map covers all memory, and what is reached through here is accessed as atomic words only.
    unsafe { &*(phys_to_virt(phys) as *const AtomicU64) }
}

/// See [`KERNEL`].
pub(crate) struct BenchKernel;

impl Kernel for BenchKernel {
    fn alloc_frame(&self) -> Option<PhysAddr> {
        Some(PhysAddr(frame()))
    }
    fn free_frame(&self, _: PhysAddr) {}
    fn phys_to_virt(&self, phys: PhysAddr) -> VirtAddr {
        VirtAddr(phys_to_virt(phys.0))
    }
}
