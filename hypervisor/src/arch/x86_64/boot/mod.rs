//! Boot on the machine: from the boot loader's tables to our own, and all CPUs up. The boot loader's stack is used
//! to the end, because what boot needs is larger than what the resident hypervisor does.

pub mod acpi;
pub mod clock;
pub mod devices;
pub mod domain;
pub mod features;
pub mod io_apic;
pub mod memory;
pub mod pci;
pub mod smp;
pub mod tables;
#[cfg(feature = "trace")]
pub mod trace;

use super::layout::{BOOT_DYNAMIC, BOOT_DYNAMIC_LAST, BOOT_PHYSICAL, IMAGE, cpu_pages};
use super::percpu::{FRAME, cpu};
use super::{apic, console, machine, segments, start};
use crate::boot::refuse_machine;
use crate::domain::devices::Gate;
use bootloader_api::config::Mapping;
use bootloader_api::info::MemoryRegion;
use bootloader_api::{BootInfo, BootloaderConfig};
use memory::BootMemory;
use system_image::boot_text;
use tables::{CpuTables, SharedTables};

/// What the boot loader is asked for: everything in the hypervisor's own slots.
pub const CONFIG: BootloaderConfig = {
    let mut config = BootloaderConfig::new_default();
    config.mappings.kernel_base = Mapping::FixedAddress(IMAGE);
    config.mappings.physical_memory = Some(Mapping::FixedAddress(BOOT_PHYSICAL));
    config.mappings.dynamic_range_start = Some(BOOT_DYNAMIC);
    config.mappings.dynamic_range_end = Some(BOOT_DYNAMIC_LAST);
    config.kernel_stack_size = 128 * 1024;
    config
};

/// The machine during boot.
pub struct Machine {
    memory: BootMemory,
    memory_map: &'static [MemoryRegion],
    ramdisk: &'static [u8],
    cpus: heapless::Vec<CpuTables, { machine::MAX_CPUS }>,
    found: acpi::Found,
}

/// The boot loader's entry: own tables and an own stack as soon as possible, then [`crate::boot::start`].
pub fn entry(info: &'static mut BootInfo) -> ! {
    crate::domain::console::boot::start();
    features::require();
    let mut memory = BootMemory::new(&info.memory_regions);
    let found = acpi::find(info.rsdp_addr.into_option());
    let shared = SharedTables::new(&mut memory, found.io_apic);
    let mut cpus = heapless::Vec::new();
    for _ in 0..found.cpus.len() {
        let Ok(()) = cpus.push(CpuTables::new(&mut memory, &shared)) else { break };
    }
    let ramdisk = ramdisk(info);
    if let Some((pm1a, pm1b, sleep_types)) = found.power_off {
        machine::set_power_off(pm1a, pm1b, sleep_types);
    }
    let Some(boot_cpu) = cpus.first_mut() else { refuse_machine(boot_text!("no CPU in the ACPI tables")) };
    boot_cpu.keep_boot_slots();
    // SAFETY: the new root maps image, this CPU's pages and the boot loader's slots, stack included.
    unsafe { super::cpu::load_root(boot_cpu.boot_root()) };
    start_boot_cpu(boot_cpu.root());
    let memory_map = &info.memory_regions;
    crate::boot::start(Machine { memory, memory_map, ramdisk, cpus, found })
}

fn ramdisk(info: &BootInfo) -> &'static [u8] {
    let Some(address) = info.ramdisk_addr.into_option() else { return &[] };
    // SAFETY: the boot loader mapped the ramdisk there; the slot stays mapped until the domain is built.
    unsafe { core::slice::from_raw_parts(address as *const u8, info.ramdisk_len as usize) }
}

/// Sets this CPU up on its own pages, and the clock and the interrupt controllers.
fn start_boot_cpu(root: u64) {
    let this = cpu();
    this.root.set(root);
    this.begin();
    segments::boot::fill_interrupt_table();
    segments::boot::load(this);
    features::enable();
    clock::silence_legacy_interrupts();
    let (hz, wall_ns) = clock::measure();
    super::time::start(hz, wall_ns);
    apic::boot::probe();
    super::switch::probe();
    apic::boot::start_cpu();
    apic::boot::calibrate_timer();
    io_apic::mask_all();
}

impl Machine {
    /// The system image as the boot loader loaded it.
    #[must_use]
    pub fn ramdisk(&self) -> &'static [u8] {
        self.ramdisk
    }

    /// Begins the rings of the CPUs that run.
    #[cfg(feature = "trace")]
    pub fn begin_trace(&self) {
        self.cpus.iter().enumerate().for_each(|(number, cpu)| trace::begin_ring(number, cpu.trace_ring()));
    }

    /// CPUs that were started, this one included.
    #[must_use]
    pub fn cpu_count(&self) -> usize {
        self.cpus.len()
    }

    /// Starts the other CPUs, which wait then. Returns how many CPUs run; those that did not answer are left out.
    pub fn start_other_cpus(&mut self) -> usize {
        let boot_id = cpu().apic_id.get();
        machine::set_apic_id(0, boot_id);
        let others: heapless::Vec<u32, { machine::MAX_CPUS }> =
            self.found.cpus.iter().copied().filter(|id| *id != boot_id).collect();
        let mut running = 1;
        for id in others {
            if running < self.cpus.len()
                && smp::start_cpu(&mut self.memory, &mut self.cpus[running], running, id)
            {
                machine::set_apic_id(running, id);
                running += 1;
            }
        }
        self.cpus.truncate(running);
        running
    }

    /// Lets the console interrupt this CPU, and all CPUs run their domains.
    pub fn run(self) -> ! {
        let line = self.found.console_line();
        let (vector, target) = (apic::vector::LINES + console::LINE, machine::apic_id(0) as u8);
        io_apic::route(line as u8, vector, target, self.found.signal(line)).unmask();
        smp::finish(self.cpus.len() as u32);
        tables::continue_on_own_stack(start::begin)
    }
}

const _: () =
    assert!(FRAME.is_multiple_of(16) && super::layout::CPU_PAGES + cpu_pages::FIRST_STACK_TOP < FRAME);
