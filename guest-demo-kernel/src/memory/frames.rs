//! Physical memory in frames of 4 KiB, with a count of users each.

use crate::arch::raw;
use crate::sync::IrqLock;
use demo_logic::frame_table::FrameTable;
use pvops_abi::addr::{PAGE_SIZE, PhysAddr};
use pvops_abi::boot::{BootContext, BootRegion};
use pvops_abi::layout::MemoryKind;

/// Memory below 1 MiB is left alone: firmware keeps things there, and further CPUs start there.
const LOWEST: u64 = 1 << 20;

static FRAMES: IrqLock<Option<FrameTable<'static>>> = IrqLock::new(None);

/// Takes the free memory of the memory map into use. What the boot loader still needs stays out until [`reclaim`].
///
/// Works on the boot tables and needs no operation, so that backends can be given frames while they start.
pub(crate) fn init(boot: &'static BootContext) {
    let (first, end) = span(boot);
    let count = (end - first) as usize;
    let home = home_of_counts(boot, count);
    let mut table = FrameTable::new(first, raw::claim_counts(home, count));
    for region in boot.regions().iter().filter(|region| will_be_free(region.kind)) {
        frames_of(region).for_each(|frame| table.add(frame));
    }
    let counts_end = frame_of(home) + (count as u64 * 2).div_ceil(PAGE_SIZE);
    let in_counts = |frame: &u64| (frame_of(home)..counts_end).contains(frame);
    for region in boot.regions().iter().filter(|region| region.kind == MemoryKind::Usable) {
        frames_of(region).filter(|frame| !in_counts(frame)).for_each(|frame| table.release(frame));
    }
    *FRAMES.lock() = Some(table);
}

/// Frees boot tables, boot stack and start information, except for frames that were [`pin`]ned.
pub(crate) fn reclaim(boot: &'static BootContext) -> usize {
    let before = free();
    let is_reclaimable = |kind| will_be_free(kind) && kind != MemoryKind::Usable;
    for region in boot.regions().iter().filter(|region| is_reclaimable(region.kind)) {
        frames_of(region).for_each(|frame| release(PhysAddr(frame * PAGE_SIZE)));
    }
    free() - before
}

/// Keeps a frame out of [`reclaim`]: the kernel image may lie in what a boot loader calls its own.
pub(crate) fn pin(frame: PhysAddr) {
    with(|table| table.users(frame_of(frame)) == 0 || table.share(frame_of(frame)));
}

/// Takes a zeroed frame.
pub(crate) fn allocate() -> Option<PhysAddr> {
    let frame = with(FrameTable::allocate).map(|frame| PhysAddr(frame * PAGE_SIZE))?;
    raw::zero_frame(frame);
    Some(frame)
}

/// Takes `count` frames in a row, as they are.
pub(crate) fn allocate_run(count: usize) -> Option<PhysAddr> {
    with(|table| table.allocate_run(count)).map(|frame| PhysAddr(frame * PAGE_SIZE))
}

/// Adds a user to a frame; false when that is not possible.
#[must_use]
pub(crate) fn share(frame: PhysAddr) -> bool {
    with(|table| table.share(frame_of(frame)))
}

/// Takes a user away; the last one frees the frame.
pub(crate) fn release(frame: PhysAddr) {
    with(|table| table.release(frame_of(frame)));
}

/// Users of a frame.
pub(crate) fn users(frame: PhysAddr) -> u16 {
    with(|table| table.users(frame_of(frame)))
}

/// Free frames.
pub(crate) fn free() -> usize {
    with(|table| table.free())
}

/// Frames that are memory of this kernel's.
pub(crate) fn total() -> usize {
    with(|table| table.total())
}

fn with<R>(work: impl FnOnce(&mut FrameTable<'static>) -> R) -> R {
    work(FRAMES.lock().as_mut().expect("initialised first of all"))
}

fn will_be_free(kind: MemoryKind) -> bool {
    matches!(kind, MemoryKind::Usable | MemoryKind::BootReclaimable | MemoryKind::StartInfo)
}

fn frame_of(address: PhysAddr) -> u64 {
    address.0 / PAGE_SIZE
}

fn frames_of(region: &BootRegion) -> core::ops::Range<u64> {
    let end = (region.start.0 + region.bytes) / PAGE_SIZE;
    (region.start.0.max(LOWEST) / PAGE_SIZE).min(end)..end
}

/// First frame and end of all that will ever be free.
fn span(boot: &BootContext) -> (u64, u64) {
    let ranges = || {
        let regions = boot.regions().iter().filter(|region| will_be_free(region.kind));
        regions.map(frames_of).filter(|range| !range.is_empty())
    };
    let first = ranges().map(|range| range.start).min();
    let end = ranges().map(|range| range.end).max();
    first.zip(end).expect("a memory map with free memory")
}

/// A place for the counts: the first free region that is large enough.
fn home_of_counts(boot: &BootContext, count: usize) -> PhysAddr {
    let wanted = (count as u64 * 2).div_ceil(PAGE_SIZE);
    let usable = boot.regions().iter().filter(|region| region.kind == MemoryKind::Usable).map(frames_of);
    let home = usable.filter(|range| range.end - range.start > wanted).map(|range| range.start).next();
    PhysAddr(home.expect("room for the frame table") * PAGE_SIZE)
}
