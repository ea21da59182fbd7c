//! Devices against the machine at hand, and what a guest is told of its own.

use super::super::builder::{Request, build};
use super::super::devices::{Facts, check, registers};
use super::*;
use bootloader_api::info::{MemoryRegion, MemoryRegionKind};
use pvops_abi::layout::MemoryKind;
use system_image::{Device, MmioRange, PortRange};

const MIB: u64 = 1 << 20;

fn map() -> Vec<MemoryRegion> {
    let region = |start, end, kind| MemoryRegion { start, end, kind };
    vec![
        region(0, 0x9_fc00, MemoryRegionKind::Usable),
        region(MIB, 0x7fff_0000, MemoryRegionKind::Usable),
        region(0x7fff_0000, 0x8000_0000, MemoryRegionKind::UnknownBios(2)),
        region(0x8000_0000, 0x8010_0000, MemoryRegionKind::Bootloader),
        region(0x9000_0000, 0x9000_1000, MemoryRegionKind::UnknownUefi(11)),
        region(0x1_0000_0000, 0x2_0000_0800, MemoryRegionKind::Usable),
    ]
}

/// What a machine says of a device: 39 address bits, 24 lines, the console's being 20.
fn refusal(device: Device) -> Option<Refusal> {
    let map = map();
    let facts = Facts {
        memory_map: &map,
        address_bits: 39,
        machine_registers: &[MmioRange { base: 0xd000_0000, bytes: 16 * MIB }],
        machine_ports: &[PortRange { first: 0x1800, count: 4 }, PortRange { first: 0xffff, count: 1 }],
        lines: 24,
        console_line: 20,
    };
    check(&device, &facts).err()
}

fn with_registers(base: u64, bytes: u64) -> Option<Refusal> {
    refusal(Device { mmio: Some(MmioRange { base, bytes }), ..Device::default() })
}

// covers: DEV-012
#[test]
fn registers_that_meet_anything_in_the_memory_map() {
    let memory = Some(Refusal::RegistersAreMemory);
    for (base, bytes, expected) in [
        (0x7fff_f000, 4096, memory),
        (0x800f_f000, 4096, memory),
        (0x8010_0000, 4096, None),
        (0x8010_0000, 0x0fef_0000, None),
        (0x8010_0000, 0x0ff0_1000, memory),
        (0x8fff_f000, 0x3000, memory),
        (0x9000_1000, 4096, None),
        (0xffff_f000, 4096, None),
        (0xffff_f000, 8192, memory),
        // The map's last range ends within this page.
        (0x2_0000_0000, 4096, memory),
        (0x2_0000_1000, 4096, None),
        (0x3_0000_0000, 4096, None),
        // Around all of memory.
        (0x1000, 0x4_0000_0000, Some(Refusal::MachineDevice)),
        (0xe000_0000, 0x4_0000_0000, memory),
    ] {
        assert_eq!(with_registers(base, bytes), expected, "{base:#x} + {bytes:#x}");
    }
}

#[test]
fn registers_beyond_the_physical_addresses() {
    let top = 1 << 39;
    assert_eq!(with_registers(top - 4096, 4096), None);
    assert_eq!(with_registers(top - 4096, 8192), Some(Refusal::RegistersOutOfReach));
    assert_eq!(with_registers(top, 4096), Some(Refusal::RegistersOutOfReach));
    assert_eq!(with_registers(u64::MAX - 4095, 4096), Some(Refusal::RegistersOutOfReach));
}

// covers: DEV-012
#[test]
fn what_belongs_to_the_machine() {
    let machine = Some(Refusal::MachineDevice);
    assert_eq!(with_registers(0xd000_0000 - 4096, 4096), None);
    assert_eq!(with_registers(0xd000_0000 - 4096, 8192), machine);
    assert_eq!(with_registers(0xd0ff_f000, 4096), machine);
    let with_ports =
        |first, count| refusal(Device { ports: Some(PortRange { first, count }), ..Device::default() });
    for (first, count, expected) in [
        (0x17f8, 8, None),
        (0x17f8, 9, machine),
        (0x1803, 1, machine),
        (0x1804, 0xffff - 0x1804, None),
        (0xfff8, 8, machine),
    ] {
        assert_eq!(with_ports(first, count), expected, "{first:#x} + {count}");
    }
}

#[test]
fn interrupts_of_this_machine() {
    let with_interrupt = |line| refusal(Device { interrupt: Some(line), ..Device::default() });
    assert_eq!(with_interrupt(3), None);
    assert_eq!(with_interrupt(23), None);
    assert_eq!(with_interrupt(24), Some(Refusal::NoSuchInterrupt));
    assert_eq!(with_interrupt(239), Some(Refusal::NoSuchInterrupt));
    assert_eq!(with_interrupt(20), Some(Refusal::MachineDevice));
}

fn device_at(base: u64, bytes: u64) -> Device {
    Device { mmio: Some(MmioRange { base, bytes }), ..Device::default() }
}

#[test]
fn registers_keep_the_devices_order() {
    let ports = Device { ports: Some(PortRange { first: 0x2f8, count: 8 }), ..Device::default() };
    let devices = [device_at(0xa000_0000, 8192), ports, device_at(0x9000_0000, 4096)];
    let expected = [(0xa000_0000, 0xa000_2000), (0, 0), (0x9000_0000, 0x9000_1000)];
    assert_eq!(registers(&devices)[..3], expected);
    assert!(registers(&devices)[3..].iter().all(|registers| *registers == (0, 0)));
}

// covers: DEV-003
/// The guest finds its devices' registers in its memory map, sorted as all of it is.
#[test]
fn the_memory_map_tells_of_registers() {
    let file = Recipe::good().bytes();
    let kernel = Kernel::parse(&file).unwrap();
    let devices = [device_at(0xa000_0000, 8192), device_at(0x9000_0000, 4096)];
    let mut memory = vec![0; 10 << 20];
    let request = Request { command_line: "", vcpu_count: 1, tsc_hz: 1_000_000_000, devices: &devices };
    build(&mut memory, &kernel, request).unwrap();
    let mut expected = Vec::new();
    for (start, bytes) in [(0x9000_0000_u64, 4096_u64), (0xa000_0000, 8192)] {
        expected.extend(start.to_le_bytes());
        expected.extend(bytes.to_le_bytes());
        expected.extend(u64::from(MemoryKind::Device as u32).to_le_bytes());
    }
    assert!(memory.windows(expected.len()).any(|bytes| bytes == expected));
}
