//! Boot: from the boot loader's hand-over to the first instruction of the guest.
//!
//! Everything here, and in [`crate::arch::x86_64::boot`], runs once; its sections are boot-only. Read
//! [`start`] first: it is the story.

pub mod builder;
pub mod devices;
pub mod elf;
pub mod refusal;
#[cfg(test)]
mod tests;

use crate::arch::x86_64::boot::{Machine, domain as placement, pci};
use crate::arch::x86_64::machine;
use crate::domain::console;
use crate::domain::registry::{self, MAX_DOMAINS};
use refusal::Refusal;
use system_image::{Domain, ExitStatus, SystemImage, boot_text};

/// From a machine that is set up to the guest.
pub fn start(mut machine: Machine) -> ! {
    let image = match SystemImage::parse(machine.ramdisk()) {
        Ok(image) => image,
        Err(error) => {
            if let Some(port) = system_image::debug_exit_port_of_refused(machine.ramdisk()) {
                machine::set_debug_exit_port(port);
            }
            refuse_image(error.message())
        }
    };
    #[cfg(feature = "mutants")]
    {
        crate::mutants::select(image.name());
        if mutant!(LeafKeepsGlobal) {
            crate::arch::x86_64::cpu::enable_global_pages();
        }
    }
    if let Some(port) = image.debug_exit_port() {
        machine::set_debug_exit_port(port);
    }
    if image.domains().count() > MAX_DOMAINS {
        refuse_image(boot_text!("more domains than this version runs (8)"));
    }
    console::boot::print(boot_text!("pvops: hypervisor, "));
    let cpus = machine.start_other_cpus();
    console::boot::print_decimal(cpus as u64);
    console::boot::print(if cpus == 1 {
        boot_text!(" CPU, system '")
    } else {
        boot_text!(" CPUs, system '")
    });
    console::boot::print(image.name());
    console::boot::print(boot_text!("'\n"));
    #[cfg(feature = "trace")]
    machine.begin_trace();
    if image.domains().any(|domain| !domain.devices().is_empty()) {
        pci::end_bus_mastering();
    }
    for (number, domain) in (0..).zip(image.domains()) {
        if let Err(refusal) = place(&mut machine, number, &domain) {
            refuse_domain(&domain, refusal);
        }
    }
    registry::boot::seat_all();
    console::boot::enable_input();
    machine.run()
}

/// Checks the guest, gives it memory, builds it.
fn place(machine: &mut Machine, number: u16, domain: &Domain<'_>) -> Result<(), Refusal> {
    let kernel = elf::Kernel::parse(domain.image)?;
    let [vcpu] = domain.vcpus() else { return Err(Refusal::TooManyVcpus) };
    if vcpu.cpu as usize >= machine.cpu_count() {
        return Err(Refusal::NoSuchCpu);
    }
    domain.devices().iter().try_for_each(|device| machine.check_device(device))?;
    let request = builder::Request {
        command_line: domain.cmdline,
        vcpu_count: 1,
        tsc_hz: crate::arch::x86_64::time::hz(),
        devices: domain.devices(),
    };
    let mut memory = machine.allocate_domain(domain.memory_bytes).ok_or(Refusal::NoMemory)?;
    let start = builder::build(memory.bytes(), &kernel, request)?;
    let name = padded(domain.name);
    let devices = machine.assign_devices(number, vcpu.cpu, domain.devices())?;
    let placed = placement::Placed {
        number,
        name,
        crash_policy: domain.crash_policy,
        has_console: domain.has_console,
        cpu: vcpu.cpu,
        priority: vcpu.priority,
        start,
        registers: devices::registers(domain.devices()),
        devices,
        // The image's reader lets no domain have more channels than this holds.
        channels: domain.channels().iter().copied().collect(),
    };
    machine.install_domain(memory, placed)
}

/// A name as the hypervisor keeps it: padded with zeros.
fn padded(name: &str) -> [u8; crate::domain::NAME_BYTES] {
    let mut bytes = [0; crate::domain::NAME_BYTES];
    let length = name.len().min(bytes.len());
    bytes[..length].copy_from_slice(&name.as_bytes()[..length]);
    bytes
}

fn refuse_image(reason: &str) -> ! {
    console::boot::print(boot_text!("pvops: system image refused: "));
    console::boot::print(reason);
    console::boot::print(boot_text!("\n"));
    machine::power_off(ExitStatus::IMAGE_REFUSED)
}

fn refuse_domain(domain: &Domain<'_>, refusal: Refusal) -> ! {
    console::boot::print(boot_text!("pvops: domain '"));
    console::boot::print(domain.name);
    console::boot::print(boot_text!("' refused: "));
    console::boot::print(refusal.message());
    console::boot::print(boot_text!("\n"));
    machine::power_off(ExitStatus::IMAGE_REFUSED)
}

/// The machine lacks something without which no guest can run.
pub fn refuse_machine(reason: &str) -> ! {
    console::boot::print(boot_text!("pvops: machine not supported: "));
    console::boot::print(reason);
    console::boot::print(boot_text!("\n"));
    machine::power_off(ExitStatus::MACHINE_UNSUPPORTED)
}
