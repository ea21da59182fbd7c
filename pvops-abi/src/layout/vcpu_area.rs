//! The vCPU area: what a guest kernel and the hypervisor exchange by plain loads and stores.
//!
//! The guest places it inside its own per-CPU data and registers it (CPU.register_area), so that each field
//! is one `gs`-relative access at an offset the kernel chose, and a preempted thread never touches another
//! vCPU's flags. The whole area lies in one page.

use super::assert_layout;
use core::sync::atomic::{AtomicU8, AtomicU32, AtomicU64};

/// Version of [`VcpuArea`] described here.
pub const VCPU_AREA_VERSION: u16 = 1;

/// What a guest kernel and the hypervisor exchange by plain loads and stores, for one vCPU. Registered by
/// CPU.register_area; the whole area lies in one page.
#[derive(Debug)]
#[repr(C, align(64))]
pub struct VcpuArea {
    /// Bytes of this structure; set by the guest.
    pub size: u32,
    /// [`VCPU_AREA_VERSION`]; set by the guest.
    pub version: u16,
    /// Guest: 1 while events may be delivered to kernel mode. The hypervisor clears it at event delivery, at
    /// system calls and at traps whose gate masks, and sets it at `iret`: from the frame for kernel mode, to 1 for user mode.
    pub events_enabled: AtomicU8,
    /// Hypervisor: 1 after a port became pending. The event handler clears it before it looks for ports.
    pub events_pending: AtomicU8,
    /// One bit per 64-bit word of [`super::EventPage::pending`] that may hold a bit for this vCPU.
    pub selector: AtomicU64,
    /// Guest: stack pointer used on entry from user mode; 16-byte aligned.
    pub kernel_stack: AtomicU64,
    /// Hypervisor: user mode's stack pointer at a system call.
    pub user_rsp: AtomicU64,
    /// Guest: GS base loaded on entry into the kernel from user mode.
    pub kernel_gs_base: AtomicU64,
    /// Both: user mode's GS base; stored on entry into the kernel, loaded on return to user mode.
    pub user_gs_base: AtomicU64,
    /// Hypervisor: the address whose access caused the last page fault delivered.
    pub fault_address: AtomicU64,
    /// Hypervisor: number of this vCPU in its domain.
    pub vcpu: AtomicU32,
    /// Hypervisor: odd while it changes the time fields below.
    pub time_sequence: AtomicU32,
    /// Clock in nanoseconds at `time_tsc`.
    pub time_ns: AtomicU64,
    /// Time-stamp counter at `time_ns`.
    pub time_tsc: AtomicU64,
    /// Nanoseconds per counter tick, as a fraction of 2^32: `ns = time_ns + ((tsc - time_tsc) * mul >> 32)`.
    pub time_mul: AtomicU64,
    /// Hypervisor: nanoseconds for which this vCPU was ready to run but another ran.
    pub stolen_ns: AtomicU64,
    /// Hypervisor: translations that it loaded at a fault which the guest did not see. Zero where there are none.
    pub hidden_faults: AtomicU64,
    /// Hypervisor: where user mode goes on after a system call.
    pub user_rip: AtomicU64,
    /// Hypervisor: user mode's flags at a system call, the virtual interrupt flag in bit 9.
    pub user_rflags: AtomicU64,
    /// Zero.
    pub reserved: u64,
}

assert_layout!(VcpuArea, 128, {
    size: 0, version: 4, events_enabled: 6, events_pending: 7, selector: 8, kernel_stack: 16,
    user_rsp: 24, kernel_gs_base: 32, user_gs_base: 40, fault_address: 48, vcpu: 56,
    time_sequence: 60, time_ns: 64, time_tsc: 72, time_mul: 80, stolen_ns: 88, hidden_faults: 96,
    user_rip: 104, user_rflags: 112, reserved: 120,
});

impl VcpuArea {
    /// An area with size and version set and events masked.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            size: size_of::<Self>() as u32,
            version: VCPU_AREA_VERSION,
            events_enabled: AtomicU8::new(0),
            events_pending: AtomicU8::new(0),
            selector: AtomicU64::new(0),
            kernel_stack: AtomicU64::new(0),
            user_rsp: AtomicU64::new(0),
            kernel_gs_base: AtomicU64::new(0),
            user_gs_base: AtomicU64::new(0),
            fault_address: AtomicU64::new(0),
            vcpu: AtomicU32::new(0),
            time_sequence: AtomicU32::new(0),
            time_ns: AtomicU64::new(0),
            time_tsc: AtomicU64::new(0),
            time_mul: AtomicU64::new(0),
            stolen_ns: AtomicU64::new(0),
            hidden_faults: AtomicU64::new(0),
            user_rip: AtomicU64::new(0),
            user_rflags: AtomicU64::new(0),
            reserved: 0,
        }
    }
}

impl Default for VcpuArea {
    fn default() -> Self {
        Self::new()
    }
}
