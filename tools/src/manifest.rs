//! `system.toml`: which domains the hypervisor runs. Errors look like a compiler's, with file, line and key.
//!
//! Reading goes in two steps: [`read`] finds wrong keys and types, [`checks`] what is impossible on the machine at hand
//! or in what could be read. All of it is told at once. The hypervisor checks the compiled image again, since at boot
//! it is untrusted bytes. `configs/README.md` is the reference for those who write such files.

mod checks;
mod describe;
mod read;
mod report;
mod schema;
mod suggest;
mod values;

use std::path::{Path, PathBuf};

use system_image::{CrashPolicy, Device, DomainDescription, SystemDescription, VcpuPlacement, limits};

use crate::elf_file::{self, ElfFile};
use crate::failure::{Failure, Kind};
use crate::machine::Machine;
pub use describe::Description;

/// A manifest that passed all checks, with the guest ELFs read.
#[derive(Debug)]
pub struct Manifest {
    /// The system's name.
    pub name: String,
    /// Domains in the order of the file.
    pub domains: Vec<ManifestDomain>,
    /// Channels in the order of the file.
    pub channels: Vec<ManifestChannel>,
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
    pub devices: Vec<ManifestDevice>,
}

/// A device of a checked manifest. The guest knows it by its place among its domain's devices.
#[derive(Debug)]
pub struct ManifestDevice {
    /// What people call it.
    pub name: Option<String>,
    /// What is assigned.
    pub device: Device,
}

/// A channel of a checked manifest. Each guest knows it by its place among its domain's channels.
#[derive(Debug)]
pub struct ManifestChannel {
    /// What people call it.
    pub name: Option<String>,
    /// Its two domains, by their places in the file.
    pub between: [u16; 2],
}

impl From<Device> for ManifestDevice {
    fn from(device: Device) -> Self {
        Self { name: None, device }
    }
}

impl From<[u16; 2]> for ManifestChannel {
    fn from(between: [u16; 2]) -> Self {
        Self { name: None, between }
    }
}

impl Manifest {
    /// Reads and checks the file for the given machine.
    pub fn read(path: &Path, machine: &Machine) -> Result<Self, Failure> {
        let text = std::fs::read_to_string(path).map_err(|error| Failure::file("read", path, &error))?;
        Self::parse(path, &text, machine)
    }

    /// Checks `text` as the contents of the file at `path`; images are relative to its folder.
    fn parse(path: &Path, text: &str, machine: &Machine) -> Result<Self, Failure> {
        let folder = path.parent().unwrap_or(Path::new(""));
        let (document, mut problems) = read::read(text);
        let manifest = document.and_then(|document| checks::check(&document, folder, machine, &mut problems));
        match manifest {
            Some(manifest) if problems.is_empty() => Ok(manifest),
            _ => Err(Failure::new(Kind::Manifest, report::render(path, text, problems))),
        }
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
            channels: self.channels.iter().map(|channel| channel.between).collect(),
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
    /// What it takes of the machine's memory.
    fn needed_bytes(&self) -> u64 {
        limits::needed_bytes(self.memory_bytes, self.elf.memory_bytes())
    }

    fn describe(&self) -> DomainDescription {
        DomainDescription {
            name: self.name.clone(),
            image: self.elf.loaded().into_owned(),
            cmdline: self.cmdline.clone(),
            memory_bytes: self.memory_bytes,
            vcpus: self.vcpus.clone(),
            crash_policy: self.crash_policy,
            has_console: self.console,
            devices: self.devices.iter().map(|device| device.device).collect(),
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

/// Reads a domain's ELF.
fn read_elf(path: PathBuf) -> Result<ElfFile, Unreadable> {
    let metadata = std::fs::metadata(&path).map_err(Unreadable::Error)?;
    // Others may have no end, or make us wait for one.
    if !metadata.is_file() {
        return Err(Unreadable::NoFile);
    }
    let bytes = std::fs::read(&path).map_err(Unreadable::Error)?;
    if elf_file::is_elf(&bytes) { Ok(ElfFile { path, bytes }) } else { Err(Unreadable::NoElf) }
}

/// Why a domain's ELF cannot be read.
enum Unreadable {
    Error(std::io::Error),
    /// It is a folder or a device.
    NoFile,
    NoElf,
}

#[cfg(test)]
mod tests;
