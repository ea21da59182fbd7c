//! I/O ports of the running domain: the permission bitmap behind the task state (Intel SDM volume 1, 19.5.2).
//!
//! A CPU's bitmap is written when a domain with ports gets its turn there and another one had it before. Whether
//! the processor looks at it is one word, the bitmap's base: beyond the segment's limit every port is closed. So a
//! change of view costs one store, and only domains with ports pay it.

use super::layout::{CPU_PAGES, cpu_pages};
use super::percpu::{PerCpu, cpu};
use super::segments;
use crate::domain::Domain;
use crate::domain::vcpu::Mode;
use core::mem::offset_of;
use system_image::PortRange;

/// Where the task state lies in this CPU's pages.
const TASK: u64 = cpu_pages::DATA + offset_of!(PerCpu, tss) as u64;
/// Distance from the task state to the bitmap.
const OPEN: u64 = cpu_pages::IO_BITMAP - TASK;
/// Last byte of the segment: the processor reads two bytes for each check, so one more follows the bitmap's.
pub const TASK_LIMIT: u64 = OPEN + cpu_pages::IO_BITMAP_BYTES;
/// A base beyond the limit: no bitmap, every port is closed.
pub const CLOSED: u16 = u16::MAX;

// The highest base that the manual allows.
const _: () = assert!(OPEN <= 0xdfff && TASK_LIMIT < CLOSED as u64);

/// Closes every port, until [`follow`].
pub fn close() {
    segments::set_io_map_base(cpu(), CLOSED);
}

/// Opens the running domain's ports to its kernel, and to nobody else. For domains with ports, before each exit.
pub fn follow(mode: Mode) {
    let base = match mode {
        Mode::Kernel => OPEN as u16,
        Mode::User if mutant!(PortsOpenToPrograms) => OPEN as u16,
        Mode::User => CLOSED,
    };
    segments::set_io_map_base(cpu(), base);
}

/// Makes this CPU's bitmap that of `domain`, which gets its turn here. Every port stays closed until [`follow`].
pub fn load(domain: &Domain) {
    close();
    if !domain.devices.has_ports {
        return;
    }
    let owner = u32::from(domain.number) + 1;
    if cpu().ports_of.replace(owner) == owner {
        return;
    }
    let bytes = cpu_pages::IO_BITMAP_BYTES as usize;
    // SAFETY: boot maps the bitmap's pages on the CPUs of all domains with ports; only this CPU reaches them, and
    // the processor reads them only between exit and entry.
    let bitmap =
        unsafe { core::slice::from_raw_parts_mut((CPU_PAGES + cpu_pages::IO_BITMAP) as *mut u8, bytes) };
    bitmap.fill(u8::MAX);
    domain.devices.ports.iter().for_each(|range| open(bitmap, *range));
}

/// Clears the bits of `range`.
fn open(bitmap: &mut [u8], range: PortRange) {
    let (mut port, end) = (u32::from(range.first), range.end());
    while port < end {
        let Some(byte) = bitmap.get_mut(port as usize / 8) else { return };
        // Whole bytes at once: a range of all ports is not to take long.
        if port.is_multiple_of(8) && end - port >= 8 {
            *byte = 0;
            port += 8;
        } else {
            *byte &= !(1 << (port % 8));
            port += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bit by bit, what the bytes must come to.
    #[test]
    fn exactly_the_ports_of_a_range_are_opened() {
        let ranges = [
            (0x2f8, 8),
            (0, 1),
            (7, 1),
            (7, 2),
            (3, 2),
            (0x3f, 0x43),
            (0xffff, 1),
            (0xfff1, 14),
            (0, 0xffff),
        ];
        for (first, count) in ranges {
            let mut bitmap = vec![u8::MAX; 8192];
            open(&mut bitmap, PortRange { first, count });
            for port in 0..=0xffff_u32 {
                let is_open = bitmap[port as usize / 8] >> (port % 8) & 1 == 0;
                let expected = (u32::from(first)..u32::from(first) + u32::from(count)).contains(&port);
                assert_eq!(is_open, expected, "port {port:#x} of {first:#x} + {count}");
            }
        }
    }

    #[test]
    fn ranges_add_up() {
        let mut bitmap = vec![u8::MAX; 8192];
        open(&mut bitmap, PortRange { first: 0x2f8, count: 4 });
        open(&mut bitmap, PortRange { first: 0x2fc, count: 4 });
        assert_eq!(bitmap[0x2f8 / 8], 0);
        assert_eq!(bitmap.iter().filter(|byte| **byte != u8::MAX).count(), 1);
    }
}
