//! The system image: the compiled manifest that the boot loader hands over.
//!
//! The checksum is made good first, since whoever alters an image can do that as well.

use crate::Outcome;
use system_image::layout::header;
use system_image::{
    CrashPolicy, Device, DomainDescription, MmioRange, PortRange, SystemDescription, SystemImage,
    VcpuPlacement, judge, update_checksum, write,
};

/// See the module.
pub fn run(input: &[u8]) -> Outcome {
    let mut bytes = input.to_vec();
    if bytes.len() >= header::SIZE {
        let stated = u64::from_le_bytes(bytes[header::TOTAL_SIZE..][..8].try_into().expect("eight bytes"));
        // Behind the stated end a boot loader may have padded.
        let end = usize::try_from(stated).unwrap_or(usize::MAX).clamp(header::SIZE, bytes.len());
        update_checksum(&mut bytes[..end]);
    }
    match SystemImage::parse(&bytes) {
        Ok(image) => {
            judge::judge(&image, &bytes);
            let parts = image.domains().map(|domain| domain.devices().len() * 8 + domain.channels().len());
            0x100 + parts.sum::<usize>() as Outcome
        }
        Err(error) => {
            assert!(!error.message().is_empty());
            system_image::debug_exit_port_of_refused(&bytes);
            error as Outcome
        }
    }
}

/// Images with one domain, and with everything.
#[must_use]
pub fn seeds() -> Vec<Vec<u8>> {
    let domain = |name: &str| DomainDescription {
        name: name.into(),
        image: b"\x7fELF and so on".to_vec(),
        cmdline: "run=demo".into(),
        memory_bytes: 16 << 20,
        vcpus: vec![VcpuPlacement { cpu: 0, priority: 3 }],
        crash_policy: CrashPolicy::Restart { times: 3, within_seconds: 10 },
        has_console: true,
        devices: vec![],
    };
    let small = SystemDescription {
        name: "small".into(),
        debug_exit_port: None,
        domains: vec![domain("one")],
        channels: vec![],
    };
    let mut full = SystemDescription {
        name: "full".into(),
        debug_exit_port: Some(0xf4),
        domains: vec![domain("one"), domain("two"), domain("three")],
        channels: vec![[0, 1], [1, 2], [2, 0]],
    };
    full.domains[1].crash_policy = CrashPolicy::HaltSystem;
    full.domains[1].vcpus.push(VcpuPlacement { cpu: 1, priority: 31 });
    full.domains[2].cmdline.clear();
    full.domains[0].devices = vec![
        Device { ports: Some(PortRange { first: 0x2f8, count: 8 }), interrupt: Some(3), ..Device::default() },
        Device { mmio: Some(MmioRange { base: 0xe000_0000, bytes: 0x2000 }), ..Device::default() },
    ];
    [small, full].iter().map(|system| write(system).expect("a sound description")).collect()
}
