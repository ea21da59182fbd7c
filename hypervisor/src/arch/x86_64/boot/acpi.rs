//! What the hypervisor needs of the firmware's tables.

use super::super::console;
use super::super::layout::BOOT_PHYSICAL;
use crate::boot::refuse_machine;
use pvops_abi::addr::{PhysAddr, VirtAddr};
use pvops_firmware::redirection::{Polarity, Trigger};
use pvops_firmware::{Firmware, MAX_CPUS};

/// Where the console's interrupt arrives.
#[derive(Clone, Copy, Debug)]
pub struct ConsoleLine {
    /// Input of the first IOAPIC.
    pub input: u8,
    /// Level-triggered.
    pub level: bool,
    /// Active low.
    pub low: bool,
}

/// See the module.
pub struct Found {
    /// Local APIC ids of the CPUs.
    pub cpus: heapless::Vec<u32, MAX_CPUS>,
    /// Registers of the first IOAPIC.
    pub io_apic: u64,
    /// Where the console's interrupt arrives.
    pub console_line: ConsoleLine,
    /// Ports PM1a and PM1b and the sleep types of soft-off.
    pub power_off: Option<(u16, u16, [u8; 2])>,
}

/// Reads the tables, or ends with a clear line.
#[must_use]
pub fn find(rsdp: Option<u64>) -> Found {
    let Some(rsdp) = rsdp else { refuse_machine("no ACPI tables") };
    let firmware = match Firmware::read(PhysAddr(rsdp), VirtAddr(BOOT_PHYSICAL)) {
        Ok(firmware) => firmware,
        Err(reason) => refuse_machine(reason),
    };
    let Some(io_apic) = firmware.io_apics[0].filter(|io_apic| io_apic.first_line == 0) else {
        refuse_machine("no IOAPIC for the ISA interrupts");
    };
    let line = firmware.isa_lines[usize::from(console::LINE)];
    let power = firmware.power;
    Found {
        cpus: firmware.cpus,
        io_apic: io_apic.registers.0,
        console_line: ConsoleLine {
            input: line.line as u8,
            level: line.signal.trigger == Trigger::Level,
            low: line.signal.polarity == Polarity::Low,
        },
        power_off: power.soft_off.map(|types| (power.pm1a_control, power.pm1b_control, [types.a, types.b])),
    }
}
