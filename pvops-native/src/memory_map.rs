//! The memory map of a boot: whole pages, sorted, merged, with what the loader did not know painted over.
//!
//! Ranges are painted one over the other, the later one winning, and kept sorted all the time; a fixed
//! array is enough because a range that does not fit is given up only where it is free memory.

use pvops_abi::addr::{PAGE_SIZE, PhysAddr};
use pvops_abi::boot::{BootRegion, MAX_REGIONS};
use pvops_abi::layout::start_info::MemoryKind;

/// See the module.
pub(crate) struct MemoryMap {
    regions: [BootRegion; MAX_REGIONS],
    count: usize,
}

const EMPTY: BootRegion = BootRegion { start: PhysAddr(0), bytes: 0, kind: MemoryKind::Reserved };

fn end(region: &BootRegion) -> u64 {
    region.start.0 + region.bytes
}

impl MemoryMap {
    pub(crate) const fn new() -> Self {
        Self { regions: [EMPTY; MAX_REGIONS], count: 0 }
    }

    /// The regions and how many there are.
    #[cfg(target_os = "none")]
    pub(crate) fn finish(self) -> ([BootRegion; MAX_REGIONS], usize) {
        (self.regions, self.count)
    }

    pub(crate) fn regions(&self) -> &[BootRegion] {
        &self.regions[..self.count]
    }

    /// Adds what a loader says. Free memory is rounded inwards to whole pages, everything else outwards.
    pub(crate) fn add(&mut self, start: u64, end: u64, kind: MemoryKind) {
        let inwards = kind == MemoryKind::Usable;
        let (start, end) = if inwards {
            (start.next_multiple_of(PAGE_SIZE), end / PAGE_SIZE * PAGE_SIZE)
        } else {
            (start / PAGE_SIZE * PAGE_SIZE, end.next_multiple_of(PAGE_SIZE))
        };
        if start < end {
            self.paint(BootRegion { start: PhysAddr(start), bytes: end - start, kind });
        }
    }

    /// Makes `new` win over whatever is there.
    pub(crate) fn paint(&mut self, new: BootRegion) {
        let old = core::mem::replace(self, Self::new());
        let mut placed = false;
        for region in old.regions() {
            if !placed && region.start >= new.start {
                self.paint_one(region, &new, &mut placed);
                continue;
            }
            self.push_before(region, &new);
            if end(region) > new.start.0 && !placed {
                self.push(new);
                placed = true;
            }
            self.push_after(region, &new);
        }
        if !placed {
            self.push(new);
        }
    }

    /// A region that begins at or behind the new one: the new one goes first.
    fn paint_one(&mut self, region: &BootRegion, new: &BootRegion, placed: &mut bool) {
        self.push(*new);
        *placed = true;
        self.push_after(region, new);
    }

    /// What of `region` lies before `new`.
    fn push_before(&mut self, region: &BootRegion, new: &BootRegion) {
        let limit = end(region).min(new.start.0);
        if region.start.0 < limit {
            self.push(BootRegion { bytes: limit - region.start.0, ..*region });
        }
    }

    /// What of `region` lies behind `new`.
    fn push_after(&mut self, region: &BootRegion, new: &BootRegion) {
        let start = region.start.0.max(end(new));
        if start < end(region) {
            self.push(BootRegion { start: PhysAddr(start), bytes: end(region) - start, kind: region.kind });
        }
    }

    /// Appends, merging with the last one. A full map forgets free memory first, and of that the smallest piece.
    fn push(&mut self, region: BootRegion) {
        if let Some(last) = self.regions[..self.count].last_mut()
            && end(last) == region.start.0
            && last.kind == region.kind
        {
            last.bytes += region.bytes;
            return;
        }
        if self.count == MAX_REGIONS {
            self.forget_smallest_free();
        }
        if self.count < MAX_REGIONS {
            self.regions[self.count] = region;
            self.count += 1;
        }
    }

