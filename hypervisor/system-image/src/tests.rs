//! Round trips, every rule broken, every byte altered, every length cut.

mod channels;
mod devices;
mod random;

use crate::layout::{self, entry, header};
use crate::*;

/// Of all places in a file: each, or few under Miri, for which checksums take long.
const STEP: usize = if cfg!(miri) { 1009 } else { 1 };

fn domain(name: &str) -> DomainDescription {
    DomainDescription {
        name: name.into(),
        image: b"\x7fELF and so on".to_vec(),
        cmdline: "run=demo".into(),
        memory_bytes: 16 << 20,
        vcpus: vec![VcpuPlacement { cpu: 1, priority: 16 }, VcpuPlacement { cpu: 0, priority: 3 }],
        crash_policy: CrashPolicy::Restart { times: 3, within_seconds: 10 },
        has_console: true,
        devices: Vec::new(),
    }
}

/// Two domains with all that domains can have: devices, and two channels between them.
fn system() -> SystemDescription {
    let mut first = domain("first");
    first.devices = vec![
        Device { ports: Some(PortRange { first: 0x2f8, count: 8 }), interrupt: Some(3), ..Device::default() },
        Device { mmio: Some(MmioRange { base: 0xe000_0000, bytes: 0x2000 }), ..Device::default() },
    ];
    let mut quiet = domain("quiet");
    quiet.cmdline.clear();
    quiet.has_console = false;
    quiet.crash_policy = CrashPolicy::HaltSystem;
    quiet.devices = vec![Device {
        ports: Some(PortRange { first: 0x3e8, count: 8 }),
        mmio: Some(MmioRange { base: 0xe000_2000, bytes: 0x1000 }),
        interrupt: Some(20),
    }];
    SystemDescription {
        name: "test".into(),
        debug_exit_port: Some(0xf4),
        domains: vec![first, quiet],
        channels: vec![[0, 1], [1, 0]],
    }
}

/// Writes `system`, lets `alter` change the bytes, makes the checksum good again and parses.
fn parse_altered(alter: impl FnOnce(&mut Vec<u8>)) -> Result<(), ImageError> {
    let mut bytes = write(&system()).unwrap();
    alter(&mut bytes);
    update_checksum(&mut bytes);
    SystemImage::parse(&bytes).map(|_| ())
}

/// Alters the second domain's entry.
fn with_entry(offset: usize, value: &[u8]) -> Result<(), ImageError> {
    parse_altered(|bytes| {
        let start = header::SIZE + entry::SIZE + offset;
        bytes[start..start + value.len()].copy_from_slice(value);
    })
}

fn with_header(offset: usize, value: &[u8]) -> Result<(), ImageError> {
    parse_altered(|bytes| bytes[offset..offset + value.len()].copy_from_slice(value))
}

#[test]
fn reads_back_what_was_written() {
    let bytes = write(&system()).unwrap();
    let image = SystemImage::parse(&bytes).unwrap();
    assert_eq!(image.name(), "test");
    assert_eq!(image.debug_exit_port(), Some(0xf4));

    let domains: Vec<_> = image.domains().collect();
    assert_eq!(domains.len(), 2);
    assert_eq!(domains[0].name, "first");
    assert_eq!(domains[0].image, b"\x7fELF and so on");
    assert_eq!(domains[0].cmdline, "run=demo");
    assert_eq!(domains[0].memory_bytes, 16 << 20);
    assert_eq!(
        domains[0].vcpus(),
        [VcpuPlacement { cpu: 1, priority: 16 }, VcpuPlacement { cpu: 0, priority: 3 }]
    );
    assert_eq!(domains[0].crash_policy, CrashPolicy::Restart { times: 3, within_seconds: 10 });
    assert!(domains[0].has_console);
    assert_eq!(domains[0].devices(), system().domains[0].devices);
    assert_eq!(domains[1].devices(), system().domains[1].devices);
    assert_eq!(domains[1].cmdline, "");
    assert_eq!(domains[1].crash_policy, CrashPolicy::HaltSystem);
    assert!(!domains[1].has_console);
}

#[test]
fn accepts_a_padded_ramdisk_and_the_largest_name() {
    let mut system = system();
    system.domains[0].name = "n".repeat(layout::NAME_SIZE);
    let mut bytes = write(&system).unwrap();
    bytes.resize(bytes.len() + 4096, 0xff);
    assert!(SystemImage::parse(&bytes).is_ok());
}

