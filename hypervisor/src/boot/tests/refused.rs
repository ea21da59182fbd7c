//! Every refusal that does not depend on the machine, provoked by a kernel that is good otherwise.

use super::super::builder::{Request, build};
use super::*;

/// What is said of the good kernel after `spoil`.
fn refusal(spoil: impl Fn(&mut Recipe)) -> Option<Refusal> {
    let mut recipe = Recipe::good();
    spoil(&mut recipe);
    accept(&recipe.bytes()).err()
}

/// What is said of a kernel that is built in memory of `bytes`.
fn build_refusal(recipe: &Recipe, bytes: usize, command_line: &str) -> Option<Refusal> {
    let file = recipe.bytes();
    let kernel = Kernel::parse(&file).expect("a kernel that is good by itself");
    let request = Request { command_line, vcpu_count: 1, tsc_hz: 1_000_000_000, devices: &[] };
    build(&mut vec![0; bytes], &kernel, request).err()
}

const MEMORY: usize = 8 << 20;

#[test]
fn the_good_kernel_is_accepted() {
    assert_eq!(refusal(|_| {}), None);
    assert_eq!(build_refusal(&Recipe::good(), MEMORY, "run=demo"), None);
    assert_eq!(build_refusal(&Recipe::fixed(0x20_0000), MEMORY, ""), None);
    assert_eq!(build_refusal(&Recipe::fixed(0xffff_ffff_8000_0000), MEMORY, ""), None);
}

#[test]
fn every_refusal_has_a_line_of_its_own() {
    use Refusal::*;
    let all = [
        NotElf,
        Truncated,
        WrongMachine,
        NotExecutable,
        NoSegments,
        TooManySegments,
        TooManyHeaders,
        Overlap,
        SegmentOutOfRange,
        WritableCode,
        EntryOutside,
        NoNotes,
        MalformedNotes,
        AbiVersion,
        ExecutionMode,
        ExtensionAbsent,
        BadRelocation,
        RangeClash,
        BadLoadAddress,
        TooLarge,
        TooManyVcpus,
        NoSuchCpu,
        NoMemory,
        RegistersAreMemory,
        RegistersOutOfReach,
        MachineDevice,
        NoSuchInterrupt,
        TooManyInterrupts,
    ];
    let mut lines = all.map(Refusal::message).to_vec();
    assert!(lines.iter().all(|line| !line.is_empty() && !line.contains('\n')));
    lines.sort_unstable();
    lines.dedup();
    assert_eq!(lines.len(), all.len());
}

// covers: NOTE-001, NOTE-003
#[test]
fn files_that_are_not_elf() {
    assert_eq!(accept(b"").err(), Some(Refusal::NotElf));
    assert_eq!(accept(&[0; 4096]).err(), Some(Refusal::NotElf));
    let mut file = Recipe::good().bytes();
    file[5] = 2; // big-endian
    assert_eq!(accept(&file).err(), Some(Refusal::NotElf));
}

#[test]
fn a_truncated_file() {
    let file = Recipe::good().bytes();
    assert_eq!(accept(&file[..file.len() - 1]).err(), Some(Refusal::Truncated));
    assert_eq!(refusal(|recipe| recipe.headers[2].offset = 0x4001), Some(Refusal::Truncated));
    assert_eq!(refusal(|recipe| recipe.headers[2].offset = u64::MAX), Some(Refusal::Truncated));
}

// covers: NOTE-001, NOTE-003
#[test]
fn the_wrong_machine() {
    assert_eq!(refusal(|recipe| recipe.machine = 183), Some(Refusal::WrongMachine));
    let mut file = Recipe::good().bytes();
    file[4] = 1; // 32 bit
    file[24..].fill(0);
    file[42] = 32;
    assert_eq!(accept(&file).err(), Some(Refusal::WrongMachine));
}

#[test]
fn a_file_that_cannot_be_executed() {
    for kind in [0, 1, 4, 0xffff] {
        assert_eq!(refusal(|recipe| recipe.kind = kind), Some(Refusal::NotExecutable));
    }
}

#[test]
fn no_or_too_many_segments_or_headers() {
    assert_eq!(refusal(|recipe| recipe.headers.clear()), Some(Refusal::NoSegments));
    assert_eq!(
        refusal(|recipe| recipe.headers.retain(|header| header.kind == NOTE)),
        Some(Refusal::NoSegments)
    );
    let empty = Header { memory_bytes: 0, file_bytes: 0, ..Recipe::good().headers[1] };
    let page = |number: u64| Header { virt: 0x10_0000 + number * 0x1000, ..Recipe::good().headers[1] };
    assert_eq!(refusal(|recipe| recipe.headers.extend((0..13).map(page))), None);
    assert_eq!(refusal(|recipe| recipe.headers.extend((0..14).map(page))), Some(Refusal::TooManySegments));
    assert_eq!(refusal(|recipe| recipe.headers.extend([empty; 59])), None);
    assert_eq!(refusal(|recipe| recipe.headers.extend([empty; 60])), Some(Refusal::TooManyHeaders));
}

