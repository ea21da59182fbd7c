//! What the hypervisor needs of the firmware's tables.

use super::super::console;
use super::super::layout::BOOT_PHYSICAL;
use super::io_apic::Signal;
use crate::boot::refuse_machine;
use pvops_abi::addr::{PhysAddr, VirtAddr};
use pvops_firmware::redirection::{self, Polarity, Trigger};
use pvops_firmware::{
    Firmware, ISA_LINES, IsaLine, MAX_CONFIGURATION_SPACES, MAX_CPUS, MAX_IO_APICS, MAX_PORTS, Unusable,
};
use system_image::{MmioRange, PortRange, boot_text};

/// Local APIC, IOAPICs, HPET and PCI configuration.
const MAX_REGISTERS: usize = 2 + MAX_IO_APICS + MAX_CONFIGURATION_SPACES;

/// See the module.
pub struct Found {
    /// Local APIC ids of the CPUs.
    pub cpus: heapless::Vec<u32, MAX_CPUS>,
    /// Registers of the first IOAPIC.
    pub io_apic: u64,
    /// Where the ISA interrupts arrive.
    isa_lines: [IsaLine; ISA_LINES],
    /// Registers in memory that no domain is given.
    pub registers: heapless::Vec<MmioRange, MAX_REGISTERS>,
    /// Ports that no domain is given.
    pub ports: heapless::Vec<PortRange, MAX_PORTS>,
    /// Ports PM1a and PM1b and the sleep types of soft-off.
    pub power_off: Option<(u16, u16, [u8; 2])>,
}

impl Found {
    /// Where the console's interrupt arrives: input of the first IOAPIC.
    #[must_use]
    pub fn console_line(&self) -> u32 {
        self.isa_lines[usize::from(console::LINE)].line
    }

    /// How an input of the first IOAPIC signals: as the ISA interrupt arriving there, else as PCI does.
    #[must_use]
    pub fn signal(&self, line: u32) -> Signal {
        let isa = self.isa_lines.iter().find(|isa| isa.line == line);
        let redirection::Signal { trigger, polarity } = isa.map_or(redirection::PCI, |isa| isa.signal);
        Signal { level: trigger == Trigger::Level, low: polarity == Polarity::Low }
    }
}

/// Reads the tables, or ends with a clear line.
#[must_use]
pub fn find(rsdp: Option<u64>) -> Found {
    let Some(rsdp) = rsdp else { refuse_machine(boot_text!("no ACPI tables")) };
    let firmware = match Firmware::read(PhysAddr(rsdp), VirtAddr(BOOT_PHYSICAL)) {
        Ok(firmware) => firmware,
        Err(Unusable::Tables) => refuse_machine(boot_text!("ACPI tables damaged")),
        Err(Unusable::NoMadt) => refuse_machine(boot_text!("no MADT")),
        Err(Unusable::Madt) => refuse_machine(boot_text!("MADT damaged")),
    };
    let Some(io_apic) = firmware.io_apics[0].filter(|io_apic| io_apic.first_line == 0) else {
        refuse_machine(boot_text!("no IOAPIC for the ISA interrupts"));
    };
    let power = firmware.power;
    Found {
        io_apic: io_apic.registers.0,
        isa_lines: firmware.isa_lines,
        registers: registers(&firmware),
        ports: firmware.ports.iter().map(|&(first, count)| PortRange { first, count }).collect(),
        cpus: firmware.cpus,
        power_off: power.soft_off.map(|types| (power.pm1a_control, power.pm1b_control, [types.a, types.b])),
    }
}

fn registers(firmware: &Firmware) -> heapless::Vec<MmioRange, MAX_REGISTERS> {
    const PAGE: u64 = 4096;
    let io_apics = firmware.io_apics.iter().flatten().map(|io_apic| io_apic.registers);
    let pages = io_apics.chain([firmware.local_apic]).chain(firmware.hpet).map(|base| (base, PAGE));
    let all = pages.chain(firmware.configuration_spaces.iter().copied());
    all.map(|(base, bytes)| MmioRange { base: base.0, bytes }).collect()
}