#[test]
fn accepts_a_shared_guest_image() {
    let first_entry = header::SIZE + entry::IMAGE_OFFSET;
    let shared = parse_altered(|bytes| {
        let first: [u8; 16] = bytes[first_entry..first_entry + 16].try_into().unwrap();
        bytes[first_entry + entry::SIZE..first_entry + entry::SIZE + 16].copy_from_slice(&first);
    });
    assert_eq!(shared, Ok(()));
}

#[test]
fn every_truncation_is_refused() {
    let bytes = write(&system()).unwrap();
    for size in (0..bytes.len()).step_by(STEP) {
        assert!(SystemImage::parse(&bytes[..size]).is_err(), "{size} bytes");
    }
}

#[test]
fn every_altered_bit_of_the_structures_and_a_bit_of_every_other_byte_is_refused() {
    let bytes = write(&system()).unwrap();
    for index in (0..bytes.len()).step_by(STEP) {
        let bits = if index < header::SIZE + 2 * entry::SIZE { 8 } else { 1 };
        for bit in 0..bits {
            let mut altered = bytes.clone();
            altered[index] ^= 1 << bit;
            assert!(SystemImage::parse(&altered).is_err(), "byte {index} bit {bit}");
        }
    }
}

/// With a good checksum an altered byte may be valid, but must never make the reader panic.
#[test]
fn no_altered_byte_panics_behind_a_good_checksum() {
    let bytes = write(&system()).unwrap();
    let interesting = [0x00, 0x01, 0x7f, 0x80, 0xff];
    for index in (0..header::SIZE + 2 * entry::SIZE).step_by(STEP) {
        for value in interesting {
            let mut altered = bytes.clone();
            altered[index] = value;
            update_checksum(&mut altered);
            if let Ok(image) = SystemImage::parse(&altered) {
                assert!(image.domains().count() >= 1);
            }
        }
    }
}

#[test]
fn header_rules() {
    assert_eq!(with_header(header::MAGIC, b"q"), Err(ImageError::BadMagic));
    assert_eq!(with_header(header::VERSION, &[2]), Err(ImageError::UnsupportedVersion));
    assert_eq!(with_header(header::TOTAL_SIZE, &[0xff; 8]), Err(ImageError::Truncated));
    assert_eq!(with_header(header::HEADER_SIZE, &[0xff; 4]), Err(ImageError::BadHeaderSize));
    assert_eq!(with_header(header::HEADER_SIZE, &[0; 4]), Err(ImageError::BadHeaderSize));
    assert_eq!(with_header(header::ENTRY_SIZE, &[0; 4]), Err(ImageError::BadHeaderSize));
    assert_eq!(with_header(header::ENTRY_SIZE, &[0xff; 4]), Err(ImageError::BadDomainCount));
    assert_eq!(with_header(header::DOMAIN_COUNT, &[0]), Err(ImageError::BadDomainCount));
    assert_eq!(with_header(header::DOMAIN_COUNT, &[0xff; 4]), Err(ImageError::BadDomainCount));
    assert_eq!(with_header(header::FLAGS, &[1]), Err(ImageError::ReservedNotZero));
    assert_eq!(with_header(header::RESERVED, &[1]), Err(ImageError::ReservedNotZero));
    assert_eq!(with_header(header::NAME, &[0; 32]), Err(ImageError::BadName));
    let mut bytes = write(&system()).unwrap();
    bytes[header::CHECKSUM] ^= 1;
    assert_eq!(SystemImage::parse(&bytes).unwrap_err(), ImageError::BadChecksum);
}

#[test]
fn name_rules() {
    assert_eq!(with_entry(entry::NAME, b"first"), Err(ImageError::DuplicateName));
    assert_eq!(with_entry(entry::NAME, b"\0\0\0\0\0"), Err(ImageError::BadName));
    assert_eq!(with_entry(entry::NAME, b"a\xff"), Err(ImageError::BadName));
    assert_eq!(with_entry(entry::NAME, b"a\x1b[2J"), Err(ImageError::BadName));
    assert_eq!(with_entry(entry::NAME + 31, b"x"), Err(ImageError::ReservedNotZero));
}

