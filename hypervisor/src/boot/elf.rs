//! Guest ELF files: untrusted bytes, checked whole before anything is loaded.
//!
//! Pure logic over slices, so that it runs under `cargo test`. The file format itself is read by the `elf`
//! crate; here is what a *guest kernel* must be (`spec/`, chapter on discovery).

use super::refusal::Refusal;
use elf::ElfBytes;
use elf::abi::{EM_X86_64, ET_DYN, ET_EXEC, PF_W, PF_X, PT_DYNAMIC, PT_LOAD, PT_NOTE, R_X86_64_RELATIVE};
use elf::endian::LittleEndian;
use elf::segment::ProgramHeader;
use heapless::Vec;
use pvops_abi::layout::start_info::{ExecutionMode, VirtRange};
use pvops_abi::note::NoteType;
use pvops_abi::version::{self, AbiVersion};

/// Loadable segments that a kernel may have.
pub const MAX_SEGMENTS: usize = 16;
/// Program headers that a kernel may have: what each names is read, so their number bounds the time.
const MAX_HEADERS: usize = 64;
/// Range notes that a kernel may have.
const MAX_RANGES: usize = 4;
const PAGE: u64 = 4096;

/// A loadable segment, checked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Segment {
    /// Virtual address as linked.
    pub virt: u64,
    /// Bytes in memory.
    pub memory_bytes: u64,
    /// Where its contents start in the file.
    pub file_offset: u64,
    /// Bytes in the file.
    pub file_bytes: u64,
    /// It may be written.
    pub writable: bool,
    /// It may be executed.
    pub executable: bool,
}

/// A guest kernel, checked.
#[derive(Debug)]
pub struct Kernel<'a> {
    bytes: &'a [u8],
    /// Loadable segments, by address, not overlapping.
    pub segments: Vec<Segment, MAX_SEGMENTS>,
    /// First page of the image, as linked.
    pub start: u64,
    /// Bytes of the image in memory, whole pages.
    pub image_bytes: u64,
    /// Entry by the note, as linked.
    pub entry: u64,
    /// The loader picks the virtual address (ET_DYN).
    pub relocatable: bool,
    /// Where in guest-physical memory it wants to be, if it says so.
    pub load_address: Option<u64>,
    /// Ranges that the kernel needs for itself.
    pub ranges: Vec<VirtRange, MAX_RANGES>,
    relocations: &'a [u8],
}

/// What the notes say.
#[derive(Default)]
struct Notes {
    entry: Option<u64>,
    version: Option<u64>,
    modes: Option<u64>,
    load_address: Option<u64>,
    ranges: Vec<VirtRange, MAX_RANGES>,
    count: usize,
}

impl<'a> Kernel<'a> {
    /// Checks everything that can be checked without knowing where it will run.
    ///
    /// # Errors
    /// [`Refusal`].
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Refusal> {
        let file = ElfBytes::<LittleEndian>::minimal_parse(bytes).map_err(|_| Refusal::NotElf)?;
        if file.ehdr.class != elf::file::Class::ELF64 || file.ehdr.e_machine != EM_X86_64 {
            return Err(Refusal::WrongMachine);
        }
        let relocatable = match file.ehdr.e_type {
            ET_DYN => true,
            ET_EXEC => false,
            _ => return Err(Refusal::NotExecutable),
        };
        let headers = file.segments().ok_or(Refusal::NotElf)?;
        if headers.len() > MAX_HEADERS {
            return Err(Refusal::TooManyHeaders);
        }
        let mut segments = Vec::new();
        let mut notes = Notes::default();
        let mut dynamic = None;
        for header in headers {
            let contents = contents(bytes, &header)?;
            match header.p_type {
                PT_LOAD if header.p_memsz != 0 => {
                    segments.push(segment(&header)?).map_err(|_| Refusal::TooManySegments)?;
                }
                PT_NOTE => notes.read(contents, &header)?,
                PT_DYNAMIC => dynamic = Some(contents),
                _ => {}
            }
        }
        let (start, image_bytes) = check_segments(&mut segments)?;
        let entry = notes.check()?;
        let is_code = |segment: &Segment| segment.executable && holds(segment, entry);
        if !segments.iter().any(is_code) {
            return Err(Refusal::EntryOutside);
        }
        let relocations = match dynamic {
            Some(table) => relocations(bytes, &segments, table)?,
            None => &[],
        };
        Ok(Self {
            bytes,
            segments,
            start,
            image_bytes,
            entry,
            relocatable,
            load_address: notes.load_address,
            ranges: notes.ranges,
            relocations,
        })
    }

