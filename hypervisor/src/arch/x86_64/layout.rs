//! The hypervisor's part of every address space: PML4 slots 256..=271.
//!
//! What a guest's tables map is this and nothing else, by construction: the image, this CPU's pages, the
//! device registers of the interrupt controllers, the running domain's memory and state. Each stands at one
//! constant address, so no register is needed to find it: entry code uses neither GS nor `swapgs`.

use crate::mmu::HYPERVISOR_START;

/// The image, as the boot loader placed it. Within 2 GiB of what follows, for `rip`-relative accesses.
pub const IMAGE: u64 = HYPERVISOR_START;
/// Distance from the image to this CPU's pages ([`super::percpu::PerCpu`] and stacks).
pub const CPU_OFFSET: u64 = 1 << 30;
/// This CPU's pages: other frames on each CPU, at the same address.
pub const CPU_PAGES: u64 = IMAGE + CPU_OFFSET;
/// Local APIC registers.
pub const LOCAL_APIC: u64 = IMAGE + (2 << 30);
/// IOAPIC registers.
pub const IO_APIC: u64 = LOCAL_APIC + 4096;
/// The running domain's memory, guest-physical 0 first (slots 257..=258).
pub const DOMAIN_MEMORY: u64 = IMAGE + (1 << 39);
/// The running domain's state: [`crate::domain::Domain`], pool information, pool.
pub const DOMAIN_STATE: u64 = IMAGE + (3 << 39);
/// Boot only: all of physical memory, by the boot loader.
pub const BOOT_PHYSICAL: u64 = IMAGE + (4 << 39);
/// Boot only: stack, boot information and ramdisk, by the boot loader, which gives each a slot of its own.
pub const BOOT_DYNAMIC: u64 = IMAGE + (6 << 39);
/// Last address of that.
pub const BOOT_DYNAMIC_LAST: u64 = crate::mmu::HYPERVISOR_LAST;

// Each has a directory-pointer entry of its own: the first and the last are shared by all CPUs.
const _: () = assert!(CPU_PAGES >> 30 != IMAGE >> 30 && CPU_PAGES >> 30 != LOCAL_APIC >> 30);

/// Pages of a CPU: its data, then stacks, each with an unmapped page below.
pub mod cpu_pages {
    /// [`super::super::percpu::PerCpu`].
    pub const DATA: u64 = 0;
    /// Top of the stack for calls and faults from guests (three pages).
    pub const STACK_TOP: u64 = 5 * 4096;
    /// Where the stack starts before the first guest runs: below the frame from which that one is entered.
    pub const FIRST_STACK_TOP: u64 = STACK_TOP - 256;
    /// Lowest address of it.
    pub const STACK_BASE: u64 = 2 * 4096;
    /// Top of the stack for double faults, machine checks and NMIs (one page each).
    pub const DOUBLE_FAULT_TOP: u64 = 7 * 4096;
    /// See [`DOUBLE_FAULT_TOP`].
    pub const MACHINE_CHECK_TOP: u64 = 9 * 4096;
    /// See [`DOUBLE_FAULT_TOP`].
    pub const NMI_TOP: u64 = 11 * 4096;
    /// The I/O permission bitmap, one bit per port. Mapped on the CPUs of domains that have ports.
    pub const IO_BITMAP: u64 = 12 * 4096;
    /// Bytes of it; one more, all ones, follows.
    pub const IO_BITMAP_BYTES: u64 = 0x1_0000 / 8;
    /// With the feature `trace`: a page of stack for points in the entry code, then the ring; an unmapped page below.
    pub const TRACE: u64 = 1 << 20;
    /// Pages that are mapped, by number; the gaps are guards.
    pub const MAPPED: [u8; 7] = [0, 2, 3, 4, 6, 8, 10];
    /// Pages of the bitmap and the byte behind it.
    pub const IO_BITMAP_PAGES: [u64; 3] = [12, 13, 14];
}
