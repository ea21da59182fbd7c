//! Descriptor tables: GDT and TSS per CPU, one IDT for all.
//!
//! The GDT has no 32-bit code segment and no call gate for ring 3. Of the vectors only 3 is open to ring 3; the
//! others are closed or have no gate, so `int n` arrives as #GP and is checked against the guest's own table.

pub mod boot;

use super::entry::VECTORS;
use super::percpu::PerCpu;
use core::cell::UnsafeCell;

/// Selectors. `syscall` and `sysret` fix the order (Intel SDM volume 2, SYSRET).
#[allow(missing_docs, reason = "the names say it")]
pub mod selector {
    pub const KERNEL_CODE: u16 = 0x08;
    pub const KERNEL_DATA: u16 = 0x10;
    pub const USER_DATA: u16 = 0x1b;
    pub const USER_CODE: u16 = 0x23;
    pub const TASK: u16 = 0x28;
}

/// GDT entries, the last two for the task.
pub type GlobalDescriptorTable = UnsafeCell<[u64; 7]>;

/// The task state segment (Intel SDM volume 3, 8.7). Its limit is that of the I/O bitmap behind it, see
/// [`ports`](super::ports).
#[repr(C, packed(4))]
pub struct TaskState {
    reserved0: u32,
    stacks: UnsafeCell<[u64; 3]>,
    reserved1: u64,
    interrupt_stacks: UnsafeCell<[u64; 7]>,
    reserved2: u64,
    reserved3: u16,
    io_map_base: UnsafeCell<u16>,
}

#[repr(C, align(4096))]
struct InterruptTable(UnsafeCell<[[u64; 2]; VECTORS]>);

// SAFETY: written by the boot CPU before another CPU or an interrupt uses it, then only read by hardware.
unsafe impl Sync for InterruptTable {}

static IDT: InterruptTable = InterruptTable(UnsafeCell::new([[0; 2]; VECTORS]));

/// Sets where the I/O bitmap begins, counted from the task state. The processor reads it at each access to a port.
pub fn set_io_map_base(cpu: &PerCpu, base: u16) {
    // SAFETY: this CPU's own task state; the field is a cell, and the processor only reads it.
    unsafe { UnsafeCell::raw_get(&raw const cpu.tss.io_map_base).write_unaligned(base) };
}