    /// Copies the segments into `image`, zeroed memory of [`Self::image_bytes`], and relocates them by `slide`.
    ///
    /// # Errors
    /// [`Refusal::BadRelocation`].
    pub fn load(&self, image: &mut [u8], slide: u64) -> Result<(), Refusal> {
        for segment in &self.segments {
            let at = (segment.virt - self.start) as usize;
            let from = segment.file_offset as usize;
            let length = segment.file_bytes as usize;
            image[at..at + length].copy_from_slice(&self.bytes[from..from + length]);
        }
        for entry in self.relocations.as_chunks::<24>().0 {
            let [offset, info, addend] = [0, 8, 16].map(|at| word(entry, at));
            let is_inside = self.segments.iter().any(|segment| {
                !segment.executable && holds(segment, offset) && holds(segment, offset.wrapping_add(7))
            });
            if info != u64::from(R_X86_64_RELATIVE) || !is_inside {
                return Err(Refusal::BadRelocation);
            }
            let at = (offset - self.start) as usize;
            image[at..at + 8].copy_from_slice(&slide.wrapping_add(addend).to_le_bytes());
        }
        Ok(())
    }
}

fn word(bytes: &[u8], at: usize) -> u64 {
    let mut word = [0; 8];
    word.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(word)
}

fn half_word(bytes: &[u8], at: usize) -> u32 {
    let mut word = [0; 4];
    word.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(word)
}

fn holds(segment: &Segment, address: u64) -> bool {
    address >= segment.virt && address - segment.virt < segment.memory_bytes
}

/// The segment's bytes in the file.
fn contents<'a>(bytes: &'a [u8], header: &ProgramHeader) -> Result<&'a [u8], Refusal> {
    let end = header.p_offset.checked_add(header.p_filesz).ok_or(Refusal::Truncated)?;
    let range = usize::try_from(header.p_offset).ok().zip(usize::try_from(end).ok());
    range.and_then(|(start, end)| bytes.get(start..end)).ok_or(Refusal::Truncated)
}

fn segment(header: &ProgramHeader) -> Result<Segment, Refusal> {
    let (writable, executable) = (header.p_flags & PF_W != 0, header.p_flags & PF_X != 0);
    if writable && executable {
        return Err(Refusal::WritableCode);
    }
    if header.p_filesz > header.p_memsz {
        return Err(Refusal::SegmentOutOfRange);
    }
    Ok(Segment {
        virt: header.p_vaddr,
        memory_bytes: header.p_memsz,
        file_offset: header.p_offset,
        file_bytes: header.p_filesz,
        writable,
        executable,
    })
}

/// Sorts; returns the first page and the bytes of the image. No two segments may share a page: their rights differ.
fn check_segments(segments: &mut [Segment]) -> Result<(u64, u64), Refusal> {
    segments.sort_unstable_by_key(|segment| segment.virt);
    let first = segments.first().ok_or(Refusal::NoSegments)?;
    let start = first.virt & !(PAGE - 1);
    let mut end = start;
    for segment in segments.iter() {
        let page = segment.virt & !(PAGE - 1);
        if page < end {
            return Err(Refusal::Overlap);
        }
        end = segment
            .virt
            .checked_add(segment.memory_bytes)
            .and_then(|last| last.checked_add(PAGE - 1))
            .ok_or(Refusal::SegmentOutOfRange)?
            & !(PAGE - 1);
    }
    // More than any memory could hold, and more than a page table of the builder should have to span.
    if end - start > 1 << 30 {
        return Err(Refusal::TooLarge);
    }
    Ok((start, end - start))
}

impl Notes {
    /// Reads a note segment. Not by the `elf` crate: its iterator ends at a damaged note as if it were the last.
    fn read(&mut self, segment: &[u8], header: &ProgramHeader) -> Result<(), Refusal> {
        /// Bytes of a note's header: name size, descriptor size, type.
        const HEADER: usize = 12;
        let alignment = match header.p_align {
            0 | 1 | 4 => 4,
            8 => 8,
            _ => return Err(Refusal::MalformedNotes),
        };
        let mut at = 0;
        while segment.len() - at >= HEADER {
            let [name_bytes, descriptor_bytes, kind] =
                [0, 4, 8].map(|field| half_word(segment, at + field) as usize);
            let name = at + HEADER;
            let descriptor = (name + name_bytes).next_multiple_of(alignment);
            let end = descriptor + descriptor_bytes;
            let content = segment.get(descriptor..end).ok_or(Refusal::MalformedNotes)?;
            if matches!(&segment[name..name + name_bytes], b"PVOPS\0" | b"PVOPS") {
                self.count += 1;
                // Where the descriptor will lie in memory, as linked.
                let place = header.p_vaddr.wrapping_add(descriptor as u64);
                self.add(kind as u64, content, place)?;
            }
            at = end.next_multiple_of(alignment).min(segment.len());
        }
        if segment[at..].iter().all(|byte| *byte == 0) { Ok(()) } else { Err(Refusal::MalformedNotes) }
    }