// covers: NOTE-002, NOTE-003
#[test]
fn segments_that_overlap_or_share_a_page() {
    for virt in [TEXT, TEXT + 0xfff, DATA, DATA + 0x30ff] {
        assert_eq!(refusal(|recipe| recipe.headers[1].virt = virt), Some(Refusal::Overlap), "{virt:#x}");
    }
}

#[test]
fn segments_out_of_range() {
    let end = Some(Refusal::SegmentOutOfRange);
    assert_eq!(refusal(|recipe| recipe.headers[2].virt = u64::MAX - 0xfff), end);
    assert_eq!(refusal(|recipe| recipe.headers[2].memory_bytes = u64::MAX), end);
    assert_eq!(refusal(|recipe| recipe.headers[2].memory_bytes = 0xfff), end, "less than in the file");
    // Addresses that are not canonical, or become so behind the image, or wrap.
    for base in [0x7fff_ffff_0000, 0x8000_0000_0000, 1 << 63, 0xffff_7fff_ffff_0000, 0xffff_ffff_ffff_0000] {
        assert_eq!(build_refusal(&Recipe::fixed(base), MEMORY, ""), end, "{base:#x}");
    }
    for base in [0xffff_ffff_ffe0_0000, 0xffff_ffff_ffc0_0000, 0xffff_ffff_ffdf_0000] {
        assert_eq!(build_refusal(&Recipe::fixed(base), MEMORY, ""), end, "{base:#x}");
    }
}

// covers: NOTE-002, NOTE-003
#[test]
fn writable_code() {
    assert_eq!(refusal(|recipe| recipe.headers[0].flags |= WRITE), Some(Refusal::WritableCode));
    assert_eq!(refusal(|recipe| recipe.headers[2].flags |= EXECUTE), Some(Refusal::WritableCode));
}

// covers: NOTE-003, NOTE-007
#[test]
fn an_entry_outside_the_code() {
    for entry in [0, TEXT - 1, TEXT + 0x1000, DATA, u64::MAX, 1 << 63] {
        assert_eq!(refusal(|recipe| recipe.set_entry(entry)), Some(Refusal::EntryOutside), "{entry:#x}");
    }
    assert_eq!(refusal(|recipe| recipe.set_entry(TEXT + 0xfff)), None);
}

// covers: NOTE-003, NOTE-006
#[test]
fn missing_notes() {
    assert_eq!(refusal(|recipe| recipe.owner = b"Xen\0\0\0\0\0"), Some(Refusal::NoNotes));
    assert_eq!(refusal(|recipe| recipe.headers.retain(|header| header.kind != NOTE)), Some(Refusal::NoNotes));
}

// covers: NOTE-003, NOTE-005, NOTE-006
#[test]
fn malformed_notes() {
    let malformed = Some(Refusal::MalformedNotes);
    for required in 0..3 {
        assert_eq!(refusal(|recipe| drop(recipe.notes.remove(required))), malformed, "one is missing");
        assert_eq!(refusal(|recipe| recipe.notes[required].1.clear()), malformed, "one is empty");
        assert_eq!(refusal(|recipe| recipe.notes[required].1.push(0)), malformed, "one is too long");
        let twice = |recipe: &mut Recipe| recipe.notes.push(recipe.notes[required].clone());
        assert_eq!(refusal(twice), malformed, "one is there twice");
    }
    assert_eq!(refusal(|recipe| recipe.notes[1].1[0] = 1 << 32), malformed);
    assert_eq!(refusal(|recipe| recipe.notes.push((NoteType::Range as u32, vec![1]))), malformed);
    let five = std::iter::repeat_n((NoteType::Range as u32, vec![0, 1]), 5);
    assert_eq!(refusal(|recipe| recipe.notes.extend(five.clone())), malformed);
    for alignment in [2, 3, 16, u64::MAX] {
        assert_eq!(refusal(|recipe| recipe.headers[3].alignment = alignment), malformed);
    }
}

// covers: VER-003
#[test]
fn notes_of_types_to_come_are_ignored() {
    for kind in [0, 8, 0x7fff_ffff, u32::MAX] {
        for words in [0, 1, 3, 40] {
            let spoil = |recipe: &mut Recipe| recipe.notes.insert(1, (kind, vec![u64::MAX; words]));
            assert_eq!(refusal(spoil), None, "type {kind:#x}, {words} words");
        }
    }
}

