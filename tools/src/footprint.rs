//! The hypervisor's memory footprint, from its ELF.
//!
//! *Boot only* are the sections named `.boot…`, which the hypervisor unmaps when boot is over, and what only the boot
//! loader reads: relocations, the tables of the dynamic linker, the boot loader's configuration. Nothing ever uses them
//! again, see [`references`]. All other sections that occupy memory are *resident*: text with the filling between
//! functions, constants, pointers that are constant once relocated (`.data.rel.ro`, `.got`), data. Not in the ELF, hence
//! not counted, are debug information (never loaded) and what boot allocates: stacks, domains, page tables; what a vCPU,
//! a domain and a CPU take of that is told by [`Each`]. Sections are counted, not pages: the number then changes only
//! when code does.

pub mod functions;
pub mod image;
mod lines;
pub mod modules;
pub mod references;

use elf::ElfBytes;
use elf::abi::{SHF_ALLOC, SHF_EXECINSTR, SHF_WRITE, SHT_NOBITS};
use elf::endian::LittleEndian;
use serde::{Deserialize, Serialize};

use crate::elf_file::ElfFile;
use crate::failure::{Failure, Kind};
use image::Image;

/// Sections that only the boot loader reads, by the beginning of their names.
const BOOT_LOADER_SECTIONS: [&str; 9] = [
    ".rela",
    ".dynamic",
    ".dynsym",
    ".dynstr",
    ".gnu.hash",
    ".hash",
    ".bootloader-config",
    ".eh_frame",
    ".note",
];

/// Bytes by kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bytes {
    /// Executable.
    pub text: u64,
    /// Read-only, or read-only once relocated.
    pub rodata: u64,
    /// Writable with initial contents.
    pub data: u64,
    /// Writable, initially zero.
    pub bss: u64,
}

/// The whole footprint.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Footprint {
    /// Kept while the hypervisor runs.
    pub resident: Bytes,
    /// Given back after boot.
    pub boot_only: Bytes,
}

impl Footprint {
    /// The footprint of an ELF.
    pub fn of(elf: &ElfFile) -> Result<Self, Failure> {
        let refuse = |error: elf::ParseError| {
            Failure::new(Kind::File, format!("cannot read the sections of {}: {error}", elf.path.display()))
        };
        let file = ElfBytes::<LittleEndian>::minimal_parse(&elf.bytes).map_err(refuse)?;
        let mut footprint = Self::default();
        if let (Some(sections), Some(names)) = file.section_headers_with_strtab().map_err(refuse)? {
            for section in sections {
                let name = names.get(section.sh_name as usize).unwrap_or_default();
                footprint.add(name, section.sh_flags, section.sh_type, section.sh_size);
            }
        }
        Ok(footprint)
    }

    /// Resident code and constants: what the budget is about.
    pub fn code(&self) -> u64 {
        self.resident.text + self.resident.rodata
    }

    fn add(&mut self, name: &str, flags: u64, kind: u32, size: u64) {
        let flag = |flag: u32| flags & u64::from(flag) != 0;
        // `.cpu` is in no segment: where boot shows each CPU its own data, see [`Each`].
        if !flag(SHF_ALLOC) || name == ".cpu" {
            return;
        }
        let for_boot_loader = is_for_boot_loader(name);
        let bytes = if is_boot_only(name) { &mut self.boot_only } else { &mut self.resident };
        let read_only_once_relocated = name.starts_with(".data.rel.ro") || name == ".got";
        *(if flag(SHF_EXECINSTR) {
            &mut bytes.text
        } else if for_boot_loader || read_only_once_relocated || !flag(SHF_WRITE) {
            &mut bytes.rodata
        } else if kind == SHT_NOBITS {
            &mut bytes.bss
        } else {
            &mut bytes.data
        }) += size;
    }
}

/// Whether only the boot loader reads a section.
fn is_for_boot_loader(name: &str) -> bool {
    BOOT_LOADER_SECTIONS.iter().any(|prefix| name.starts_with(prefix))
}

/// Whether nobody needs a section once a guest runs.
fn is_boot_only(name: &str) -> bool {
    is_for_boot_loader(name) || name.starts_with(".boot")
}

/// What boot allocates for each of them, in bytes; the hypervisor tells by symbols of these values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Each {
    /// A vCPU, without its extended registers.
    pub vcpu: u64,
    /// Its extended registers, while another one runs.
    pub vcpu_registers: u64,
    /// A domain, without its vCPUs, memory and shadow tables.
    pub domain: u64,
    /// A CPU, without its stacks.
    pub cpu: u64,
    /// Its stacks.
    pub cpu_stacks: u64,
}

impl Each {
    /// As the hypervisor in `image` tells.
    pub fn of(image: &Image<'_>) -> Result<Self, Failure> {
        let number = |name: &str| {
            let missing = || Failure::new(Kind::File, format!("the hypervisor has no symbol {name}"));
            image.number(name).ok_or_else(missing)
        };
        Ok(Self {
            vcpu: number("pvops_bytes_vcpu")?,
            vcpu_registers: number("pvops_bytes_vcpu_registers")?,
            domain: number("pvops_bytes_domain")?,
            cpu: number("pvops_bytes_cpu")?,
            cpu_stacks: number("pvops_bytes_cpu_stacks")?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use elf::abi::SHT_PROGBITS;

    #[test]
    fn sections_are_sorted_by_flags_and_name() {
        let alloc = u64::from(SHF_ALLOC);
        let write = alloc | u64::from(SHF_WRITE);
        let code = alloc | u64::from(SHF_EXECINSTR);
        let mut footprint = Footprint::default();
        for (name, flags, kind, size) in [
            (".text", code, SHT_PROGBITS, 1),
            (".rodata", alloc, SHT_PROGBITS, 2),
            (".data.rel.ro", write, SHT_PROGBITS, 4),
            (".got", write, SHT_PROGBITS, 8),
            (".data", write, SHT_PROGBITS, 16),
            (".bss", write, SHT_NOBITS, 32),
            (".boot.text", code, SHT_PROGBITS, 64),
            (".boot.bss", write, SHT_NOBITS, 128),
            (".rela.dyn", alloc, SHT_PROGBITS, 256),
            (".dynamic", write, SHT_PROGBITS, 512),
            (".bootloader-config", alloc, SHT_PROGBITS, 1024),
            (".debug_info", 0, SHT_PROGBITS, 2048),
        ] {
            footprint.add(name, flags, kind, size);
        }
        assert_eq!(footprint.resident, Bytes { text: 1, rodata: 2 + 4 + 8, data: 16, bss: 32 });
        assert_eq!(footprint.boot_only, Bytes { text: 64, rodata: 256 + 512 + 1024, data: 0, bss: 128 });
    }
}
