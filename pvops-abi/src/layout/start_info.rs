//! `StartInfo`: what a hypervisor tells a guest at entry, and the memory map it points to.

use super::assert_layout;
use super::frame::Selectors;

/// First word of a `StartInfo`: "PVOPS" and a format number.
pub const START_INFO_MAGIC: u64 = u64::from_le_bytes(*b"PVOPS\0\0\x01");
/// Version of [`StartInfo`] described here.
pub const START_INFO_VERSION: u16 = 1;

/// Implementation ids (BASE.implementation). Vendors ask for a number by a change to this list.
pub mod implementation {
    /// The hypervisor of this project.
    pub const PVOPS_HYPERVISOR: u32 = 1;
}

/// How the guest kernel is executed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u32)]
pub enum ExecutionMode {
    /// Kernel and user both in ring 3; CPU and MMU are operated by calls.
    Deprivileged = 1,
    /// The kernel keeps ring 0 under VT-x or SVM. Reserved.
    Hardware = 2,
}

/// A range of virtual addresses `start..=last`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(C)]
pub struct VirtRange {
    /// First address.
    pub start: u64,
    /// Last address, inclusive, so that the top of the address space can be named.
    pub last: u64,
}
assert_layout!(VirtRange, 16, { start: 0, last: 8 });

/// Most entries of [`StartInfo::reserved_ranges`].
pub const MAX_RESERVED_RANGES: usize = 4;

/// Passed by virtual address in `rdi` at the note's entry. Lies in guest memory of kind
/// [`MemoryKind::StartInfo`]; read-only by convention.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(C)]
pub struct StartInfo {
    /// [`START_INFO_MAGIC`].
    pub magic: u64,
    /// Bytes of this structure.
    pub size: u32,
    /// [`START_INFO_VERSION`].
    pub version: u16,
    /// Zero.
    pub reserved: u16,
    /// ABI version that the hypervisor gives this domain, as BASE.version.
    pub abi_version: u32,
    /// [`implementation`].
    pub implementation: u32,
    /// An [`ExecutionMode`].
    pub execution_mode: u32,
    /// vCPUs of this domain.
    pub vcpu_count: u32,
    /// Guest-physical address of [`MemoryRegion`]s, sorted, not overlapping.
    pub memory_map: u64,
    /// How many.
    pub memory_map_count: u32,
    /// Bytes of the command line.
    pub command_line_bytes: u32,
    /// Guest-physical address of the command line, UTF-8.
    pub command_line: u64,
    /// Guest-physical address of the ramdisk; 0: none.
    pub ramdisk: u64,
    /// Bytes of the ramdisk.
    pub ramdisk_bytes: u64,
    /// Virtual address at which all of guest-physical memory is mapped by the boot tables, writable, no execute.
    pub physical_map: u64,
    /// Virtual address of the first byte of the kernel image.
    pub kernel_virt: u64,
    /// Guest-physical address of the first byte of the kernel image.
    pub kernel_phys: u64,
    /// Bytes of the kernel image in memory.
    pub kernel_bytes: u64,
    /// Guest-physical address of the boot tables' PML4.
    pub boot_root: u64,
    /// Lowest address of the boot stack.
    pub boot_stack_base: u64,
    /// Bytes of the boot stack.
    pub boot_stack_bytes: u64,
    /// Guest-physical address of the hypercall page.
    pub hypercall_page_phys: u64,
    /// Where the boot tables map the hypercall page, executable.
    pub hypercall_page_virt: u64,
    /// Ticks per second of the time-stamp counter.
    pub tsc_hz: u64,
    /// Selectors that appear in frames.
    pub selectors: Selectors,
    /// Virtual addresses that the guest may use, reserved ranges excepted.
    pub usable_range: VirtRange,
    /// Entries used of `reserved_ranges`.
    pub reserved_range_count: u64,
    /// Virtual addresses that the guest must leave alone.
    pub reserved_ranges: [VirtRange; MAX_RESERVED_RANGES],
}

assert_layout!(StartInfo, 248, {
    magic: 0, size: 8, version: 12, reserved: 14, abi_version: 16, implementation: 20, execution_mode: 24,
    vcpu_count: 28, memory_map: 32, memory_map_count: 40, command_line_bytes: 44, command_line: 48,
    ramdisk: 56, ramdisk_bytes: 64, physical_map: 72, kernel_virt: 80, kernel_phys: 88, kernel_bytes: 96,
    boot_root: 104, boot_stack_base: 112, boot_stack_bytes: 120, hypercall_page_phys: 128,
    hypercall_page_virt: 136, tsc_hz: 144, selectors: 152, usable_range: 160, reserved_range_count: 176,
    reserved_ranges: 184,
});

/// What a range of guest-physical memory holds at entry.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u32)]
pub enum MemoryKind {
    /// Free.
    Usable = 1,
    /// The kernel image.
    Kernel = 2,
    /// Boot page tables and boot stack: free once the guest uses tables and a stack of its own.
    BootReclaimable = 3,
    /// `StartInfo`, memory map and command line: free once read.
    StartInfo = 4,
    /// The hypercall page: never written, never freed.
    HypercallPage = 5,
    /// The ramdisk.
    Ramdisk = 6,
    /// Registers of an assigned device, or of the machine.
    Device = 7,
    /// Neither memory nor device for this kernel.
    Reserved = 8,
}

/// One range of the memory map. Bounds are multiples of 4096.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(C)]
pub struct MemoryRegion {
    /// First byte.
    pub start: u64,
    /// Length in bytes.
    pub bytes: u64,
    /// A [`MemoryKind`].
    pub kind: u32,
    /// Zero.
    pub reserved: u32,
}
assert_layout!(MemoryRegion, 24, { start: 0, bytes: 8, kind: 16, reserved: 20 });
