//! `system.toml`: which domains the hypervisor runs. Errors look like a compiler's, with file, line and key.
//!
//! Reading goes in two steps. The TOML parser and serde find wrong syntax, types and keys, one at a time; then
//! [`check`](checks::check) finds what is impossible on the machine at hand, all of it at once. The hypervisor
//! checks the compiled image again, since at boot it is untrusted bytes.

mod checks;
mod report;
mod schema;

use std::path::{Path, PathBuf};

use system_image::{CrashPolicy, Device, DomainDescription, SystemDescription, VcpuPlacement};

use crate::elf_file::{self, ElfFile};
use crate::failure::{Failure, Kind};
use crate::machine::Machine;
use report::Problem;

/// A manifest that passed all checks, with the guest ELFs read.
#[derive(Debug)]
pub struct Manifest {
    /// The system's name.
    pub name: String,
    /// Domains in the order of the file.
    pub domains: Vec<ManifestDomain>,
    /// Channels, each by the places of its two domains.
    pub channels: Vec<[u16; 2]>,
}

/// A domain of a checked manifest.
#[derive(Debug)]
pub struct ManifestDomain {
    /// Unique name.
    pub name: String,
    /// Its ELF.
    pub elf: ElfFile,
    /// Command line.
    pub cmdline: String,
    /// Memory in bytes.
    pub memory_bytes: u64,
    /// One placement per virtual CPU.
    pub vcpus: Vec<VcpuPlacement>,
    /// Whether it has the console.
    pub console: bool,
    /// What happens when it crashes.
    pub crash_policy: CrashPolicy,
    /// Devices that it alone drives.
    pub devices: Vec<Device>,
}

impl Manifest {
    /// Reads and checks the file for the given machine.
    pub fn read(path: &Path, machine: &Machine) -> Result<Self, Failure> {
        let text = std::fs::read_to_string(path).map_err(|error| Failure::file("read", path, &error))?;
        Self::parse(path, &text, machine)
    }

    /// Checks `text` as the contents of the file at `path`; images are relative to its folder.
    fn parse(path: &Path, text: &str, machine: &Machine) -> Result<Self, Failure> {
        let refuse =
            |problems: &[Problem]| Failure::new(Kind::Manifest, report::render(path, text, problems));
        let document: schema::Document =
            toml::from_str(text).map_err(|error| refuse(&[Problem::from_toml(text, &error)]))?;
        let folder = path.parent().unwrap_or(Path::new("")).to_path_buf();
        checks::check(&document, &folder, machine).map_err(|problems| refuse(&problems))
    }

    /// The manifest that `cargo pv run hypervisor` uses without `--config`: one domain on CPU 0.
    pub fn for_guest(elf: ElfFile, cmdline: &str) -> Self {
        let stem =
            elf.path.file_stem().map_or_else(|| "guest".into(), |stem| stem.to_string_lossy().into_owned());
        let domain = ManifestDomain {
            name: domain_name(&stem),
            elf,
            cmdline: cmdline.to_owned(),
            memory_bytes: DEFAULT_MEMORY_BYTES,
            vcpus: vec![VcpuPlacement { cpu: 0, priority: DEFAULT_PRIORITY }],
            console: true,
            crash_policy: CrashPolicy::Stop,
            devices: Vec::new(),
        };
        Self { name: "run".into(), domains: vec![domain], channels: Vec::new() }
    }

    /// Compiles it into the bytes of a system image.
    pub fn compile(&self, debug_exit_port: Option<u16>) -> Result<Vec<u8>, Failure> {
        let domains = self.domains.iter().map(ManifestDomain::describe).collect();
        let description = SystemDescription {
            name: self.name.clone(),
            debug_exit_port,
            domains,
            channels: self.channels.clone(),
        };
        system_image::write(&description).map_err(|error| {
            Failure::new(Kind::Manifest, format!("error: cannot make the system image: {error}"))
        })
    }
}

/// Memory of a domain that no manifest describes.
const DEFAULT_MEMORY_BYTES: u64 = 64 << 20;
/// Its priority, the middle of the range.
const DEFAULT_PRIORITY: u8 = 16;

impl ManifestDomain {
    fn describe(&self) -> DomainDescription {
        DomainDescription {
            name: self.name.clone(),
            image: self.elf.loaded().into_owned(),
            cmdline: self.cmdline.clone(),
            memory_bytes: self.memory_bytes,
            vcpus: self.vcpus.clone(),
            crash_policy: self.crash_policy,
            has_console: self.console,
            devices: self.devices.clone(),
        }
    }
}

/// A file name made into a valid domain name.
fn domain_name(stem: &str) -> String {
    let mut name = String::new();
    for character in stem.chars().filter(|character| !character.is_control()) {
        if name.len() + character.len_utf8() > system_image::layout::NAME_SIZE {
            break;
        }
        name.push(character);
    }
    if name.is_empty() { "guest".into() } else { name }
}

/// Reads a domain's ELF, with a reason that fits into a report.
fn read_elf(path: PathBuf) -> Result<ElfFile, String> {
    match std::fs::read(&path) {
        Ok(bytes) if elf_file::is_elf(&bytes) => Ok(ElfFile { path, bytes }),
        Ok(_) => Err(format!("{} is not an ELF file", path.display())),
        Err(error) => Err(format!("{}: {error}", path.display())),
    }
}

#[cfg(test)]
mod tests;
