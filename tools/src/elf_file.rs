//! Guest and hypervisor ELFs on the host's side: reading, hashing, the few checks that can be made before boot.
//!
//! Whether a guest is fit to run is the hypervisor's decision, since it sees the file as untrusted bytes anyway;
//! here only what is no ELF at all is turned away, where a better message is possible.
//!
//! Builds keep all debug information, for gdb; a machine gets only what is loaded, see [`ElfFile::loaded`].

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use elf::ElfBytes;
use elf::abi::{ET_DYN, PT_LOAD, SHF_ALLOC, SHT_NOBITS};
use elf::endian::LittleEndian;
use sha2::{Digest, Sha256};

use crate::failure::{Failure, Kind};

/// An ELF file read into memory.
#[derive(Clone, Debug)]
pub struct ElfFile {
    /// Where it was read from.
    pub path: PathBuf,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

impl ElfFile {
    /// Reads the file and checks its magic number.
    pub fn read(path: &Path) -> Result<Self, Failure> {
        let bytes = std::fs::read(path).map_err(|error| Failure::file("read", path, &error))?;
        if !is_elf(&bytes) {
            let message = format!("{} is not an ELF file", path.display());
            return Err(Failure::new(Kind::File, message));
        }
        Ok(Self { path: path.to_path_buf(), bytes })
    }

    /// SHA-256 of the whole file, in hexadecimal.
    pub fn sha256(&self) -> String {
        sha256(&[&self.bytes])
    }

    /// The file without debug information and symbols: what is loaded, at the same offsets, and the headers of its
    /// sections. A file that is damaged, or laid out in another way than linkers do, is left as it is: to refuse it
    /// is the hypervisor's business.
    pub fn loaded(&self) -> Cow<'_, [u8]> {
        match without_debug(&self.bytes) {
            Some(bytes) if bytes.len() < self.bytes.len() => Cow::Owned(bytes),
            _ => Cow::Borrowed(&self.bytes),
        }
    }

    /// What it takes in memory, from the first byte that is loaded to the last. 0 if it is damaged.
    pub fn memory_bytes(&self) -> u64 {
        let bounds = || {
            let file = ElfBytes::<LittleEndian>::minimal_parse(&self.bytes).ok()?;
            let loads = || file.segments().into_iter().flat_map(|segments| segments.iter());
            let loads = || loads().filter(|segment| segment.p_type == PT_LOAD);
            let first = loads().map(|segment| segment.p_vaddr).min()?;
            let end = loads().map(|segment| segment.p_vaddr.saturating_add(segment.p_memsz)).max()?;
            Some(end - first)
        };
        bounds().unwrap_or(0)
    }

    /// What must be added to its addresses when its first page is loaded at `base`; 0 if it cannot be moved. `None`:
    /// it is damaged.
    pub fn slide(&self, base: u64) -> Option<u64> {
        let file = ElfBytes::<LittleEndian>::minimal_parse(&self.bytes).ok()?;
        let loads = file.segments()?.iter().filter(|segment| segment.p_type == PT_LOAD);
        let first = loads.map(|segment| segment.p_vaddr & !0xfff).min()?;
        Some(if file.ehdr.e_type == ET_DYN { base.wrapping_sub(first) } else { 0 })
    }
}

fn without_debug(bytes: &[u8]) -> Option<Vec<u8>> {
    /// Bytes of a section header, and where its offset stands in it.
    const HEADER: usize = 64;
    const HEADER_OFFSET: usize = 24;
    /// Where the ELF header has the table's offset, its length, and the number of the section of names.
    const TABLE: usize = 40;
    const TABLE_LENGTH: usize = 60;
    let file = ElfBytes::<LittleEndian>::minimal_parse(bytes).ok()?;
    let sections = file.section_headers()?;
    let is_loaded = |flags: u64| flags & u64::from(SHF_ALLOC) != 0;
    let kept = (1..).zip(sections.iter()).filter(|(_, section)| is_loaded(section.sh_flags)).last()?.0;
    let names_header = usize::from(file.ehdr.e_shstrndx);
    let contents = sections.iter().take(kept).filter(|section| section.sh_type != SHT_NOBITS);
    let parts = contents
        .map(|section| (section.sh_offset, section.sh_size))
        .chain(file.segments()?.iter().map(|segment| (segment.p_offset, segment.p_filesz)));
    let mut end = file.ehdr.e_phoff + u64::from(file.ehdr.e_phentsize) * u64::from(file.ehdr.e_phnum);
    for (offset, size) in parts {
        end = end.max(offset.checked_add(size)?);
    }
    let header = |number: usize| {
        let start = usize::try_from(file.ehdr.e_shoff).ok()? + number * HEADER;
        bytes.get(start..start + HEADER)
    };
    let names = file.section_data(&sections.get(names_header).ok()?).ok()?.0;

    let mut out = bytes.get(..usize::try_from(end).ok()?)?.to_vec();
    let names_offset = out.len() as u64;
    out.extend(names);
    out.resize(out.len().next_multiple_of(8), 0);
    let table = out.len() as u64;
    for number in 0..kept {
        out.extend(header(number)?);
    }
    let moved = out.len() + HEADER_OFFSET;
    out.extend(header(names_header)?);
    out[moved..moved + 8].copy_from_slice(&names_offset.to_le_bytes());
    out[TABLE..TABLE + 8].copy_from_slice(&table.to_le_bytes());
    let counts = [kept as u16 + 1, kept as u16];
    out[TABLE_LENGTH..TABLE_LENGTH + 2].copy_from_slice(&counts[0].to_le_bytes());
    out[TABLE_LENGTH + 2..TABLE_LENGTH + 4].copy_from_slice(&counts[1].to_le_bytes());
    Some(out)
}

