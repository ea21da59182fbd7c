//! Physical memory during boot: what the boot loader left free, handed out once and for good.

use super::super::layout::BOOT_PHYSICAL;
use bootloader_api::info::{MemoryRegionKind, MemoryRegions};
use core::slice;
use heapless::Vec;
use system_image::boot_text;

const MAX_RANGES: usize = 64;
const LOW: u64 = 1 << 20;
const FOUR_GIB: u64 = 1 << 32;
const PAGE: u64 = 4096;

/// A free range.
#[derive(Clone, Copy, Debug)]
struct Range {
    start: u64,
    end: u64,
}

/// See the module.
pub struct BootMemory {
    free: Vec<Range, MAX_RANGES>,
    /// Free pages below 1 MiB, for starting CPUs.
    low_page: Option<u64>,
}

impl BootMemory {
    /// From the boot loader's map.
    #[must_use]
    pub fn new(regions: &MemoryRegions) -> Self {
        let mut free = Vec::new();
        let mut low_page = None;
        for region in regions.iter().filter(|region| region.kind == MemoryRegionKind::Usable) {
            let (start, end) = (region.start.next_multiple_of(PAGE), region.end & !(PAGE - 1));
            // Page 0 and the extended BIOS data are better left alone.
            let low = start.max(PAGE);
            if low + PAGE <= end && low < 0x9_0000 {
                low_page = Some(low);
            }
            let start = start.max(LOW);
            if start < end {
                // A map with more ranges than this loses the last ones.
                let _ = free.push(Range { start, end });
            }
        }
        Self { free, low_page }
    }

    /// A page below 1 MiB.
    #[must_use]
    pub fn low_page(&self) -> Option<u64> {
        self.low_page
    }

    /// Takes `bytes`, aligned and zeroed; below 4 GiB if `low`.
    pub fn take(&mut self, bytes: u64, alignment: u64, low: bool) -> Option<u64> {
        let limit = if low { FOUR_GIB } else { u64::MAX };
        for at in 0..self.free.len() {
            let Range { start, end } = self.free[at];
            let place = start.checked_next_multiple_of(alignment)?;
            let Some(after) = place.checked_add(bytes).filter(|after| *after <= end && *after <= limit)
            else {
                continue;
            };
            self.free[at].start = after;
            if place > start {
                // What the alignment skipped stays free, if there is room to remember it.
                let _ = self.free.push(Range { start, end: place });
            }
            bytes_at(place, bytes).fill(0);
            return Some(place);
        }
        None
    }

    /// Takes a zeroed page below 4 GiB.
    pub fn take_page(&mut self) -> u64 {
        match self.take(PAGE, PAGE, true) {
            Some(page) => page,
            None => crate::boot::refuse_machine(boot_text!("out of memory during boot")),
        }
    }
}

/// Physical memory that was taken and is not used otherwise, by the boot loader's map of it.
#[must_use]
pub fn bytes_at(phys: u64, bytes: u64) -> &'static mut [u8] {
    // SAFETY: boot only, one CPU; `phys` comes from `BootMemory::take`, which gives each byte to one caller, or
    // names a page that its caller alone uses; the boot loader maps all memory there, writable.
    unsafe { slice::from_raw_parts_mut((BOOT_PHYSICAL + phys) as *mut u8, bytes as usize) }
}
