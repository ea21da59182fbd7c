//! Structures in memory that guest and hypervisor share.
//!
//! All are `repr(C)`, little-endian, without padding holes; sizes and offsets are asserted at compile time.
//! A structure that can grow starts with its size and version: a reader uses no field beyond the size.

pub mod event;
pub mod frame;
pub mod start_info;
pub mod vcpu_area;

pub use event::{EventPage, MAX_PORTS, PortKind};
pub use frame::{IretFrame, TrapFrame, TrapGate};
pub use start_info::{MemoryKind, MemoryRegion, StartInfo};
pub use vcpu_area::VcpuArea;

/// Asserts the size and the field offsets of a shared structure at compile time.
macro_rules! assert_layout {
    ($type:ty, $size:literal, { $($field:ident: $offset:literal),* $(,)? }) => {
        const _: () = {
            assert!(core::mem::size_of::<$type>() == $size);
            $(assert!(core::mem::offset_of!($type, $field) == $offset);)*
        };
    };
}
pub(crate) use assert_layout;

bitflags::bitflags! {
    /// Flags of MMU.load_root.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub struct LoadRootFlags: u64 {
        /// Keep cached translations of this root. Without it they are dropped, but those of common slots.
        const KEEP = 1;
    }
    /// Flags of MMU.flush_all.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub struct FlushAllFlags: u64 {
        /// Drop translations of every root and of the common slots, not only the current root's.
        const EVERY_ROOT = 1;
    }
}

/// Why a domain shuts down (SCHED.shutdown).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u64)]
pub enum ShutdownReason {
    /// The work is done; the code is the status (0: success).
    PowerOff = 0,
    /// Start this domain again from its image.
    Reboot = 1,
    /// The kernel found itself broken; the restart policy applies.
    Crash = 2,
}

/// What CPU.cpuid stores.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(C)]
pub struct CpuidResult {
    /// Register EAX.
    pub eax: u32,
    /// Register EBX.
    pub ebx: u32,
    /// Register ECX.
    pub ecx: u32,
    /// Register EDX.
    pub edx: u32,
}
assert_layout!(CpuidResult, 16, { eax: 0, ebx: 4, ecx: 8, edx: 12 });

/// One call of a batch. The hypervisor fills `status` and `value`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(C)]
pub struct BatchEntry {
    /// The call's id. Calls that do not return, and BASE.batch itself, are refused.
    pub id: u64,
    /// `rdi rsi rdx r10 r8 r9`.
    pub arguments: [u64; 6],
    /// Out: what `rax` would hold.
    pub status: i64,
    /// Out: what `rdx` would hold.
    pub value: u64,
}
assert_layout!(BatchEntry, 72, { id: 0, arguments: 8, status: 56, value: 64 });

/// Most entries in one batch.
pub const MAX_BATCH: u64 = 64;