/// Whether the bytes begin like an ELF file.
pub fn is_elf(bytes: &[u8]) -> bool {
    bytes.starts_with(b"\x7fELF")
}

/// SHA-256 of several byte strings, each with its length, in hexadecimal.
///
/// With one string, the hash of just its bytes, as `sha256sum` prints it.
pub fn sha256(parts: &[&[u8]]) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        if parts.len() > 1 {
            hash.update((part.len() as u64).to_le_bytes());
        }
        hash.update(part);
    }
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A path without detours, relative to the current folder where that is shorter.
pub fn shown_path(path: &Path) -> String {
    let here = std::env::current_dir().unwrap_or_default();
    let direct = path.canonicalize().unwrap_or_else(|_| path.to_path_buf());
    direct.strip_prefix(&here).unwrap_or(&direct).display().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// This very test program: an ELF with symbols and debug information.
    fn this_program() -> ElfFile {
        ElfFile::read(&std::env::current_exe().unwrap()).unwrap()
    }

    #[test]
    fn what_is_loaded_stays_and_what_is_not_goes() {
        let whole = this_program();
        let loaded = whole.loaded();
        assert!(loaded.len() < whole.bytes.len());
        let [before, after] =
            [&whole.bytes[..], &loaded].map(|bytes| ElfBytes::<LittleEndian>::minimal_parse(bytes).unwrap());
        for (segment, same) in before.segments().unwrap().iter().zip(after.segments().unwrap()) {
            assert_eq!(segment, same);
            // The ELF header itself tells where the sections' headers are.
            let start = if segment.p_offset == 0 { 64.min(segment.p_filesz as usize) } else { 0 };
            let [was, is] =
                [(&before, segment), (&after, same)].map(|(file, at)| file.segment_data(&at).unwrap());
            assert!(was[start..] == is[start..], "{segment:?}");
        }
        let has =
            |file: &ElfBytes<'_, LittleEndian>, name| file.section_header_by_name(name).unwrap().is_some();
        for name in [".text", ".rodata", ".dynamic"] {
            assert!(has(&before, name) && has(&after, name), "{name}");
        }
        for name in [".debug_info", ".symtab"] {
            assert!(has(&before, name) && !has(&after, name), "{name}");
        }
        let again = ElfFile { path: "again".into(), bytes: loaded.to_vec() };
        assert!(again.loaded() == loaded, "there is nothing left to leave out");
    }

    #[test]
    fn a_damaged_file_is_left_as_it_is() {
        let whole = this_program();
        for size in [0, 10, 64, 100, 5000] {
            let cut = ElfFile { path: "cut".into(), bytes: whole.bytes[..size].to_vec() };
            assert!(*cut.loaded() == cut.bytes[..]);
        }
        let mut wrong = whole;
        wrong.bytes[40..48].fill(0xff);
        assert!(*wrong.loaded() == wrong.bytes[..]);
    }

    #[test]
    fn a_file_that_can_be_moved_slides_to_its_base() {
        assert_eq!(this_program().slide(0x1234_5000), Some(0x1234_5000));
    }

    #[test]
    fn one_part_hashes_like_sha256sum() {
        assert_eq!(sha256(&[b"abc"]), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    }

    #[test]
    fn parts_do_not_run_together() {
        assert_ne!(sha256(&[b"ab", b"c"]), sha256(&[b"a", b"bc"]));
    }
}