    fn forget_smallest_free(&mut self) {
        let free = |region: &&BootRegion| region.kind == MemoryKind::Usable;
        let smallest = self.regions().iter().filter(free).map(|region| region.bytes).min();
        let at = smallest.and_then(|bytes| {
            self.regions()
                .iter()
                .position(|region| region.kind == MemoryKind::Usable && region.bytes == bytes)
        });
        if let Some(at) = at {
            self.regions.copy_within(at + 1..self.count, at);
            self.count -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use MemoryKind::{BootReclaimable, Kernel, Reserved, Usable};

    extern crate std;
    use std::vec::Vec;

    fn list(map: &MemoryMap) -> Vec<(u64, u64, MemoryKind)> {
        map.regions().iter().map(|region| (region.start.0, end(region), region.kind)).collect()
    }

    fn page(start: u64, pages: u64, kind: MemoryKind) -> BootRegion {
        BootRegion { start: PhysAddr(start), bytes: pages * PAGE_SIZE, kind }
    }

    #[test]
    fn neighbours_merge_and_order_does_not_matter() {
        let mut map = MemoryMap::new();
        map.add(0x5000, 0x8000, Usable);
        map.add(0x1000, 0x3000, Usable);
        map.add(0x3000, 0x5000, Usable);
        assert_eq!(list(&map), [(0x1000, 0x8000, Usable)]);
    }

    #[test]
    fn free_memory_shrinks_to_pages_and_the_rest_grows() {
        let mut map = MemoryMap::new();
        map.add(0x1200, 0x3800, Usable);
        map.add(0x3800, 0x4100, Reserved);
        assert_eq!(list(&map), [(0x2000, 0x3000, Usable), (0x3000, 0x5000, Reserved)]);
        map.add(0x9100, 0x9200, Usable);
        assert_eq!(list(&map).len(), 2, "no whole page");
    }

    #[test]
    fn painting_splits_covers_and_bridges() {
        let mut map = MemoryMap::new();
        map.add(0, 0x10000, BootReclaimable);
        map.add(0x10000, 0x20000, Usable);
        map.paint(page(0x4000, 2, Kernel));
        map.paint(page(0xf000, 2, Kernel));
        assert_eq!(
            list(&map),
            [
                (0, 0x4000, BootReclaimable),
                (0x4000, 0x6000, Kernel),
                (0x6000, 0xf000, BootReclaimable),
                (0xf000, 0x11000, Kernel),
                (0x11000, 0x20000, Usable),
            ]
        );
        map.paint(page(0x6000, 9, Kernel));
        map.paint(page(0, 4, Kernel));
        assert_eq!(list(&map), [(0, 0x11000, Kernel), (0x11000, 0x20000, Usable)]);
        map.paint(page(0x30000, 1, Reserved));
        assert_eq!(list(&map).last(), Some(&(0x30000, 0x31000, Reserved)));
    }

    #[test]
    fn a_region_wholly_inside_the_new_one_vanishes() {
        let mut map = MemoryMap::new();
        map.add(0x2000, 0x3000, Usable);
        map.add(0x5000, 0x6000, Usable);
        map.paint(page(0x1000, 8, Reserved));
        assert_eq!(list(&map), [(0x1000, 0x9000, Reserved)]);
    }

    #[test]
    fn a_full_map_forgets_the_smallest_free_piece() {
        let mut map = MemoryMap::new();
        for index in 0..MAX_REGIONS as u64 {
            map.add(index * 0x10000, index * 0x10000 + 0x2000, Usable);
        }
        map.add(7 * 0x10000, 7 * 0x10000 + 0x1000, Reserved);
        assert_eq!(map.regions().len(), MAX_REGIONS);
        assert!(map.regions().iter().any(|region| region.kind == Reserved));
        assert!(map.regions().is_sorted_by_key(|region| region.start));
    }
}
