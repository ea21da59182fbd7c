//! What is never assigned to a domain, wherever it lies: who has it could stop or subvert the whole machine.
//!
//! The rows are what every PC has, and QEMU's machines; they are the floor, not the ceiling. What only the machine
//! at hand knows (where its ACPI registers are, where its memory is) the hypervisor checks at boot in addition.
//! Nobody can tell from addresses whether a device reads and writes memory by itself; `configs/README.md` says
//! what that means.

use super::device::{MmioRange, PortRange};

/// Something that is not assignable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reserved {
    /// The first port, address or interrupt.
    pub first: u32,
    /// The last one.
    pub last: u32,
    /// What is there.
    pub what: &'static str,
}

const fn reserved(first: u32, last: u32, what: &'static str) -> Reserved {
    Reserved { first, last, what }
}

/// I/O ports that are never assigned.
pub const RESERVED_PORTS: [Reserved; 25] = [
    // Copies memory, anybody's: a bus master without an IOMMU in front of it.
    reserved(0x00, 0x1f, "the first DMA controller"),
    // Masks and acknowledges interrupts; the hypervisor silenced it and keeps it so.
    reserved(0x20, 0x21, "the first interrupt controller"),
    // Reroutes the interrupt controller past the APIC.
    reserved(0x22, 0x23, "the interrupt mode register"),
    // The hypervisor measures its clock with it.
    reserved(0x40, 0x43, "the interval timer"),
    // Its output port holds the reset line and the A20 gate.
    reserved(0x60, 0x60, "the keyboard controller"),
    // Gate of the interval timer, and whether memory errors raise NMIs.
    reserved(0x61, 0x61, "the system control port B"),
    // Switches power on laptops, by commands that only the firmware's byte code knows.
    reserved(0x62, 0x62, "the embedded controller"),
    // Commands: 0xfe resets the machine.
    reserved(0x64, 0x64, "the keyboard controller"),
    reserved(0x66, 0x66, "the embedded controller"),
    // Bit 7 of 0x70 masks NMIs; the memory behind 0x71 is the firmware's configuration.
    reserved(0x70, 0x77, "the real-time clock and CMOS memory"),
    // The upper address bits of the DMA controllers.
    reserved(0x80, 0x8f, "the DMA page registers"),
    // Fast A20 and fast reset.
    reserved(0x92, 0x92, "the system control port A"),
    reserved(0xa0, 0xa1, "the second interrupt controller"),
    // Raises a system-management interrupt: the firmware then acts on registers that the guest chose.
    reserved(0xb2, 0xb3, "the system management port"),
    reserved(0xc0, 0xdf, "the second DMA controller"),
    // Ends the machine. The port that the image names is refused as well.
    reserved(0xf4, 0xf7, "the debug-exit device"),
    // The hypervisor's own console.
    reserved(0x3f8, 0x3ff, "COM1, the hypervisor's console"),
    // Edge or level of each line of the interrupt controllers.
    reserved(0x4d0, 0x4d1, "the interrupt trigger registers"),
    // Its DMA interface reads and writes memory, anybody's.
    reserved(0x510, 0x51b, "QEMU's firmware configuration"),
    // Power-off, sleep and reset, on QEMU's q35 and newer pc machines; a watchdog behind them.
    reserved(0x600, 0x67f, "ACPI power management"),
    // Unplugs PCI devices and CPUs, on QEMU's q35 machine.
    reserved(0xcc0, 0xcf7, "ACPI hotplug"),
    // All PCI configuration: moves devices over memory, makes them bus masters. 0xcf9 resets.
    reserved(0xcf8, 0xcff, "PCI configuration and reset"),
    // Commands to VMware's and QEMU's monitor, in the name of the whole machine.
    reserved(0x5658, 0x565b, "the virtual machine monitor's port"),
    // Unplugs PCI devices and CPUs, on QEMU's pc machine (i440fx).
    reserved(0xae00, 0xafff, "ACPI hotplug"),
    // Power-off and sleep, on older pc machines (PIIX4).
    reserved(0xb000, 0xb03f, "ACPI power management"),
];

/// Physical addresses that are never assigned.
pub const RESERVED_MMIO: [Reserved; 2] = [
    // A write to an IOAPIC reroutes interrupts, one to the last MiB *is* an interrupt, of any vector at any CPU; an
    // IOMMU, the HPET and a TPM lie between.
    reserved(0xfec0_0000, 0xfeef_ffff, "IOAPIC, HPET, local APIC and message-signalled interrupts"),
    // What is written there is executed at the next power-on.
    reserved(0xff00_0000, 0xffff_ffff, "the firmware's flash"),
];

/// Interrupts that are never assigned.
pub const RESERVED_INTERRUPTS: [Reserved; 5] = [
    reserved(0, 0, "the interval timer"),
    // Where the second interrupt controller was attached; on most machines the interval timer's number.
    reserved(2, 2, "the interval timer or the interrupt controllers' cascade"),
    reserved(4, 4, "COM1, the hypervisor's console"),
    reserved(8, 8, "the real-time clock"),
    reserved(9, 9, "ACPI events"),
];

/// What is not assignable in `range`.
pub fn reserved_ports(range: PortRange) -> Option<&'static Reserved> {
    named(&RESERVED_PORTS, ports_row(range))
}

/// What is not assignable in `range`.
pub fn reserved_mmio(range: MmioRange) -> Option<&'static Reserved> {
    named(&RESERVED_MMIO, mmio_row(range))
}

/// What `interrupt` belongs to, if it is not assignable.
pub fn reserved_interrupt(interrupt: u32) -> Option<&'static Reserved> {
    named(&RESERVED_INTERRUPTS, interrupt_row(interrupt))
}

// With names of their own, so that they stand with boot's other constants.
static PORTS: [(u32, u32); RESERVED_PORTS.len()] = numbers(&RESERVED_PORTS);
static MMIO: [(u32, u32); RESERVED_MMIO.len()] = numbers(&RESERVED_MMIO);
static INTERRUPTS: [(u32, u32); RESERVED_INTERRUPTS.len()] = numbers(&RESERVED_INTERRUPTS);

/// The row of the table of ports that `range` touches.
pub(super) fn ports_row(range: PortRange) -> Option<usize> {
    row(&PORTS, range.first.into(), range.end().into())
}

/// The row of the table of addresses that `range` touches.
pub(super) fn mmio_row(range: MmioRange) -> Option<usize> {
    row(&MMIO, range.base, range.end())
}

/// The row of the table of interrupts that has `interrupt`.
pub(super) fn interrupt_row(interrupt: u32) -> Option<usize> {
    row(&INTERRUPTS, interrupt.into(), u64::from(interrupt) + 1)
}

/// First and last of each row. The hypervisor needs no names, and should not carry them.
const fn numbers<const N: usize>(rows: &[Reserved; N]) -> [(u32, u32); N] {
    let mut numbers = [(0, 0); N];
    let mut row = 0;
    while row < N {
        numbers[row] = (rows[row].first, rows[row].last);
        row += 1;
    }
    numbers
}

fn row(rows: &[(u32, u32)], start: u64, end: u64) -> Option<usize> {
    rows.iter().position(|&(first, last)| u64::from(first) < end && start <= u64::from(last))
}

fn named(rows: &'static [Reserved], row: Option<usize>) -> Option<&'static Reserved> {
    rows.get(row?)
}
