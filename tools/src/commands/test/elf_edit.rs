//! Guest ELFs damaged on purpose: reads just enough of an ELF to change one thing in it.
//!
//! Written by hand on bytes, since no library writes a broken ELF. The file that is changed is a sound one that was
//! just built, so what cannot be found is a failure of the test, not of the guest.

use pvops_abi::note::{NoteType, OWNER};

use crate::failure::{Failure, Kind};

/// Offsets in the ELF header.
mod header {
    pub const MACHINE: usize = 18;
    pub const PROGRAM_HEADERS: usize = 32;
    pub const PROGRAM_HEADER_COUNT: usize = 56;
}

/// Offsets in a program header.
pub mod segment {
    /// Permissions.
    pub const FLAGS: usize = 4;
    /// Where it lies in the file.
    pub const FILE_OFFSET: usize = 8;
    /// Where it lies in memory.
    pub const ADDRESS: usize = 16;
    /// Bytes in the file.
    pub const FILE_SIZE: usize = 32;
    /// Bytes in memory.
    pub const MEMORY_SIZE: usize = 40;
    pub(super) const HEADER_SIZE: usize = 56;
}

const PT_LOAD: u32 = 1;
const PT_DYNAMIC: u32 = 2;
const PT_NOTE: u32 = 4;
const DT_RELA: u64 = 7;
const DT_RELASZ: u64 = 8;
const RELA_SIZE: usize = 24;
const RELA_ADDEND: usize = 16;

/// A segment may be executed.
pub const EXECUTABLE: u32 = 1;
/// A segment may be written.
pub const WRITABLE: u32 = 2;

/// An ELF being changed.
pub struct Edit {
    /// Its bytes.
    pub bytes: Vec<u8>,
}

/// Where a note lies in the file.
#[derive(Clone, Copy)]
pub struct Note {
    header: usize,
    descriptor: usize,
}

impl Edit {
    /// Starts from a sound ELF.
    pub fn new(bytes: &[u8]) -> Self {
        Self { bytes: bytes.to_vec() }
    }

    /// Changes the machine the file claims to be for.
    pub fn set_machine(&mut self, machine: u16) {
        self.put(header::MACHINE, &machine.to_le_bytes());
    }

    /// File offsets of the headers of the loadable segments, in order.
    pub fn loads(&self) -> Vec<usize> {
        self.segments(PT_LOAD)
    }

    /// A 64-bit field of a segment.
    pub fn segment(&self, header: usize, field: usize) -> u64 {
        self.u64(header + field)
    }

    /// Changes a 64-bit field of a segment.
    pub fn set_segment(&mut self, header: usize, field: usize, value: u64) {
        self.put(header + field, &value.to_le_bytes());
    }

    /// The permissions of a segment.
    pub fn flags(&self, header: usize) -> u32 {
        self.u32(header + segment::FLAGS)
    }

    /// Changes the permissions of a segment.
    pub fn set_flags(&mut self, header: usize, flags: u32) {
        self.put(header + segment::FLAGS, &flags.to_le_bytes());
    }

    /// The first note of this type.
    pub fn note(&self, kind: NoteType) -> Result<Note, Failure> {
        self.notes()
            .into_iter()
            .find(|note| self.u32(note.header + 8) == kind as u32)
            .ok_or_else(|| broken(&format!("the guest has no note {kind:?}")))
    }

    /// Takes the owner's name from all notes.
    pub fn disown_notes(&mut self) {
        for note in self.notes() {
            self.put(note.header + 12, b"OTHER");
        }
    }

    /// Changes a note's type.
    pub fn set_note_type(&mut self, note: Note, kind: NoteType) {
        self.put(note.header + 8, &(kind as u32).to_le_bytes());
    }

    /// Changes the size that a note states for its descriptor.
    pub fn set_descriptor_size(&mut self, note: Note, size: u32) {
        self.put(note.header + 4, &size.to_le_bytes());
    }

