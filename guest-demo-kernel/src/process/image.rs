//! The programs' ELF: embedded, parsed once, read page by page when a process touches one.

use crate::arch::raw;
use alloc::vec::Vec;
use elf::ElfBytes;
use elf::abi::{ET_DYN, PF_W, PF_X, PT_LOAD, R_X86_64_RELATIVE, SHT_RELA};
use elf::endian::LittleEndian;
use pvops_abi::addr::{PAGE_SIZE, PhysAddr};
use pvops_abi::ops::mmu::PageFlags;
use spin::Once;

/// Built by `build.rs`.
static PROGRAMS: &[u8] = include_bytes!(env!("DEMO_PROGRAMS_ELF"));
static IMAGE: Once<Image> = Once::new();

/// A static-PIE program, not tied to an address yet.
pub(crate) struct Image {
    /// Where it begins, relative to its base.
    pub(crate) entry: u64,
    /// Bytes that it takes in memory.
    pub(crate) bytes: u64,
    segments: Vec<Segment>,
    /// `R_X86_64_RELATIVE`, the only kind that a static-PIE has: place and what to add to the base, by place.
    relocations: Vec<(u64, u64)>,
}

struct Segment {
    start: u64,
    memory_bytes: u64,
    data: &'static [u8],
    flags: PageFlags,
}

/// The embedded programs.
pub(crate) fn embedded() -> &'static Image {
    IMAGE.call_once(|| Image::parse(PROGRAMS).expect("our own build made a well-formed ELF"))
}

impl Image {
    fn parse(file: &'static [u8]) -> Option<Self> {
        let elf = ElfBytes::<LittleEndian>::minimal_parse(file).ok()?;
        let loaded = elf.segments()?.iter().filter(|header| header.p_type == PT_LOAD);
        let segments = loaded
            .map(|header| {
                let data = elf.segment_data(&header).ok()?;
                let mut flags = PageFlags::PRESENT | PageFlags::USER;
                flags.set(PageFlags::WRITABLE, header.p_flags & PF_W != 0);
                flags.set(PageFlags::NO_EXECUTE, header.p_flags & PF_X == 0);
                Some(Segment { start: header.p_vaddr, memory_bytes: header.p_memsz, data, flags })
            })
            .collect::<Option<Vec<_>>>()?;
        let bytes = segments.iter().map(|segment| segment.start + segment.memory_bytes).max()?;
        let well_formed = elf.ehdr.e_type == ET_DYN && elf.ehdr.e_entry < bytes;
        let relocations = relocations(&elf)?;
        well_formed.then_some(Self { entry: elf.ehdr.e_entry, bytes, segments, relocations })
    }

    /// Rights of the page at `offset` from the base; nothing between segments.
    pub(crate) fn rights(&self, offset: u64) -> Option<PageFlags> {
        let touching = self.segments.iter().filter(|segment| {
            segment.start < offset + PAGE_SIZE && offset < segment.start + segment.memory_bytes
        });
        touching.map(|segment| segment.flags).reduce(|one, other| {
            let no_execute = one & other & PageFlags::NO_EXECUTE;
            ((one | other) - PageFlags::NO_EXECUTE) | no_execute
        })
    }

    /// Fills the zeroed `frame` with the page at `offset`, relocated for `base`.
    pub(crate) fn fill(&self, frame: PhysAddr, offset: u64, base: u64) {
        for segment in &self.segments {
            let end = (segment.start + segment.data.len() as u64).min(offset + PAGE_SIZE);
            let start = segment.start.max(offset);
            if start < end {
                let data = &segment.data[(start - segment.start) as usize..(end - segment.start) as usize];
                raw::write_frame(frame, (start - offset) as usize, data);
            }
        }
        let first = self.relocations.partition_point(|(place, _)| *place < offset);
        let in_page = self.relocations[first..].iter().take_while(|(place, _)| *place < offset + PAGE_SIZE);
        for (place, addend) in in_page {
            raw::write_frame(frame, (place - offset) as usize, &(base + addend).to_le_bytes());
        }
    }
}

/// All relocations, sorted; nothing when there is one of another kind or one that crosses a page.
fn relocations(elf: &ElfBytes<'static, LittleEndian>) -> Option<Vec<(u64, u64)>> {
    let mut found = Vec::new();
    for section in elf.section_headers()?.iter().filter(|section| section.sh_type == SHT_RELA) {
        for relocation in elf.section_data_as_relas(&section).ok()? {
            let fits = relocation.r_offset % PAGE_SIZE <= PAGE_SIZE - 8;
            if relocation.r_type != R_X86_64_RELATIVE || !fits {
                return None;
            }
            found.push((relocation.r_offset, relocation.r_addend.cast_unsigned()));
        }
    }
    found.sort_unstable();
    Some(found)
}
