//! What ACPI's static tables say of this machine, copied once so that the tables are not needed again.
//!
//! By the `acpi` crate without its AML interpreter, which needs a heap; the one AML value that power-off needs
//! comes from [`sleep_package`].
//!
//! A crate of its own, because the metal backend and the hypervisor both need it and neither may depend on the
//! other.
#![no_std]

pub mod madt_entries;
pub mod physical_map;
pub mod redirection;
pub mod sleep_package;

use acpi::address::{AddressSpace, GenericAddress};
use acpi::sdt::SdtHeader;
use acpi::sdt::fadt::Fadt;
use acpi::sdt::madt::{Madt, MadtEntry};
use acpi::sdt::mcfg::Mcfg;
use acpi::{AcpiTables, HpetInfo, PhysicalMapping};
use pvops_abi::addr::{PhysAddr, VirtAddr};

use heapless::Vec;
use physical_map::PhysicalMap;
use redirection::Signal;
use sleep_package::{SleepType, find_soft_off};

/// Most CPUs listed.
pub const MAX_CPUS: usize = 64;

/// Most IOAPICs kept.
pub const MAX_IO_APICS: usize = 4;
/// Most windows of PCI configuration space kept.
pub const MAX_CONFIGURATION_SPACES: usize = 16;
/// Most ranges of ACPI's ports.
pub const MAX_PORTS: usize = 10;
/// ISA has this many lines.
pub const ISA_LINES: usize = 16;

/// One IOAPIC.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct IoApicPlace {
    /// Its registers.
    pub registers: PhysAddr,
    /// Global number of its first line.
    pub first_line: u32,
}

/// Where an ISA line arrives.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct IsaLine {
    /// Global number.
    pub line: u32,
    /// How it signals.
    pub signal: Signal,
}

/// Ports and values that end or restart the machine.
#[derive(Clone, Copy, Debug, Default)]
pub struct PowerRegisters {
    /// PM1a_CNT, 0: none.
    pub pm1a_control: u16,
    /// PM1b_CNT, 0: none.
    pub pm1b_control: u16,
    /// Values for soft-off.
    pub soft_off: Option<SleepType>,
    /// Port and value that hand the PM1 registers from firmware to us; port 0: not needed.
    pub acpi_enable: (u16, u8),
    /// Port and value that reset the machine.
    pub reset: Option<(u16, u8)>,
}

/// See the module.
#[derive(Clone, Debug)]
pub struct Firmware {
    /// Registers of the local APICs.
    pub local_apic: PhysAddr,
    /// The IOAPICs.
    pub io_apics: [Option<IoApicPlace>; MAX_IO_APICS],
    /// By ISA number.
    pub isa_lines: [IsaLine; ISA_LINES],
    /// Local APIC ids of the CPUs that are enabled, at most [`MAX_CPUS`].
    pub cpus: Vec<u32, MAX_CPUS>,
    /// Registers of the HPET.
    pub hpet: Option<PhysAddr>,
    /// Port of the power-management timer.
    pub pm_timer: Option<u16>,
    /// Windows of PCI configuration space in memory: address and bytes.
    pub configuration_spaces: Vec<(PhysAddr, u64), MAX_CONFIGURATION_SPACES>,
    /// I/O ports of ACPI's fixed hardware: first port and how many.
    pub ports: Vec<(u16, u16), MAX_PORTS>,
    /// CMOS register of the century, 0: none.
    pub century_register: u8,
    /// How to end or restart the machine.
    pub power: PowerRegisters,
}

/// Why firmware's tables cannot be used.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unusable {
    /// The list of tables is damaged.
    Tables,
    /// There is no MADT, so nothing is known of CPUs and interrupts.
    NoMadt,
    /// The MADT's entries cannot be walked.
    Madt,
}

impl Unusable {
    /// The same in words. The hypervisor has its own: what it keeps in memory must not hold these.
    #[must_use]
    pub const fn message(self) -> &'static str {
        match self {
            Self::Tables => "ACPI tables damaged",
            Self::NoMadt => "no MADT",
            Self::Madt => "MADT damaged",
        }
    }
}