#[test]
fn blob_rules() {
    let beyond = u64::MAX.to_le_bytes();
    assert_eq!(with_entry(entry::IMAGE_OFFSET, &[1]), Err(ImageError::BadImageRange));
    assert_eq!(with_entry(entry::IMAGE_OFFSET, &[0; 8]), Err(ImageError::BadImageRange));
    assert_eq!(with_entry(entry::IMAGE_SIZE, &[0; 8]), Err(ImageError::BadImageRange));
    assert_eq!(with_entry(entry::IMAGE_SIZE, &beyond), Err(ImageError::BadImageRange));
    assert_eq!(with_entry(entry::CMDLINE_SIZE, &beyond), Err(ImageError::BadCmdline));
    assert_eq!(with_entry(entry::CMDLINE_OFFSET, &beyond), Err(ImageError::BadCmdline));
    // A command line placed over the first domain's ELF.
    let mut over = 4096_u64.to_le_bytes().to_vec();
    over.extend_from_slice(&3_u64.to_le_bytes());
    assert_eq!(with_entry(entry::CMDLINE_OFFSET, &over), Err(ImageError::BadCmdline));
    over[0] = 1;
    assert_eq!(with_entry(entry::CMDLINE_OFFSET, &over), Err(ImageError::Overlap));
}

#[test]
fn number_rules() {
    assert_eq!(with_entry(entry::MEMORY, &[1]), Err(ImageError::BadMemory));
    assert_eq!(with_entry(entry::MEMORY, &[0; 8]), Err(ImageError::BadMemory));
    assert_eq!(
        with_entry(entry::MEMORY, &(layout::MAX_MEMORY * 2).to_le_bytes()),
        Err(ImageError::BadMemory)
    );
    assert_eq!(with_entry(entry::VCPU_COUNT, &[0]), Err(ImageError::BadVcpuCount));
    assert_eq!(with_entry(entry::VCPU_COUNT, &[9]), Err(ImageError::BadVcpuCount));
    assert_eq!(with_entry(entry::VCPU_COUNT, &[1]), Err(ImageError::ReservedNotZero));
    assert_eq!(with_entry(entry::VCPUS, &[64]), Err(ImageError::BadCpu));
    assert_eq!(with_entry(entry::VCPUS + entry::VCPU_PRIORITY, &[32]), Err(ImageError::BadPriority));
    assert_eq!(with_entry(entry::VCPUS + entry::VCPU_RESERVED, &[1]), Err(ImageError::ReservedNotZero));
    assert_eq!(with_entry(entry::CRASH_ACTION, &[3]), Err(ImageError::BadCrashPolicy));
    assert_eq!(with_entry(entry::RESTART_TIMES, &[1]), Err(ImageError::BadCrashPolicy));
    let restart = |times: u32, within: u32| {
        let fields = [entry::CRASH_RESTART, times, within].map(u32::to_le_bytes).concat();
        with_entry(entry::CRASH_ACTION, &fields)
    };
    assert_eq!(restart(layout::MAX_RESTARTS, 1), Ok(()));
    assert_eq!(restart(layout::MAX_RESTARTS + 1, 1), Err(ImageError::BadCrashPolicy));
    assert_eq!(restart(0, 1), Err(ImageError::BadCrashPolicy));
    assert_eq!(restart(1, 0), Err(ImageError::BadCrashPolicy));
    assert_eq!(with_entry(entry::FLAGS, &[2]), Err(ImageError::ReservedNotZero));
    assert_eq!(with_entry(entry::RESERVED, &[1]), Err(ImageError::ReservedNotZero));
    assert_eq!(with_entry(entry::RESERVED_TAIL, &[1]), Err(ImageError::ReservedNotZero));
}

#[test]
fn a_refused_image_names_the_customary_port_or_none() {
    let mut bytes = write(&system()).unwrap();
    bytes[0] = 0;
    assert_eq!(debug_exit_port_of_refused(&bytes), Some(0xf4));
    bytes[header::DEBUG_EXIT_PORT] = 0x60;
    assert_eq!(debug_exit_port_of_refused(&bytes), None);
    assert_eq!(debug_exit_port_of_refused(&bytes[..41]), None);
    assert_eq!(debug_exit_port_of_refused(b""), None);
}

#[test]
fn the_writer_refuses_what_does_not_fit() {
    let mut long_name = system();
    long_name.domains[0].name = "n".repeat(layout::NAME_SIZE + 1);
    assert_eq!(write(&long_name), Err(WriteError::DoesNotFit("a name")));

    let mut crowded = system();
    crowded.domains[0].vcpus = vec![VcpuPlacement::default(); layout::MAX_VCPUS + 1];
    assert!(matches!(write(&crowded), Err(WriteError::DoesNotFit(_))));

    let mut full_of_devices = system();
    full_of_devices.domains[0].devices = vec![Device::default(); layout::MAX_DEVICES + 1];
    assert!(matches!(write(&full_of_devices), Err(WriteError::DoesNotFit(_))));

    let mut empty = system();
    empty.domains.clear();
    empty.channels.clear();
    assert_eq!(write(&empty), Err(WriteError::Refused(ImageError::BadDomainCount)));
}