/// A damaged note must not hide those behind it, nor itself: it may be what the kernel requires.
#[test]
fn notes_cut_off_at_any_place() {
    let length = Recipe::good().note_bytes().len() as u64;
    let notes = [28, 56, 84, 128, length];
    for bytes in 1..=length {
        let expected = match bytes {
            84.. if notes.contains(&bytes) => None,
            _ => Some(Refusal::MalformedNotes),
        };
        assert_eq!(refusal(|recipe| recipe.headers[3].file_bytes = bytes), expected, "{bytes} of {length}");
    }
}

// covers: NOTE-008, VER-001
#[test]
fn another_abi_version() {
    let current = version::CURRENT.to_bits();
    for version in [current + 1, current + 0x1_0000, u32::MAX] {
        let spoil = |recipe: &mut Recipe| recipe.notes[1].1[0] = version.into();
        assert_eq!(refusal(spoil), Some(Refusal::AbiVersion));
    }
}

// covers: NOTE-008
#[test]
fn another_execution_mode() {
    for modes in [0, 1 << ExecutionMode::Hardware as u64, !(1 << ExecutionMode::Deprivileged as u64)] {
        assert_eq!(refusal(|recipe| recipe.notes[2].1[0] = modes), Some(Refusal::ExecutionMode));
    }
}

// covers: NOTE-008
#[test]
fn an_extension_that_is_absent() {
    for number in [0, 8, 0x10, u64::MAX, 1 << 32 | 1] {
        assert_eq!(refusal(|recipe| recipe.notes[3].1[1] = number), Some(Refusal::ExtensionAbsent));
    }
}

// covers: NOTE-003, NOTE-004
#[test]
fn relocations_that_are_odd_or_lead_out() {
    let bad = Some(Refusal::BadRelocation);
    for kind in [0, 1, 9, 1 << 32 | 8] {
        assert_eq!(refusal(|recipe| recipe.relocations[0][1] = kind), bad);
    }
    for offset in [0, TEXT, CONSTANTS - 1, DATA + 0x1000 + ZEROED - 7, u64::MAX, u64::MAX - 7] {
        assert_eq!(refusal(|recipe| recipe.relocations[0][0] = offset), bad, "{offset:#x}");
    }
    assert_eq!(refusal(|recipe| recipe.relocations[0][0] = DATA + 0x1000 + ZEROED - 8), None);
    for (index, tag) in [(2, 17), (2, 36), (2, 2)] {
        assert_eq!(refusal(|recipe| recipe.dynamic[index] = [tag, 24]), bad, "tag {tag}");
    }
    for (index, value) in [(0, 0), (0, u64::MAX), (1, 47), (1, u64::MAX - 15), (1, 0x1000), (2, 16)] {
        assert_eq!(refusal(|recipe| recipe.dynamic[index][1] = value), bad, "{index}: {value:#x}");
    }
}

#[test]
fn ranges_that_clash() {
    let clash = Some(Refusal::RangeClash);
    for base in [0xffff_8000_0000_0000, 0xffff_87ff_ff00_0000, 0xffff_8880_0000_0000] {
        assert_eq!(build_refusal(&Recipe::fixed(base), MEMORY, ""), clash, "{base:#x}");
    }
    let with_range = |start, last| {
        let mut recipe = Recipe::good();
        recipe.notes.push((NoteType::Range as u32, vec![start, last]));
        build_refusal(&recipe, MEMORY, "")
    };
    assert_eq!(with_range(0, u64::MAX), clash);
    assert_eq!(with_range(0xffff_87ff_ffff_ffff, 0xffff_8800_0000_0000), clash);
    assert_eq!(with_range(0xffff_8880_007f_ffff, 0xffff_8880_007f_ffff), clash);
    assert_eq!(with_range(0xffff_ffff_8000_0000, u64::MAX), clash);
    assert_eq!(with_range(0xffff_8800_0000_0000, 0xffff_887f_ffff_ffff), None);
    assert_eq!(with_range(1, 0), Some(Refusal::MalformedNotes));
}

#[test]
fn a_kernel_larger_than_its_memory() {
    let large = Some(Refusal::TooLarge);
    assert_eq!(refusal(|recipe| recipe.headers[2].memory_bytes = 1 << 30), large, "no image is that large");
    let mut recipe = Recipe::good();
    recipe.headers[2].memory_bytes = 5 << 20;
    assert_eq!(build_refusal(&recipe, MEMORY, ""), None);
    recipe.headers[2].memory_bytes = 6 << 20;
    assert_eq!(build_refusal(&recipe, MEMORY, ""), large);
    recipe.headers[2].memory_bytes = (1 << 30) - 0x2000;
    assert_eq!(build_refusal(&recipe, MEMORY, ""), large);
    assert_eq!(build_refusal(&Recipe::good(), MEMORY, &"x".repeat(PAGE)), None);
    assert_eq!(build_refusal(&Recipe::good(), MEMORY, &"x".repeat(PAGE + 1)), large);
}
