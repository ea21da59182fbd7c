//! Devices: what one may be, and what no two may share.

use super::*;

const NOTHING: Device = Device { ports: None, mmio: None, interrupt: None };

fn ports(first: u16, count: u16) -> Device {
    Device { ports: Some(PortRange { first, count }), ..NOTHING }
}

fn mmio(base: u64, bytes: u64) -> Device {
    Device { mmio: Some(MmioRange { base, bytes }), ..NOTHING }
}

fn interrupt(number: u32) -> Device {
    Device { interrupt: Some(number), ..NOTHING }
}

/// Writes [`system`] with one more device in the second domain, and reads it.
fn with(device: Device) -> Result<(), ImageError> {
    let mut system = system();
    system.domains[1].devices.push(device);
    match write(&system) {
        Ok(_) => Ok(()),
        Err(WriteError::Refused(error)) => Err(error),
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn the_most_devices_are_read_back() {
    let mut full = system();
    let devices: Vec<_> = (0..layout::MAX_DEVICES as u16).map(|number| ports(0x1000 + number, 1)).collect();
    full.domains[1].devices = devices.clone();
    let bytes = write(&full).unwrap();
    let image = SystemImage::parse(&bytes).unwrap();
    assert_eq!(image.domains().nth(1).unwrap().devices(), devices);
}

#[test]
fn ranges_of_ports() {
    assert_eq!(with(NOTHING), Err(ImageError::EmptyDevice));
    assert_eq!(with(ports(0x1000, 0)), Err(ImageError::BadPorts));
    assert_eq!(with(ports(0xffff, 1)), Ok(()));
    assert_eq!(with(ports(0xffff, 2)), Err(ImageError::BadPorts));
    assert_eq!(with(ports(1, 0xffff)), Err(ImageError::ReservedPorts));
    assert_eq!(with(ports(2, 0xffff)), Err(ImageError::BadPorts));
}

#[test]
fn ranges_of_mmio() {
    assert_eq!(with(mmio(0xd000_0000, 0)), Err(ImageError::BadMmio));
    assert_eq!(with(mmio(0xd000_0800, 0x1000)), Err(ImageError::BadMmio));
    assert_eq!(with(mmio(0xd000_0000, 0x800)), Err(ImageError::BadMmio));
    assert_eq!(with(mmio(layout::MAX_MMIO_END - 0x1000, 0x1000)), Ok(()));
    assert_eq!(with(mmio(layout::MAX_MMIO_END, 0x1000)), Err(ImageError::BadMmio));
    assert_eq!(with(mmio(0xd000_0000, u64::MAX - 0xfff)), Err(ImageError::BadMmio));
    assert_eq!(with(mmio(u64::MAX - 0xfff, 0x1000)), Err(ImageError::BadMmio));
    // The domain has 16 MiB.
    assert_eq!(with(mmio(0, 0x1000)), Err(ImageError::MmioInMemory));
    assert_eq!(with(mmio((16 << 20) - 0x1000, 0x1000)), Err(ImageError::MmioInMemory));
    assert_eq!(with(mmio(16 << 20, 0x1000)), Ok(()));
}

#[test]
fn numbers_of_interrupts() {
    assert_eq!(with(interrupt(layout::MAX_INTERRUPTS - 1)), Ok(()));
    assert_eq!(with(interrupt(layout::MAX_INTERRUPTS)), Err(ImageError::BadInterrupt));
    assert_eq!(with(interrupt(u32::MAX)), Err(ImageError::BadInterrupt));
}

#[test]
fn nothing_reserved_is_assignable_and_its_neighbours_are() {
    for row in RESERVED_PORTS {
        let (first, last) = (row.first as u16, row.last as u16);
        assert!(first <= last, "{row:?}");
        assert_eq!(with(ports(first, 1)), Err(ImageError::ReservedPorts), "{row:?}");
        assert_eq!(with(ports(last, 1)), Err(ImageError::ReservedPorts), "{row:?}");
        assert_eq!(reserved_ports(PortRange { first: last, count: 1 }), Some(&row));
    }
    for row in RESERVED_MMIO {
        let end = u64::from(row.last) + 1;
        assert_eq!(with(mmio(row.first.into(), 0x1000)), Err(ImageError::ReservedMmio), "{row:?}");
        assert_eq!(with(mmio(end - 0x1000, 0x1000)), Err(ImageError::ReservedMmio), "{row:?}");
        assert_eq!(with(mmio(end, 0x1000)), Ok(()), "{row:?}");
        assert_eq!(with(mmio(u64::from(row.first) - 0x1000, 0x1000)), Ok(()), "{row:?}");
        assert_eq!(reserved_mmio(MmioRange { base: end - 0x1000, bytes: 0x1000 }), Some(&row));
    }
    for row in RESERVED_INTERRUPTS {
        assert_eq!(with(interrupt(row.first)), Err(ImageError::ReservedInterrupt), "{row:?}");
        assert_eq!(reserved_interrupt(row.first), Some(&row));
    }
    for free in [0x2f8, 0x2e8, 0x378, 0x1f0, 0x3f0, 0x400] {
        assert_eq!(reserved_ports(PortRange { first: free, count: 8 }), None, "{free:#x}");
    }
    assert_eq!(reserved_interrupt(3), None);
}

#[test]
fn the_debug_exit_device_is_not_assignable() {
    let mut elsewhere = system();
    elsewhere.debug_exit_port = Some(0x501);
    assert!(write(&elsewhere).is_ok());
    for first in [0x501, 0x504] {
        elsewhere.domains[0].devices = vec![ports(first, 1)];
        assert_eq!(write(&elsewhere), Err(WriteError::Refused(ImageError::ReservedPorts)));
    }
    elsewhere.domains[0].devices = vec![ports(0x505, 1)];
    assert!(write(&elsewhere).is_ok());
    elsewhere.debug_exit_port = None;
    elsewhere.domains[0].devices = vec![ports(0x501, 1)];
    assert!(write(&elsewhere).is_ok());
}

/// The second domain's new device against its own first one and against the first domain's.
#[test]
fn no_two_devices_share_anything() {
    for (first, count) in [(0x2ff, 1), (0x2f0, 9), (0x2f0, 0x20), (0x3e8, 8), (0x3ef, 1)] {
        assert_eq!(with(ports(first, count)), Err(ImageError::PortsOverlap), "{first:#x} {count}");
    }
    assert_eq!(with(ports(0x2f0, 8)), Ok(()));
    assert_eq!(with(ports(0x300, 8)), Ok(()));
    for (base, bytes) in [(0xe000_1000, 0x1000), (0xdfff_f000, 0x2000), (0xe000_2000, 0x1000)] {
        assert_eq!(with(mmio(base, bytes)), Err(ImageError::MmioOverlap), "{base:#x} {bytes:#x}");
    }
    assert_eq!(with(mmio(0xe000_3000, 0x1000)), Ok(()));
    assert_eq!(with(interrupt(3)), Err(ImageError::SharedInterrupt));
    assert_eq!(with(interrupt(20)), Err(ImageError::SharedInterrupt));
    assert_eq!(with(interrupt(5)), Ok(()));
}

/// Fields of the second domain's only device.
#[test]
fn fields_of_a_device() {
    let field = |offset: usize, value: &[u8]| with_entry(entry::DEVICES + offset, value);
    assert_eq!(field(entry::DEVICE_PARTS, &[8 | 7]), Err(ImageError::ReservedNotZero));
    assert_eq!(field(entry::DEVICE_PARTS, &[0]), Err(ImageError::ReservedNotZero));
    for missing in [entry::PART_PORTS, entry::PART_MMIO, entry::PART_INTERRUPT] {
        assert_eq!(field(entry::DEVICE_PARTS, &[7 & !missing as u8]), Err(ImageError::ReservedNotZero));
    }
    assert_eq!(field(entry::DEVICE_RESERVED, &[1]), Err(ImageError::ReservedNotZero));
    assert_eq!(field(0, &[0; entry::DEVICE_SIZE]), Err(ImageError::EmptyDevice));
    assert_eq!(field(entry::DEVICE_SIZE, &[1]), Err(ImageError::ReservedNotZero));
    assert_eq!(with_entry(entry::DEVICE_COUNT, &[0]), Err(ImageError::ReservedNotZero));
    assert_eq!(with_entry(entry::DEVICE_COUNT, &[2]), Err(ImageError::EmptyDevice));
    assert_eq!(with_entry(entry::DEVICE_COUNT, &[9]), Err(ImageError::BadDeviceCount));
    assert_eq!(with_entry(entry::DEVICE_COUNT, &[0xff; 4]), Err(ImageError::BadDeviceCount));
}
