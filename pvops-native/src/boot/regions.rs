//! The memory map: the boot loader's, with the kernel image found in it page by page.
//!
//! The boot loader maps an image partly where its file lies and partly in frames of its own, and marks all of
//! it as its own; only its tables tell which frames the kernel must keep.

use bootloader_api::BootInfo;
use bootloader_api::info::MemoryRegionKind;
use pvops_abi::addr::{PAGE_SIZE, PhysAddr, VirtAddr};
use pvops_abi::boot::BootRegion;
use pvops_abi::layout::start_info::MemoryKind;

use super::image::Image;
use crate::memory_map::MemoryMap;

/// Memory below this is not given out: firmware has things there that no map shows, and further CPUs start
/// from there.
const LOW_MEMORY: u64 = 64 * 1024;

const PRESENT: u64 = 1;
const LARGE: u64 = 1 << 7;
const ADDRESS: u64 = 0x000f_ffff_ffff_f000;

/// Collects the map.
pub(super) fn collect(
    info: &BootInfo,
    physical_map: VirtAddr,
    boot_root: PhysAddr,
    image: Image,
) -> MemoryMap {
    let mut map = MemoryMap::new();
    for region in info.memory_regions.iter() {
        let kind = match region.kind {
            MemoryRegionKind::Usable => MemoryKind::Usable,
            MemoryRegionKind::Bootloader => MemoryKind::BootReclaimable,
            _ => MemoryKind::Reserved,
        };
        map.add(region.start, region.end, kind);
    }
    map.add(0, LOW_MEMORY, MemoryKind::Reserved);
    for page in (0..image.bytes).step_by(PAGE_SIZE as usize) {
        let address = VirtAddr(image.start.0 + page);
        if let Some(start) = translate(physical_map, boot_root, address) {
            map.paint(BootRegion { start, bytes: PAGE_SIZE, kind: MemoryKind::Kernel });
        }
    }
    map
}

/// The frame that the tables of `root` map at `address`, if any: images have holes.
fn translate(physical_map: VirtAddr, root: PhysAddr, address: VirtAddr) -> Option<PhysAddr> {
    let mut table = root;
    for level in (1..=4).rev() {
        let entry = read(physical_map, table, address.table_index(level));
        if entry & PRESENT == 0 {
            return None;
        }
        let span = PAGE_SIZE << (9 * (level - 1));
        if level == 1 || entry & LARGE != 0 {
            let offset = address.0 & (span - 1);
            return Some(PhysAddr((entry & ADDRESS & !(span - 1)) + offset).page_base());
        }
        table = PhysAddr(entry & ADDRESS);
    }
    None
}

fn read(physical_map: VirtAddr, table: PhysAddr, index: usize) -> u64 {
    let entry = (physical_map.0 + table.0 + 8 * index as u64) as *const u64;
    // SAFETY: a table of the boot loader's, which its map of physical memory covers; nobody writes to it now.
    unsafe { entry.read_volatile() }
}