impl Firmware {
    /// Reads the tables from `rsdp`, physical memory being mapped from `physical_map` on.
    ///
    /// # Errors
    /// What is missing or damaged.
    pub fn read(rsdp: PhysAddr, physical_map: VirtAddr) -> Result<Self, Unusable> {
        let tables = open(rsdp, physical_map)?;
        let mut firmware = Self {
            local_apic: PhysAddr(0),
            io_apics: [None; MAX_IO_APICS],
            isa_lines: core::array::from_fn(|line| IsaLine { line: line as u32, signal: redirection::ISA }),
            cpus: Vec::new(),
            hpet: HpetInfo::new(&tables).ok().map(|hpet| PhysAddr(hpet.base_address as u64)),
            pm_timer: None,
            configuration_spaces: configuration_spaces(&tables),
            ports: Vec::new(),
            century_register: 0,
            power: PowerRegisters::default(),
        };
        firmware.read_madt(&madt(&tables, PhysicalMap(physical_map))?);
        firmware.read_fadt(&tables);
        firmware.power.soft_off = soft_off(&tables, PhysicalMap(physical_map));
        Ok(firmware)
    }

    fn read_madt(&mut self, madt: &PhysicalMapping<PhysicalMap, Madt>) {
        self.local_apic = PhysAddr(madt.get().local_apic_address.into());
        for entry in madt.get().entries() {
            match entry {
                MadtEntry::IoApic(io_apic) => self.add_io_apic(IoApicPlace {
                    registers: PhysAddr(io_apic.io_apic_address.into()),
                    first_line: io_apic.global_system_interrupt_base,
                }),
                MadtEntry::InterruptSourceOverride(change) if change.bus == 0 => {
                    if let Some(line) = self.isa_lines.get_mut(usize::from(change.irq)) {
                        let signal = Signal::from_override_flags(change.flags);
                        *line = IsaLine { line: change.global_system_interrupt, signal };
                    }
                }
                MadtEntry::LocalApicAddressOverride(place) => {
                    self.local_apic = PhysAddr(place.local_apic_address);
                }
                _ => {}
            }
        }
        self.cpus = enabled_cpus(madt.get());
    }

    fn add_io_apic(&mut self, place: IoApicPlace) {
        if let Some(free) = self.io_apics.iter_mut().find(|slot| slot.is_none()) {
            *free = Some(place);
        }
    }

    fn read_fadt(&mut self, tables: &AcpiTables<PhysicalMap>) {
        let Some(fadt) = tables.find_table::<Fadt>() else { return };
        self.century_register = fadt.century;
        self.pm_timer = fadt.pm_timer_block().ok().flatten().and_then(io_port);
        let power = &mut self.power;
        power.pm1a_control = fadt.pm1a_control_block().ok().and_then(io_port).unwrap_or(0);
        power.pm1b_control = fadt.pm1b_control_block().ok().flatten().and_then(io_port).unwrap_or(0);
        power.acpi_enable = (fadt.smi_cmd_port as u16, fadt.acpi_enable);
        // Tables before revision 2 end before the reset register.
        if fadt.header.length as usize > core::mem::offset_of!(Fadt, reset_value) && { fadt.flags }
            .supports_system_reset_via_fadt()
        {
            power.reset = fadt.reset_register().ok().and_then(io_port).map(|port| (port, fadt.reset_value));
        }
        let reset = power.reset.map_or(0, |(port, _)| port.into());
        // SMI_CMD and the reset register are a byte each (ACPI 6.5, 4.8.3.6 and 5.2.9).
        let blocks = [
            (fadt.smi_cmd_port, 1),
            (fadt.pm1a_event_block, fadt.pm1_event_length),
            (fadt.pm1b_event_block, fadt.pm1_event_length),
            (fadt.pm1a_control_block, fadt.pm1_control_length),
            (fadt.pm1b_control_block, fadt.pm1_control_length),
            (fadt.pm2_control_block, fadt.pm2_control_length),
            (fadt.pm_timer_block, fadt.pm_timer_length),
            (fadt.gpe0_block, fadt.gpe0_block_length),
            (fadt.gpe1_block, fadt.gpe1_block_length),
            (reset, 1),
        ];
        let is_used = |(first, count): &(u32, u8)| *first != 0 && *count != 0;
        let in_ports = |(first, count)| Some((u16::try_from(first).ok()?, u16::from(count)));
        self.ports = blocks.into_iter().filter(is_used).filter_map(in_ports).collect();
    }
}

