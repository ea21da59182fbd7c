//! Guests that must be refused: each is the smallest guest with one thing wrong, booted in the hypervisor, which
//! must say so in exactly one line and end with the status for a refused image.

use std::time::Duration;

use pvops_abi::note::NoteType;
use system_image::ExitStatus;

use super::case::{Case, Context, ensure, expect_status};
use super::elf_edit::{EXECUTABLE, Edit, WRITABLE, segment};
use crate::boot::World;
use crate::elf_file::ElfFile;
use crate::failure::{Failure, Kind};
use crate::session::{last_lines, without_escapes};

/// The file name becomes the domain's name.
const GUEST: &str = "bad-guest";

/// What is done to a sound ELF.
type Damage = fn(&mut Edit) -> Result<(), Failure>;

const DAMAGES: [(&str, Damage); 17] = [
    ("cut inside the ELF header", |elf| cut(elf, 40)),
    ("cut inside the program headers", |elf| cut(elf, 100)),
    ("cut inside a segment", |elf| {
        let last = last_load(elf)?;
        let end = elf.segment(last, segment::FILE_OFFSET) + elf.segment(last, segment::FILE_SIZE);
        cut(elf, end as usize - 1)
    }),
    ("for another machine", |elf| {
        const AARCH64: u16 = 183;
        elf.set_machine(AARCH64);
        Ok(())
    }),
    ("overlapping segments", |elf| {
        let (first, second) = (first_load(elf)?, load(elf, 1)?);
        let distance = elf.segment(second, segment::ADDRESS) - elf.segment(first, segment::ADDRESS);
        elf.set_segment(first, segment::MEMORY_SIZE, distance + 1);
        Ok(())
    }),
    ("a segment beyond the file", |elf| {
        let first = first_load(elf)?;
        elf.set_segment(first, segment::FILE_OFFSET, 1 << 40);
        Ok(())
    }),
    ("a segment beyond the address space", |elf| {
        let last = last_load(elf)?;
        let offset_in_page = elf.segment(last, segment::ADDRESS) % 4096;
        elf.set_segment(last, segment::ADDRESS, u64::MAX - 4095 + offset_in_page);
        Ok(())
    }),
    ("a segment with less memory than file", |elf| {
        let first = first_load(elf)?;
        elf.set_segment(first, segment::MEMORY_SIZE, elf.segment(first, segment::FILE_SIZE) - 1);
        Ok(())
    }),
    ("a writable and executable segment", |elf| {
        let loads = elf.loads();
        let code = loads.into_iter().find(|&load| elf.flags(load) & EXECUTABLE != 0);
        let code = code.ok_or_else(|| missing("executable segment"))?;
        elf.set_flags(code, elf.flags(code) | WRITABLE);
        Ok(())
    }),
    ("an entry outside the image", |elf| elf.set_descriptor(elf.note(NoteType::Entry)?, 1 << 40)),
    ("an entry in data", |elf| {
        let loads = elf.loads();
        let data = loads.into_iter().find(|&load| elf.flags(load) & EXECUTABLE == 0);
        let data = data.ok_or_else(|| missing("data segment"))?;
        elf.set_descriptor(elf.note(NoteType::Entry)?, elf.segment(data, segment::ADDRESS))
    }),
    ("no notes", |elf| {
        elf.disown_notes();
        Ok(())
    }),
    ("a note that reaches beyond its segment", |elf| {
        elf.set_descriptor_size(elf.note(NoteType::AbiVersion)?, 0xffff_fff0);
        Ok(())
    }),
    ("a note with a descriptor too short", |elf| {
        elf.set_descriptor_size(elf.note(NoteType::AbiVersion)?, 4);
        Ok(())
    }),
    ("an ABI major version too new", |elf| elf.set_descriptor(elf.note(NoteType::AbiVersion)?, 99 << 16)),
    ("a required extension that is absent", |elf| {
        let note = elf.note(NoteType::Requires).or_else(|_| elf.note(NoteType::Wants))?;
        elf.set_note_type(note, NoteType::Requires);
        elf.set_descriptor(note, 0x7ffe)
    }),
    ("larger than its memory", |elf| {
        let last = last_load(elf)?;
        elf.set_segment(last, segment::MEMORY_SIZE, 1 << 30);
        Ok(())
    }),
];

/// All of them.
pub fn cases() -> Vec<Case> {
    DAMAGES
        .into_iter()
        .map(|(name, damage)| {
            Case::boot(format!("bad guest: {name}"), move |context, limit| refused(context, limit, damage))
        })
        .collect()
}

// covers: NOTE-003, NOTE-008, VER-001
fn refused(context: &Context, limit: Duration, damage: Damage) -> Result<(), Failure> {
    let mut elf = Edit::new(&context.kernels()?.smallest.bytes);
    damage(&mut elf)?;
    let guest = ElfFile { path: GUEST.into(), bytes: elf.bytes };
    let ended = context.run_guest(World::Hypervisor, &guest, "", limit)?;
    expect_status(&ended, ExitStatus::IMAGE_REFUSED.code())?;
    let console = without_escapes(&ended.console);
    let prefix = format!("pvops: domain '{GUEST}' refused: ");
    let refusals: Vec<&str> = console.lines().filter_map(|line| line.strip_prefix(&prefix)).collect();
    ensure(
        matches!(refusals[..], [reason] if !reason.trim().is_empty()),
        format_args!("expected one line `{prefix}REASON`{}", last_lines(&console)),
    )
}

fn cut(elf: &mut Edit, size: usize) -> Result<(), Failure> {
    elf.bytes.truncate(size);
    Ok(())
}

fn load(elf: &Edit, index: usize) -> Result<usize, Failure> {
    elf.loads().get(index).copied().ok_or_else(|| missing("segment"))
}

fn first_load(elf: &Edit) -> Result<usize, Failure> {
    load(elf, 0)
}

fn last_load(elf: &Edit) -> Result<usize, Failure> {
    elf.loads().pop().ok_or_else(|| missing("segment"))
}

fn missing(what: &str) -> Failure {
    Failure::new(Kind::CheckFailed, format!("the smallest guest has no {what} to damage"))
}