    /// Changes a note's first word, or the relocation that will write it.
    pub fn set_descriptor(&mut self, note: Note, value: u64) -> Result<(), Failure> {
        self.put(note.descriptor, &value.to_le_bytes());
        let address = self.address_of(note.descriptor)?;
        if let Some(relocation) = self.relocation_at(address)? {
            self.put(relocation + RELA_ADDEND, &value.to_le_bytes());
        }
        Ok(())
    }

    fn segments(&self, kind: u32) -> Vec<usize> {
        let start = self.u64(header::PROGRAM_HEADERS) as usize;
        let count = usize::from(u16::from_le_bytes(self.array(header::PROGRAM_HEADER_COUNT)));
        (0..count)
            .map(|index| start + index * segment::HEADER_SIZE)
            .filter(|&header| self.u32(header) == kind)
            .collect()
    }

    fn notes(&self) -> Vec<Note> {
        let mut notes = Vec::new();
        for header in self.segments(PT_NOTE) {
            let mut offset = self.segment(header, segment::FILE_OFFSET) as usize;
            let end = offset + self.segment(header, segment::FILE_SIZE) as usize;
            while offset + 12 <= end {
                let name_size = self.u32(offset) as usize;
                let descriptor = offset + 12 + name_size.next_multiple_of(4);
                if self.bytes[offset + 12..].starts_with(OWNER) {
                    notes.push(Note { header: offset, descriptor });
                }
                offset = descriptor + (self.u32(offset + 4) as usize).next_multiple_of(4);
            }
        }
        notes
    }

    /// The file offset of the relative relocation that writes to `address`.
    fn relocation_at(&self, address: u64) -> Result<Option<usize>, Failure> {
        let Some(&dynamic) = self.segments(PT_DYNAMIC).first() else { return Ok(None) };
        let start = self.segment(dynamic, segment::FILE_OFFSET) as usize;
        let size = self.segment(dynamic, segment::FILE_SIZE) as usize;
        let value = |tag| {
            (start..start + size)
                .step_by(16)
                .find(|&entry| self.u64(entry) == tag)
                .map(|entry| self.u64(entry + 8))
        };
        let (Some(table), Some(size)) = (value(DT_RELA), value(DT_RELASZ)) else { return Ok(None) };
        let table = self.offset_of(table)?;
        Ok((table..table + size as usize).step_by(RELA_SIZE).find(|&entry| self.u64(entry) == address))
    }

    fn address_of(&self, offset: usize) -> Result<u64, Failure> {
        self.translate(offset as u64, segment::FILE_OFFSET, segment::ADDRESS)
    }

    fn offset_of(&self, address: u64) -> Result<usize, Failure> {
        Ok(self.translate(address, segment::ADDRESS, segment::FILE_OFFSET)? as usize)
    }

    fn translate(&self, position: u64, from: usize, to: usize) -> Result<u64, Failure> {
        self.loads()
            .into_iter()
            .find_map(|load| {
                let distance = position.checked_sub(self.segment(load, from))?;
                (distance < self.segment(load, segment::FILE_SIZE)).then(|| self.segment(load, to) + distance)
            })
            .ok_or_else(|| broken("the guest has notes or relocations outside its segments"))
    }

    fn put(&mut self, offset: usize, value: &[u8]) {
        self.bytes[offset..offset + value.len()].copy_from_slice(value);
    }

    fn array<const N: usize>(&self, offset: usize) -> [u8; N] {
        let mut array = [0; N];
        array.copy_from_slice(&self.bytes[offset..offset + N]);
        array
    }

    fn u32(&self, offset: usize) -> u32 {
        u32::from_le_bytes(self.array(offset))
    }

    fn u64(&self, offset: usize) -> u64 {
        u64::from_le_bytes(self.array(offset))
    }
}

fn broken(message: &str) -> Failure {
    Failure::new(Kind::CheckFailed, message)
}
