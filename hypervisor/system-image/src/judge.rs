//! What holds for every image that is accepted, judged by other code than the reader's; for tests and fuzzing.

use crate::layout;
use crate::{Device, Domain, RESERVED_MMIO, RESERVED_PORTS, Reserved, SystemImage};
use std::collections::HashSet;
use std::vec::Vec;

/// Panics when `image`, read from `bytes`, breaks a rule.
pub fn judge(image: &SystemImage<'_>, bytes: &[u8]) {
    let domains: Vec<_> = image.domains().collect();
    assert!((1..=layout::MAX_DOMAINS).contains(&domains.len()));
    let names: HashSet<_> = domains.iter().map(|domain| domain.name).collect();
    assert_eq!(names.len(), domains.len(), "two domains of one name");
    for domain in &domains {
        assert!((1..=layout::MAX_VCPUS).contains(&domain.vcpus().len()));
        assert!(domain.vcpus().iter().all(|vcpu| vcpu.cpu < layout::MAX_CPUS));
        assert!(domain.vcpus().iter().all(|vcpu| vcpu.priority <= layout::MAX_PRIORITY));
        assert!((layout::MIN_MEMORY..=layout::MAX_MEMORY).contains(&domain.memory_bytes));
        assert!(domain.devices().len() <= layout::MAX_DEVICES);
        assert!(domain.channels().len() <= layout::MAX_CHANNELS);
        assert!(!domain.image.is_empty() && domain.cmdline.len() as u64 <= layout::MAX_CMDLINE_SIZE);
        for text in [image.name(), domain.name, domain.cmdline] {
            assert!(!text.chars().any(char::is_control), "{text:?}");
        }
        for part in [domain.image, domain.cmdline.as_bytes()].iter().filter(|part| !part.is_empty()) {
            let place = part.as_ptr_range();
            assert!(bytes.as_ptr_range().start < place.start && place.end <= bytes.as_ptr_range().end);
        }
    }
    judge_devices(&domains);
    judge_channels(&domains);
}

/// Every port, page and interrupt is claimed once, and no reserved one is.
fn judge_devices(domains: &[Domain<'_>]) {
    let mut ports = HashSet::new();
    let mut interrupts = HashSet::new();
    let mut mmio: Vec<(u64, u64)> = Vec::new();
    for domain in domains {
        for device in domain.devices() {
            assert_ne!(*device, Device::default());
            for port in device.ports.iter().flat_map(|range| range.first..=range.first + (range.count - 1)) {
                assert!(ports.insert(port), "port {port:#x} twice");
                let is_reserved =
                    |row: &Reserved| row.first <= u32::from(port) && u32::from(port) <= row.last;
                assert!(!RESERVED_PORTS.iter().any(is_reserved), "port {port:#x}");
            }
            if let Some(interrupt) = device.interrupt {
                assert!(interrupts.insert(interrupt) && interrupt < layout::MAX_INTERRUPTS);
            }
            if let Some(range) = device.mmio {
                assert!(range.base >= domain.memory_bytes && range.bytes > 0);
                assert!(range.base % 4096 == 0 && range.bytes % 4096 == 0);
                mmio.push((range.base, range.base + range.bytes));
            }
        }
    }
    mmio.extend(RESERVED_MMIO.iter().map(|row| (u64::from(row.first), u64::from(row.last) + 1)));
    mmio.sort_unstable();
    for pair in mmio.windows(2) {
        assert!(pair[0].1 <= pair[1].0, "{pair:x?}");
    }
}

fn judge_channels(domains: &[Domain<'_>]) {
    for (index, domain) in domains.iter().enumerate() {
        for (number, end) in domain.channels().iter().enumerate() {
            assert_ne!(usize::from(end.peer), index);
            let back = domains[usize::from(end.peer)].channels()[usize::from(end.peer_channel)];
            assert_eq!((usize::from(back.peer), usize::from(back.peer_channel)), (index, number));
        }
    }
}
