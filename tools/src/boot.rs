//! From options to something that can be booted: which world, which guest, which disk image.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use crate::building::{self, Kernel};
use crate::debugger::Symbols;
use crate::disk_image::{Contents, End};
use crate::elf_file::{ElfFile, shown_path};
use crate::failure::{Failure, Kind};
use crate::machine::{DEBUG_EXIT_PORT, Machine};
use crate::manifest::Manifest;
use crate::workspace::Workspace;

/// What a guest kernel runs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum World {
    /// The bare machine
    Native,
    /// A domain of the hypervisor
    Hypervisor,
}

impl World {
    /// What to boot so that `guest` runs alone in this world and reports its end by the debug-exit device.
    pub fn contents(self, guest: &ElfFile, hypervisor: &ElfFile, cmdline: &str) -> Result<Contents, Failure> {
        match self {
            Self::Native => Ok(Contents::native(guest.clone(), cmdline, End::DebugExit)),
            Self::Hypervisor => {
                let system_image =
                    Manifest::for_guest(guest.clone(), cmdline).compile(Some(DEBUG_EXIT_PORT))?;
                Ok(Contents::hypervisor(hypervisor.clone(), system_image))
            }
        }
    }
}

/// Options that say what to boot.
#[derive(Clone, Debug, Args)]
pub struct System {
    /// What the guest runs on
    #[arg(value_enum)]
    pub world: World,
    /// Guest kernel; the demo kernel if not given
    #[arg(long, value_name = "ELF")]
    pub guest: Option<PathBuf>,
    /// Command line of the guest
    #[arg(long, default_value = "", allow_hyphen_values = true)]
    pub cmdline: String,
    /// Domains to run, instead of a single guest
    #[arg(long, value_name = "SYSTEM.TOML", conflicts_with_all = ["guest", "cmdline"])]
    pub config: Option<PathBuf>,
    /// How the machine is ended
    #[arg(long, value_enum, default_value_t)]
    pub end: End,
    /// The machine
    #[command(flatten)]
    pub machine: Machine,
}

/// What will be booted.
pub struct Bootable {
    /// Kernel and ramdisk for the boot loader.
    pub contents: Contents,
    /// Each guest's file and SHA-256.
    pub guests: Vec<(PathBuf, String)>,
    /// The guests by the names of their domains; empty on the bare machine.
    domains: Vec<(String, ElfFile)>,
}

impl System {
    /// Reads the manifest or guest, checks it, builds what is needed.
    ///
    /// The manifest comes first: its errors must not wait for a build.
    pub fn prepare(&self, workspace: &Workspace) -> Result<Bootable, Failure> {
        self.machine.check()?;
        match (self.world, &self.config) {
            (World::Native, Some(_)) => {
                let failure = Failure::new(Kind::Usage, "--config describes domains of the hypervisor");
                Err(failure.hint("cargo pv run hypervisor --config ..."))
            }
            (World::Native, None) => {
                let guest = self.read_guest(workspace)?;
                let guests = vec![(guest.path.clone(), guest.sha256())];
                let contents = Contents::native(guest, &self.cmdline, self.end);
                Ok(Bootable { contents, guests, domains: Vec::new() })
            }
            (World::Hypervisor, Some(config)) => {
                let manifest = Manifest::read(config, &self.machine)?;
                self.hypervisor(workspace, &manifest)
            }
            (World::Hypervisor, None) => {
                let guest = self.read_guest(workspace)?;
                self.hypervisor(workspace, &Manifest::for_guest(guest, &self.cmdline))
            }
        }
    }

    fn read_guest(&self, workspace: &Workspace) -> Result<ElfFile, Failure> {
        match &self.guest {
            Some(path) => ElfFile::read(path),
            None => ElfFile::read(&building::kernel(workspace, Kernel::Demo)?),
        }
    }

    fn hypervisor(&self, workspace: &Workspace, manifest: &Manifest) -> Result<Bootable, Failure> {
        let debug_exit_port = match self.end {
            End::DebugExit => Some(DEBUG_EXIT_PORT),
            End::PowerOff => None,
        };
        let system_image = manifest.compile(debug_exit_port)?;
        let hypervisor = ElfFile::read(&building::kernel(workspace, Kernel::Hypervisor)?)?;
        let guests =
            manifest.domains.iter().map(|domain| (domain.elf.path.clone(), domain.elf.sha256())).collect();
        let domains =
            manifest.domains.iter().map(|domain| (domain.name.clone(), domain.elf.clone())).collect();
        Ok(Bootable { contents: Contents::hypervisor(hypervisor, system_image), guests, domains })
    }
}

impl Bootable {
    /// One line per guest: its SHA-256 and its file, as `sha256sum` prints them.
    pub fn print_guests(&self) {
        for (path, sha256) in &self.guests {
            println!("guest {sha256}  {}", shown_path(path));
        }
    }

    /// What gdb has to know: the kernel that the boot loader starts, and the guests of its domains.
    pub fn symbols(&self) -> Result<(Symbols, Vec<Symbols>), Failure> {
        let guests = self.domains.iter().map(|(name, elf)| Symbols::of_guest(name, elf));
        Ok((Symbols::of_booted(&self.contents.kernel)?, guests.collect::<Result<_, _>>()?))
    }
}
