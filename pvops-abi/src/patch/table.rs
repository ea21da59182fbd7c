//! The table of sites: a section of the kernel's ELF, to which each site adds a record.
//!
//! A record holds the distance from itself to its site and not an address, so that the table needs no relocation
//! wherever the kernel is loaded.

use super::operation::Operation;
use crate::addr::VirtAddr;

/// Bytes of a record: distance (4, signed), operation, length of the site, two of zero.
pub(super) const RECORD_BYTES: usize = 8;
/// Stands for no operation: the record that is there so that the section exists.
const MARK: u8 = 0;

/// A call site.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Site {
    /// Where it is.
    pub address: VirtAddr,
    /// What it does.
    pub operation: Operation,
}

/// The section at `address`. A record that makes no sense is `Err`.
pub(super) fn parse(section: &[u8], address: u64) -> impl Iterator<Item = Result<Site, DamagedRecord>> + '_ {
    let (records, rest) = section.as_chunks::<RECORD_BYTES>();
    let incomplete = (!rest.is_empty()).then_some(Err(DamagedRecord));
    let records = records.iter().enumerate().filter_map(move |(index, record)| {
        let place = address.wrapping_add((index * RECORD_BYTES) as u64);
        site(record, place).transpose()
    });
    records.chain(incomplete)
}

/// A record that no site of this build has written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct DamagedRecord;

fn site(record: &[u8; RECORD_BYTES], place: u64) -> Result<Option<Site>, DamagedRecord> {
    let [a, b, c, d, operation, bytes, 0, 0] = *record else { return Err(DamagedRecord) };
    if operation == MARK {
        return Ok(None);
    }
    let operation = Operation::from_raw(operation).ok_or(DamagedRecord)?;
    if usize::from(bytes) != operation.site_bytes() {
        return Err(DamagedRecord);
    }
    let distance = i64::from(i32::from_le_bytes([a, b, c, d]));
    Ok(Some(Site { address: VirtAddr(place.wrapping_add(distance as u64)), operation }))
}

#[cfg(target_os = "none")]
pub(super) use section::section;

#[cfg(target_os = "none")]
mod section {
    use core::arch::asm;

    /// The section, and its address. The linker defines where it starts and stops, because its name is a C
    /// identifier; the record of no operation is here so that it does so for a kernel without any site.
    #[inline(never)]
    pub(in crate::patch) fn section() -> &'static [u8] {
        let (start, stop): (*const u8, *const u8);
        // SAFETY: two addresses are computed; the record goes into a section of its own.
        unsafe {
            asm!(
                ".pushsection pvops_sites, \"aR\", @progbits",
                ".balign 4",
                ".long 0, 0",
                ".popsection",
                "lea {start}, [rip + __start_pvops_sites]",
                "lea {stop}, [rip + __stop_pvops_sites]",
                start = out(reg) start,
                stop = out(reg) stop,
                options(nomem, nostack, preserves_flags),
            );
        }
        // SAFETY: both bound the section, which is constant and loaded with the kernel.
        unsafe { core::slice::from_raw_parts(start, stop as usize - start as usize) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: u64 = 0xffff_8000_0020_0000;

    fn record(distance: i32, operation: u8, bytes: usize) -> [u8; RECORD_BYTES] {
        let [a, b, c, d] = distance.to_le_bytes();
        [a, b, c, d, operation, bytes as u8, 0, 0]
    }

    fn parsed(records: &[[u8; RECORD_BYTES]]) -> ([Option<Result<Site, DamagedRecord>>; 3], usize) {
        let mut found = [None; 3];
        let bytes = records.as_flattened();
        let count = parse(bytes, AT).zip(&mut found).map(|(site, place)| *place = Some(site)).count();
        (found, count)
    }

    #[test]
    fn distances_count_from_the_record() {
        let records = [record(-0x1000, 1, 9), record(0, 0, 0), record(0x20, 7, 8)];
        let (found, count) = parsed(&records);
        assert_eq!(count, 2, "the mark is no site");
        let [first, second] = [(AT - 0x1000, Operation::IrqDisable), (AT + 0x30, Operation::CpuCurrent)]
            .map(|(address, operation)| Some(Ok(Site { address: VirtAddr(address), operation })));
        assert_eq!(found[..2], [first, second]);
    }

    #[test]
    fn a_table_without_sites_is_empty() {
        assert_eq!(parsed(&[]).1, 0);
        assert_eq!(parsed(&[record(0, 0, 0)]).1, 0);
    }

    #[test]
    fn damaged_records_are_noticed() {
        let mut with_reserved = record(0, 1, 9);
        with_reserved[7] = 1;
        for bad in [record(0, 200, 9), record(0, 1, 8), record(0, 1, 40), with_reserved] {
            assert_eq!(parsed(&[bad]).0[0], Some(Err(DamagedRecord)), "{bad:?}");
        }
    }

    #[test]
    fn a_record_cut_short_is_noticed() {
        let records = record(0, 1, 9);
        let sites: [_; 1] = core::array::from_fn(|_| parse(&records[..5], AT).next());
        assert_eq!(sites[0], Some(Err(DamagedRecord)));
    }
}
