//! The hypervisor's ELF as the counting sees it: sections with addresses, pointers, instructions.

use elf::ElfBytes;
use elf::abi::{R_X86_64_RELATIVE, SHF_ALLOC, SHN_ABS, SHT_NOBITS};
use elf::endian::LittleEndian;
use iced_x86::{Decoder, DecoderOptions, Instruction};

use crate::elf_file::ElfFile;
use crate::failure::{Failure, Kind};

/// A section that is loaded.
pub struct Section<'elf> {
    pub name: &'elf str,
    pub start: u64,
    pub end: u64,
    bytes: &'elf [u8],
}

/// See the module.
pub struct Image<'elf> {
    pub file: ElfBytes<'elf, LittleEndian>,
    pub sections: Vec<Section<'elf>>,
    /// Relocated pointers: where they stand, and where they point to.
    pub pointers: Vec<(u64, u64)>,
}

impl<'elf> Image<'elf> {
    /// Reads an ELF.
    pub fn of(elf: &'elf ElfFile) -> Result<Self, Failure> {
        let damaged = |reason: &str| Failure::new(Kind::File, format!("{}: {reason}", elf.path.display()));
        let refuse = |error: elf::ParseError| damaged(&error.to_string());
        let file = ElfBytes::<LittleEndian>::minimal_parse(&elf.bytes).map_err(refuse)?;
        let (Some(headers), Some(names)) = file.section_headers_with_strtab().map_err(refuse)? else {
            return Err(damaged("no sections"));
        };
        let (mut sections, mut pointers) = (Vec::new(), Vec::new());
        for header in headers.iter().filter(|header| header.sh_flags & u64::from(SHF_ALLOC) != 0) {
            let name = names.get(header.sh_name as usize).map_err(refuse)?;
            if name == ".rela.dyn" {
                let relocations = file.section_data_as_relas(&header).map_err(refuse)?;
                let relative = relocations.filter(|relocation| relocation.r_type == R_X86_64_RELATIVE);
                pointers.extend(relative.map(|at| (at.r_offset, at.r_addend as u64)));
            }
            let bytes = if header.sh_type == SHT_NOBITS {
                &[][..]
            } else {
                file.section_data(&header).map_err(refuse)?.0
            };
            let (start, end) = (header.sh_addr, header.sh_addr.saturating_add(header.sh_size));
            sections.push(Section { name, start, end, bytes });
        }
        Ok(Self { file, sections, pointers })
    }

    /// The section that holds `address`.
    pub fn section(&self, address: u64) -> Option<&Section<'elf>> {
        self.sections.iter().find(|section| (section.start..section.end).contains(&address))
    }

    /// The instructions of a section of code.
    pub fn instructions(&self, name: &str) -> impl Iterator<Item = Instruction> {
        let sections = self.sections.iter().filter(move |section| section.name == name);
        sections.flat_map(|section| {
            let mut decoder = Decoder::with_ip(64, section.bytes, section.start, DecoderOptions::NONE);
            std::iter::from_fn(move || decoder.can_decode().then(|| decoder.decode()))
        })
    }

    /// A number that the hypervisor tells by a symbol of that value.
    pub fn number(&self, symbol: &str) -> Option<u64> {
        let (table, names) = self.file.symbol_table().ok()??;
        let is_it = |name: u32| names.get(name as usize).is_ok_and(|name| name == symbol);
        table.iter().find(|at| at.st_shndx == SHN_ABS && is_it(at.st_name)).map(|at| at.st_value)
    }
}