/// The MADT, if its entries can be walked.
fn madt(
    tables: &AcpiTables<PhysicalMap>,
    map: PhysicalMap,
) -> Result<PhysicalMapping<PhysicalMap, Madt>, Unusable> {
    let madt = tables.find_table::<Madt>().ok_or(Unusable::NoMadt)?;
    let bytes = (madt.get().header.length as usize).checked_sub(size_of::<Madt>()).ok_or(Unusable::Madt)?;
    let start = map.at(madt.raw().physical_start() + size_of::<Madt>());
    // SAFETY: the table's header gives its length; firmware's tables do not change while we read.
    let entries = unsafe { core::slice::from_raw_parts(start, bytes) };
    if madt_entries::are_whole(entries) { Ok(madt) } else { Err(Unusable::Madt) }
}

/// CPUs that the MADT lists as enabled. A CPU may be listed twice, with its xAPIC and its x2APIC number: the
/// second kind counts only numbers that the first cannot hold (ACPI 6.5, 5.2.12.12).
fn enabled_cpus(madt: core::pin::Pin<&Madt>) -> Vec<u32, MAX_CPUS> {
    const ENABLED: u32 = 1;
    madt.entries()
        .filter_map(|entry| match entry {
            MadtEntry::LocalApic(apic) if apic.flags & ENABLED != 0 => Some(apic.apic_id.into()),
            MadtEntry::LocalX2Apic(apic) if apic.flags & ENABLED != 0 && apic.x2apic_id > 0xfe => {
                Some(apic.x2apic_id)
            }
            _ => None,
        })
        .take(MAX_CPUS)
        .collect()
}

/// CPUs of this machine; 1 when the tables cannot be read.
#[must_use]
pub fn cpu_count(rsdp: Option<PhysAddr>, physical_map: VirtAddr) -> usize {
    rsdp.and_then(|rsdp| open(rsdp, physical_map).ok())
        .and_then(|tables| madt(&tables, PhysicalMap(physical_map)).ok())
        .map(|madt| enabled_cpus(madt.get()).len())
        .unwrap_or(1)
        .max(1)
}

/// By the MCFG: 1 MiB per bus, from the address of the segment's bus 0 (PCI Firmware Specification 3.3, 4.1.2).
fn configuration_spaces(tables: &AcpiTables<PhysicalMap>) -> Vec<(PhysAddr, u64), MAX_CONFIGURATION_SPACES> {
    const PER_BUS: u64 = 1 << 20;
    let Some(mcfg) = tables.find_table::<Mcfg>() else { return Vec::new() };
    let window = |entry: &acpi::sdt::mcfg::McfgEntry| {
        let (first, last) = (u64::from(entry.bus_number_start), u64::from(entry.bus_number_end));
        (
            PhysAddr(entry.base_address.wrapping_add(first * PER_BUS)),
            (last + 1).saturating_sub(first) * PER_BUS,
        )
    };
    mcfg.entries().iter().take(MAX_CONFIGURATION_SPACES).map(window).collect()
}

fn open(rsdp: PhysAddr, physical_map: VirtAddr) -> Result<AcpiTables<PhysicalMap>, Unusable> {
    // SAFETY: the boot loader found the pointer; the handler reads through its map of physical memory.
    unsafe { AcpiTables::from_rsdp(PhysicalMap(physical_map), rsdp.0 as usize) }.map_err(|_| Unusable::Tables)
}

fn io_port(address: GenericAddress) -> Option<u16> {
    let port = u16::try_from(address.address).ok().filter(|port| *port != 0)?;
    (address.address_space == AddressSpace::SystemIo).then_some(port)
}

/// Looks for the soft-off package in the DSDT, then in each SSDT.
fn soft_off(tables: &AcpiTables<PhysicalMap>, map: PhysicalMap) -> Option<SleepType> {
    let find = |table: acpi::AmlTable| {
        let bytes = (table.length as usize).checked_sub(size_of::<SdtHeader>())?;
        let start = map.at(table.phys_address + size_of::<SdtHeader>());
        // SAFETY: the table's header gives its length; firmware's tables do not change while we read.
        find_soft_off(unsafe { core::slice::from_raw_parts(start, bytes) })
    };
    tables.dsdt().ok().and_then(find).or_else(|| tables.ssdts().find_map(find))
}
