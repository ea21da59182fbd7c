//! Per-CPU data, at the same virtual address on every CPU.

use super::frame::Frame;
use super::layout::{CPU_OFFSET, CPU_PAGES, IMAGE, cpu_pages};
use super::segments::{GlobalDescriptorTable, TaskState};
use crate::domain::registry::Entry;
use crate::sched::{FixedPriority, MAX_READY, Seat};
use core::arch::asm;
use core::cell::Cell;
use core::mem::MaybeUninit;

/// A CPU's own data. One page; zero when the CPU starts, but for what boot sets.
#[repr(C, align(4096))]
pub struct PerCpu {
    /// Address of the current vCPU's structure, in the running domain's window; for the entry code.
    pub vcpu_address: Cell<u64>,
    /// Number of this CPU, in the order of ACPI's table; 0 booted the machine.
    pub number: Cell<u32>,
    /// Local APIC id.
    pub apic_id: Cell<u32>,
    /// CR3 that is loaded; during boot, that of the root that comes after it.
    pub root: Cell<u64>,
    /// Of the vCPU that this CPU runs or idles for; [`Seat::NONE`]: none.
    pub seat: Cell<Seat>,
    /// The vCPUs that are ready to run on this CPU.
    pub ready: FixedPriority,
    /// Who runs must be looked at again before this CPU goes back to a guest.
    pub reschedule: Cell<bool>,
    /// Tick at which the current vCPU's slice ends.
    pub slice_end: Cell<u64>,
    /// Kicks of other CPUs that were looked at, and the tick up to which they are counted.
    pub kicks: Cell<u32>,
    /// See [`PerCpu::kicks`].
    pub kicks_end: Cell<u64>,
    /// Tick at which mail is looked for that came after too many kicks; `u64::MAX`: there were not too many.
    pub look: Cell<u64>,
    /// Not 0 while guest memory is accessed through the guest's own addresses: how many faults may still be served
    /// there before the access counts as failed.
    pub guest_faults_left: Cell<u32>,
    /// The address of the guest's last page fault: CR2 is lost when a frame for it cannot be stored at once.
    pub fault_address: Cell<u64>,
    /// Number, plus 1, of the domain whose I/O ports the bitmap opens; 0: nobody's.
    pub ports_of: Cell<u32>,
    /// Timer: tick for which it is armed; `u64::MAX` not armed.
    pub timer_armed: Cell<u64>,
    /// The vCPUs placed on this CPU.
    pub members: [Cell<Option<&'static Entry>>; MAX_READY],
    /// Descriptor table.
    pub gdt: GlobalDescriptorTable,
    /// Task state.
    pub tss: TaskState,
}

const _: () = assert!(size_of::<PerCpu>() == 4096);

impl PerCpu {
    /// Sets what is not zero at first. Boot only.
    pub fn begin(&self) {
        self.seat.set(Seat::NONE);
        self.ready.clear();
        self.look.set(u64::MAX);
        self.timer_armed.set(u64::MAX);
        // SAFETY: no instruction. The compiler learns that others have the address, as the entry code has, so that it does
        // not take what it compiles itself for all that happens there.
        unsafe { asm!("/* {0} */", in(reg) self, options(nostack, preserves_flags)) };
    }
}

/// Where this CPU's data is shown, which boot maps.
#[repr(transparent)]
struct Shown(MaybeUninit<PerCpu>);

// SAFETY: other memory on each CPU, so no two CPUs share it.
unsafe impl Sync for Shown {}

/// A place near the image, to which an instruction refers in fewer bytes than to an address.
#[cfg_attr(target_os = "none", unsafe(link_section = ".cpu"))]
static CPU: Shown = Shown(MaybeUninit::uninit());

// The linker script has the same numbers.
const _: () = assert!(CPU_OFFSET == 0x4000_0000 && cpu_pages::DATA == 0);

/// This CPU's data.
#[must_use]
pub fn cpu() -> &'static PerCpu {
    // SAFETY: boot maps a zeroed page of this CPU's own there, before any code that can get here runs on the
    // CPU. Only this CPU can reach it, all its fields are cells, and references never leave the CPU.
    unsafe { CPU.0.assume_init_ref() }
}

/// Where a field of this CPU's data stands, counted from the image: for the entry code, which is `rip`-relative.
#[must_use]
pub const fn field(offset: usize) -> u64 {
    CPU_PAGES - IMAGE + cpu_pages::DATA + offset as u64
}

/// Where a field of the frame at the top of this CPU's stack stands, likewise.
#[must_use]
pub const fn frame_field(offset: usize) -> u64 {
    FRAME - IMAGE + offset as u64
}

/// Where the entry code stores the guest's registers: always the same place, the top of this CPU's stack.
pub const FRAME: u64 = CPU_PAGES + cpu_pages::STACK_TOP - size_of::<Frame>() as u64;
