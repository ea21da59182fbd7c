//! Whether a domain may be given its devices on this machine: the checks for which the image alone does not suffice.
//!
//! What belongs to every PC the image's reader knows. What lies elsewhere on each machine, memory above all, is
//! checked here, against the boot loader's memory map and ACPI's tables.

use super::refusal::Refusal;
use bootloader_api::info::MemoryRegion;
use system_image::layout::MAX_DEVICES;
use system_image::{Device, MmioRange, PortRange};

/// What there is on this machine, as far as devices could meet it.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// The boot loader's map: memory, and what the firmware keeps for itself.
    pub memory_map: &'a [MemoryRegion],
    /// Bits of a physical address.
    pub address_bits: u32,
    /// Registers in memory that are never assigned: interrupt controllers, HPET, PCI configuration.
    pub machine_registers: &'a [MmioRange],
    /// Ports that are never assigned: ACPI's.
    pub machine_ports: &'a [PortRange],
    /// Lines of the IOAPIC.
    pub lines: u32,
    /// The console's line.
    pub console_line: u32,
}

/// Checks a device against the machine.
///
/// # Errors
/// [`Refusal`].
pub fn check(device: &Device, facts: &Facts<'_>) -> Result<(), Refusal> {
    if let Some(ports) = device.ports
        && facts.machine_ports.iter().any(|other| ports.overlaps(*other))
    {
        return Err(Refusal::MachineDevice);
    }
    if let Some(registers) = device.mmio {
        if registers.end() > 1 << facts.address_bits {
            return Err(Refusal::RegistersOutOfReach);
        }
        if facts.machine_registers.iter().any(|other| registers.overlaps(*other)) {
            return Err(Refusal::MachineDevice);
        }
        let meets = |region: &MemoryRegion| region.start < registers.end() && registers.base < region.end;
        if facts.memory_map.iter().any(meets) {
            return Err(Refusal::RegistersAreMemory);
        }
    }
    match device.interrupt {
        Some(line) if line == facts.console_line => Err(Refusal::MachineDevice),
        Some(line) if line >= facts.lines => Err(Refusal::NoSuchInterrupt),
        _ => Ok(()),
    }
}

/// Registers in memory, by device: first address and the one behind the last; 0 and 0: none.
#[must_use]
pub fn registers(devices: &[Device]) -> [(u64, u64); MAX_DEVICES] {
    core::array::from_fn(|number| {
        let registers = devices.get(number).and_then(|device| device.mmio);
        registers.map_or((0, 0), |registers| (registers.base, registers.end()))
    })
}
