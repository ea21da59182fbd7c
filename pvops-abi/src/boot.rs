//! What a kernel is told at entry, the same in every world.
//!
//! The entry shim of each world (`pvops_native::entry_point!` emits both) translates what its loader says
//! into a [`BootContext`] and calls the kernel's `fn(&'static BootContext) -> !`. It lives in static memory
//! of the image: no allocation happens before the kernel's own.

use crate::addr::{PhysAddr, VirtAddr};
use crate::layout::frame::Selectors;
use crate::layout::start_info::{MemoryKind, StartInfo, VirtRange};

/// Most regions kept of a loader's memory map; smaller free ones beyond that are dropped.
pub const MAX_REGIONS: usize = 128;

/// A range of physical memory and what it holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BootRegion {
    /// First byte; page aligned.
    pub start: PhysAddr,
    /// Length in bytes; a multiple of 4096.
    pub bytes: u64,
    /// What is in it.
    pub kind: MemoryKind,
}

/// Who started this kernel, with what only the backends need to know.
#[derive(Clone, Copy, Debug)]
pub enum Platform {
    /// A hypervisor that speaks the ABI.
    Hypervisor {
        /// Its start information, copied out of memory that the kernel reclaims.
        start_info: &'static StartInfo,
    },
    /// A boot loader on the bare machine.
    Metal {
        /// ACPI's root pointer, if the loader found one.
        rsdp: Option<PhysAddr>,
    },
}

/// See the module.
#[derive(Clone, Debug)]
pub struct BootContext {
    /// Who started this kernel.
    pub platform: Platform,
    /// The command line; empty when there is none.
    pub command_line: &'static str,
    /// The physical memory map, sorted and not overlapping: the first `region_count` entries.
    pub regions: [BootRegion; MAX_REGIONS],
    /// Entries used of `regions`.
    pub region_count: usize,
    /// Where the boot tables map physical memory: virtual = physical + this.
    pub physical_map: VirtAddr,
    /// First address of the kernel image.
    pub kernel_start: VirtAddr,
    /// Bytes of the kernel image.
    pub kernel_bytes: u64,
    /// Root of the boot page tables.
    pub boot_root: PhysAddr,
    /// Lowest address of the stack this kernel was entered on.
    pub boot_stack: VirtAddr,
    /// Bytes of that stack.
    pub boot_stack_bytes: u64,
    /// Virtual addresses the kernel may use, `reserved_ranges` excepted.
    pub usable_range: VirtRange,
    /// Virtual addresses it must leave alone: the first `reserved_range_count` entries.
    pub reserved_ranges: [VirtRange; 4],
    /// Entries used of `reserved_ranges`.
    pub reserved_range_count: usize,
    /// Selectors for frames that the kernel makes itself.
    pub selectors: Selectors,
    /// CPUs that can be started, this one included.
    pub cpu_count: usize,
}

impl BootContext {
    /// The memory map.
    #[must_use]
    pub fn regions(&self) -> &[BootRegion] {
        &self.regions[..self.region_count]
    }

    /// The value of `key=value` on the command line, the last one when repeated.
    #[must_use]
    pub fn option(&self, key: &str) -> Option<&'static str> {
        option_of(self.command_line, key)
    }
}

/// Finds `key=value` among words separated by white space.
#[must_use]
pub fn option_of<'a>(command_line: &'a str, key: &str) -> Option<&'a str> {
    command_line
        .split_ascii_whitespace()
        .filter_map(|word| word.split_once('='))
        .filter(|(name, _)| *name == key)
        .map(|(_, value)| value)
        .next_back()
}

#[cfg(test)]
mod tests {
    use super::option_of;

    #[test]
    fn last_option_wins_and_bare_words_do_not_count() {
        let line = "run=demo quiet run=shell  debug-exit=0xf4";
        assert_eq!(option_of(line, "run"), Some("shell"));
        assert_eq!(option_of(line, "debug-exit"), Some("0xf4"));
        assert_eq!(option_of(line, "quiet"), None);
    }
}
