//! The walk-through in `spec/first-boot.md`: the bytes that it shows are those that are built.
//!
//! Its guest is the C guest. What lies around an image depends on the shape of the image only, so a kernel of the same
//! shape serves here, without a C compiler.

use super::built::Domain;
use super::*;
use core::mem::offset_of;
use pvops_abi::layout::StartInfo;

const TEXT_OF_CHAPTER: &str = include_str!("../../../../spec/first-boot.md");
const MEMORY_BYTES: usize = 64 << 20;
const IMAGE: u64 = 0x40_0000;
const START_INFO: u64 = 0x20_5000;

/// The C guest's segments and notes.
fn c_guest_shape() -> Recipe {
    let load = |offset: u64, page: u64, flags: u32, bytes: u64| Header {
        kind: LOAD,
        flags,
        offset,
        virt: IMAGE + page * PAGE as u64,
        file_bytes: PAGE as u64,
        memory_bytes: bytes,
        alignment: 0x1000,
    };
    let notes = Header { kind: NOTE, alignment: 4, file_bytes: 0, ..load(CONSTANTS, 0, READ, 0) };
    Recipe {
        kind: 2,
        headers: vec![
            load(CONSTANTS, 0, READ, 0x1000),
            load(TEXT, 1, READ | EXECUTE, 0x1000),
            load(DATA, 2, READ | WRITE, 0x12c0),
            notes,
        ],
        notes: vec![(1, vec![0xfec]), (2, vec![1]), (3, vec![2]), (4, vec![2])],
        relocations: vec![],
        dynamic: vec![],
        ..Recipe::good()
    }
}

/// Guest-physical addresses and bytes that the chapter shows, a line of each block of code at a time.
fn shown() -> Vec<(u64, Vec<u8>)> {
    let byte = |word: &str| (word.len() == 2).then(|| u8::from_str_radix(word, 16).ok()).flatten();
    let row = |line: &str| {
        let (address, rest) = line.split_once("  ")?;
        let bytes: Vec<u8> = rest.split_whitespace().map_while(byte).collect();
        let address = (address.len() == 6).then(|| u64::from_str_radix(address, 16).ok()).flatten()?;
        (!bytes.is_empty()).then_some((address, bytes))
    };
    let blocks = TEXT_OF_CHAPTER.split("```").skip(1).step_by(2);
    blocks.flat_map(str::lines).filter_map(row).collect()
}

#[test]
#[cfg_attr(miri, ignore = "64 MiB are too many, and nothing here depends on how memory is accessed")]
fn the_walk_through_shows_what_is_built() {
    let file = c_guest_shape().bytes();
    let domain = Domain::build(&Kernel::parse(&file).unwrap(), MEMORY_BYTES, "").unwrap();
    let rows = shown();
    let count: usize = rows.iter().map(|(_, bytes)| bytes.len()).sum();
    assert!(count > 500, "{count} bytes");
    // Of the domain, not of its shape.
    let free = [(offset_of!(StartInfo, vcpu_count), 4), (offset_of!(StartInfo, tsc_hz), 8)]
        .map(|(offset, bytes)| START_INFO + offset as u64..START_INFO + offset as u64 + bytes);
    for (start, bytes) in rows {
        let found = domain.bytes(start, bytes.len() as u64);
        for (address, (shown, found)) in (start..).zip(bytes.into_iter().zip(found)) {
            let is_free = free.iter().any(|range| range.contains(&address));
            assert!(is_free || shown == found, "{address:#x}: {shown:02x} in the text, {found:02x} built");
        }
    }
    assert_eq!(domain.start.rip, 0x40_1000);
    assert_eq!(domain.start.rsp, 0x81_1ff8);
    assert_eq!(domain.start.start_info, 0xffff_8880_0020_5000);
    assert_eq!(domain.start.root, 0x21_7000);
}