    fn add(&mut self, kind: u64, descriptor: &[u8], place: u64) -> Result<(), Refusal> {
        // Types that this version does not know belong to a newer minor version, which may add some.
        let Some(kind) = u32::try_from(kind).ok().and_then(|kind| NoteType::try_from(kind).ok()) else {
            return Ok(());
        };
        if !descriptor.len().is_multiple_of(8) {
            return Err(Refusal::MalformedNotes);
        }
        let once = |slot: &mut Option<u64>, value: u64| match slot.replace(value) {
            None if descriptor.len() == 8 => Ok(()),
            _ => Err(Refusal::MalformedNotes),
        };
        let words = descriptor.len() / 8;
        let first = if words == 0 { 0 } else { word(descriptor, 0) };
        match kind {
            NoteType::Entry => once(&mut self.entry, place.wrapping_add(first)),
            NoteType::AbiVersion => once(&mut self.version, first),
            NoteType::ExecutionModes => once(&mut self.modes, first),
            NoteType::Requires => {
                let is_absent = |number: &u64| crate::front::decode::extension_version(*number) == 0;
                let mut numbers = (0..words).map(|at| word(descriptor, at * 8));
                if numbers.any(|number| is_absent(&number)) { Err(Refusal::ExtensionAbsent) } else { Ok(()) }
            }
            NoteType::Wants => Ok(()),
            NoteType::LoadAddress => once(&mut self.load_address, first),
            NoteType::Range if words == 2 => {
                let range = VirtRange { start: first, last: word(descriptor, 8) };
                self.ranges.push(range).map_err(|_| Refusal::MalformedNotes)
            }
            NoteType::Range => Err(Refusal::MalformedNotes),
        }
    }

    /// The entry, when everything required is there.
    fn check(&self) -> Result<u64, Refusal> {
        if self.count == 0 {
            return Err(Refusal::NoNotes);
        }
        let (Some(entry), Some(version), Some(modes)) = (self.entry, self.version, self.modes) else {
            return Err(Refusal::MalformedNotes);
        };
        let version = u32::try_from(version).map_err(|_| Refusal::MalformedNotes)?;
        if !version::CURRENT.satisfies(AbiVersion::from_bits(version)) {
            return Err(Refusal::AbiVersion);
        }
        if modes & (1 << ExecutionMode::Deprivileged as u32) == 0 {
            return Err(Refusal::ExecutionMode);
        }
        Ok(entry)
    }
}

/// The RELA table that the dynamic section names.
fn relocations<'a>(bytes: &'a [u8], segments: &[Segment], dynamic: &[u8]) -> Result<&'a [u8], Refusal> {
    const NULL: u64 = 0;
    const PLT_RELOCATION_BYTES: u64 = 2;
    const RELA: u64 = 7;
    const RELA_BYTES: u64 = 8;
    const RELA_ENTRY_BYTES: u64 = 9;
    const REL: u64 = 17;
    const RELR: u64 = 36;
    let (mut address, mut length, mut entry_bytes) = (0, 0, 24);
    for pair in dynamic.as_chunks::<16>().0 {
        let value = word(pair, 8);
        match word(pair, 0) {
            NULL => break,
            RELA => address = value,
            RELA_BYTES => length = value,
            RELA_ENTRY_BYTES => entry_bytes = value,
            REL | RELR => return Err(Refusal::BadRelocation),
            PLT_RELOCATION_BYTES if value != 0 => return Err(Refusal::BadRelocation),
            _ => {}
        }
    }
    if length == 0 {
        return Ok(&[]);
    }
    let segment = segments
        .iter()
        .find(|segment| address >= segment.virt && address - segment.virt < segment.file_bytes)
        .ok_or(Refusal::BadRelocation)?;
    let offset = address - segment.virt;
    if entry_bytes != 24 || !length.is_multiple_of(24) || length > segment.file_bytes - offset {
        return Err(Refusal::BadRelocation);
    }
    let start = (segment.file_offset + offset) as usize;
    Ok(&bytes[start..start + length as usize])
}
