//! From `StartInfo` to [`BootContext`].

use crate::addr::{PhysAddr, VirtAddr};
use crate::boot::{BootContext, BootRegion, MAX_REGIONS, Platform};
use crate::layout::start_info::{MemoryKind, MemoryRegion, START_INFO_MAGIC, StartInfo};
use core::slice;
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
    // SAFETY: the ABI promises that these ranges are in the caller's memory, which the boot tables map at
    // `physical_map`; they are not written until the kernel reclaims them, and the kernel reads the context
    // before that.
    let (map, command_line) = unsafe {
        let at = |phys: u64| (start_info.physical_map + phys) as usize;
        let map = at(start_info.memory_map) as *const MemoryRegion;
        let line = at(start_info.command_line) as *const u8;
        (
            slice::from_raw_parts(map, start_info.memory_map_count as usize),
            slice::from_raw_parts(line, start_info.command_line_bytes as usize),
        )
    };
    CONTEXT.call_once(|| context(start_info, map, keep(command_line)))
}

/// Most bytes kept of a command line.
const COMMAND_LINE_BYTES: usize = 1024;
static COMMAND_LINE: Once<([u8; COMMAND_LINE_BYTES], usize)> = Once::new();

/// Copies the command line out of memory that will be reclaimed. What is not UTF-8 or too long is cut off.
fn keep(line: &[u8]) -> &'static str {
    let (bytes, length) = COMMAND_LINE.call_once(|| {
        let length = line.len().min(COMMAND_LINE_BYTES);
        let mut bytes = [0; COMMAND_LINE_BYTES];
        bytes[..length].copy_from_slice(&line[..length]);
        (bytes, length)
    });
    match core::str::from_utf8(&bytes[..*length]) {
        Ok(text) => text,
        Err(error) => core::str::from_utf8(&bytes[..error.valid_up_to()]).unwrap_or(""),
    }
}

fn context(start_info: &'static StartInfo, map: &[MemoryRegion], command_line: &'static str) -> BootContext {
    let nothing = BootRegion { start: PhysAddr(0), bytes: 0, kind: MemoryKind::Reserved };
    let mut regions = [nothing; MAX_REGIONS];
    let region_count = map.len().min(MAX_REGIONS);
    for (region, from) in regions.iter_mut().zip(map) {
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
