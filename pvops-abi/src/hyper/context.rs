//! From `StartInfo` to [`BootContext`].

use crate::addr::{PhysAddr, VirtAddr};
use crate::boot::{BootContext, BootRegion, MAX_REGIONS, Platform};
use crate::layout::start_info::{MemoryKind, MemoryRegion, START_INFO_MAGIC, StartInfo};
use spin::Once;

static CONTEXT: Once<BootContext> = Once::new();
/// The start information itself: its own memory is the kernel's to reclaim.
static START_INFO: Once<StartInfo> = Once::new();

/// Translates what the hypervisor says. Called by the entry shim, on the boot tables.
///
/// # Panics
/// When `start_info` does not carry the magic: the kernel was not entered by its note.
///
/// # Safety
/// `start_info` is the pointer received in `rdi` at the note's entry, and the boot tables are loaded.
pub unsafe fn boot_context(start_info: &StartInfo) -> &'static BootContext {
    assert!(start_info.magic == START_INFO_MAGIC, "not entered by a hypervisor that speaks the ABI");
    let start_info = START_INFO.call_once(|| *start_info);
    let at = |phys: u64| start_info.physical_map.wrapping_add(phys) as usize;
    let map = at(start_info.memory_map) as *const MemoryRegion;
    let line = at(start_info.command_line) as *const u8;
    // Counts are cut to what is kept, so that a wrong one makes nobody read beyond it.
    let regions = (start_info.memory_map_count as usize).min(MAX_REGIONS);
    let line_bytes = (start_info.command_line_bytes as usize).min(COMMAND_LINE_BYTES);
    // SAFETY: the ABI promises that these ranges are in the caller's memory, which the boot tables map at
    // `physical_map`; they are not written until the kernel reclaims them, and the kernel reads the context
    // before that.
    unsafe { CONTEXT.call_once(|| context(start_info, copy(map), regions, keep(copy(line), line_bytes))) }
}

/// A reader of the elements from `first` on. Each is copied by itself: no slice is made, which even when empty
/// would have to have an aligned address that is not null.
///
/// # Safety
/// Every element that is asked for can be read.
unsafe fn copy<T: Copy>(first: *const T) -> impl Fn(usize) -> T {
    // SAFETY: the caller's promise.
    move |number| unsafe { first.wrapping_add(number).read_unaligned() }
}

/// Most bytes kept of a command line.
const COMMAND_LINE_BYTES: usize = 1024;
static COMMAND_LINE: Once<([u8; COMMAND_LINE_BYTES], usize)> = Once::new();

/// Copies the command line out of memory that will be reclaimed. What is not UTF-8 is cut off.
fn keep(line: impl Fn(usize) -> u8, length: usize) -> &'static str {
    let (bytes, length) = COMMAND_LINE.call_once(|| {
        let mut bytes = [0; COMMAND_LINE_BYTES];
        for (number, byte) in bytes[..length].iter_mut().enumerate() {
            *byte = line(number);
        }
        (bytes, length)
    });
    match core::str::from_utf8(&bytes[..*length]) {
        Ok(text) => text,
        Err(error) => core::str::from_utf8(&bytes[..error.valid_up_to()]).unwrap_or(""),
    }
}

fn context(
    start_info: &'static StartInfo,
    map: impl Fn(usize) -> MemoryRegion,
    region_count: usize,
    command_line: &'static str,
) -> BootContext {
    let nothing = BootRegion { start: PhysAddr(0), bytes: 0, kind: MemoryKind::Reserved };
    let mut regions = [nothing; MAX_REGIONS];
    for (number, region) in regions[..region_count].iter_mut().enumerate() {
        let from = map(number);
        *region = BootRegion { start: PhysAddr(from.start), bytes: from.bytes, kind: kind(from.kind) };
    }
    BootContext {
        platform: Platform::Hypervisor { start_info },
        command_line,
        regions,
        region_count,
        physical_map: VirtAddr(start_info.physical_map),
        kernel_start: VirtAddr(start_info.kernel_virt),
        kernel_bytes: start_info.kernel_bytes,
        boot_root: PhysAddr(start_info.boot_root),
        boot_stack: VirtAddr(start_info.boot_stack_base),
        boot_stack_bytes: start_info.boot_stack_bytes,
        usable_range: start_info.usable_range,
        reserved_ranges: start_info.reserved_ranges,
        reserved_range_count: (start_info.reserved_range_count as usize)
            .min(start_info.reserved_ranges.len()),
        selectors: start_info.selectors,
        cpu_count: start_info.vcpu_count as usize,
    }
}

/// A kind that this version does not know is memory to leave alone.
fn kind(kind: u32) -> MemoryKind {
    match kind {
        1 => MemoryKind::Usable,
        2 => MemoryKind::Kernel,
        3 => MemoryKind::BootReclaimable,
        4 => MemoryKind::StartInfo,
        5 => MemoryKind::HypercallPage,
        6 => MemoryKind::Ramdisk,
        7 => MemoryKind::Device,
        _ => MemoryKind::Reserved,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layout::frame::Selectors;
    use crate::layout::start_info::VirtRange;

    /// Start information with every count as large as it can be, over as much memory as is kept.
    #[test]
    fn counts_beyond_what_is_kept_read_no_further() {
        let regions = [MemoryRegion { start: 4096, bytes: 4096, kind: 9, reserved: 0 }; MAX_REGIONS];
        let mut line = [b'x'; COMMAND_LINE_BYTES];
        line[3] = 0xff;
        let range = VirtRange { start: 0, last: u64::MAX };
        let map = regions.as_ptr().expose_provenance() as u64;
        let info = StartInfo {
            magic: START_INFO_MAGIC,
            size: u32::MAX,
            version: 1,
            reserved: 0,
            abi_version: 1,
            implementation: 0,
            execution_mode: 0,
            vcpu_count: u32::MAX,
            memory_map: 0,
            memory_map_count: u32::MAX,
            command_line_bytes: u32::MAX,
            command_line: (line.as_ptr().expose_provenance() as u64).wrapping_sub(map),
            ramdisk: 0,
            ramdisk_bytes: 0,
            physical_map: map,
            kernel_virt: 0,
            kernel_phys: 0,
            kernel_bytes: 0,
            boot_root: 0,
            boot_stack_base: 0,
            boot_stack_bytes: 0,
            hypercall_page_phys: 0,
            hypercall_page_virt: 0,
            tsc_hz: 0,
            selectors: Selectors { kernel_cs: 0, kernel_ss: 0, user_cs: 0, user_ss: 0 },
            usable_range: range,
            reserved_range_count: u64::MAX,
            reserved_ranges: [range; 4],
        };
        // SAFETY: as much as is kept lies behind the pointers.
        let context = unsafe { boot_context(&info) };
        assert_eq!(context.regions().len(), MAX_REGIONS);
        assert!(context.regions().iter().all(|region| region.kind == MemoryKind::Reserved));
        assert_eq!(context.command_line, "xxx", "cut at what is no text");
        assert_eq!(context.reserved_range_count, 4);
    }
}
