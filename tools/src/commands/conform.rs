//! `cargo pv conform`: the conformance suite on a target. The runner does the work; here it gets the suite, disk images
//! and what has to be installed.

use std::cell::OnceCell;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use conformance_runner::command::{self, Paths};
use conformance_runner::{Boots, Disk, EndsBy, Firmware, Host, Need, PEER_COMMAND_LINE, Request, needs};

use system_image::{Device, PortRange};

use crate::building::{self, Kernel};
use crate::disk_image::{Contents, End};
use crate::elf_file::ElfFile;
use crate::failure::{Failure, Kind};
use crate::interrupt;
use crate::machine;
use crate::manifest::Manifest;
use crate::toolchain;
use crate::workspace::Workspace;

/// Options of `cargo pv conform`.
#[derive(Args)]
#[command(after_help = command::EXIT_CODES)]
pub struct Arguments {
    /// The runner's own.
    #[command(flatten)]
    runner: command::Options,
    /// The suite's ELF, instead of the one that is built here
    #[arg(long, value_name = "ELF")]
    guest: Option<PathBuf>,
}

/// Runs the command.
pub fn execute(workspace: &Workspace, arguments: &Arguments) -> Result<ExitCode, Failure> {
    // The target comes first: its errors must not wait for a build.
    let target = command::target(&arguments.runner.target, &workspace.targets())?;
    let guest = match &arguments.guest {
        Some(guest) => guest.clone(),
        None => building::kernel(workspace, Kernel::ConformanceSuite)?,
    };
    let paths = Paths { guest, targets: workspace.targets(), specification: workspace.specification() };
    let verdict = command::execute(&arguments.runner, target, &paths, &Tools::new(workspace))?;
    Ok(ExitCode::from(verdict.exit_code()))
}

/// What the runner asks of the project's tools.
pub struct Tools<'a> {
    workspace: &'a Workspace,
    /// Built for the first start; a resumed run goes on with the same.
    hypervisor: OnceCell<ElfFile>,
    /// The system's name, if it is not the usual one.
    system_name: Option<String>,
}

impl<'a> Tools<'a> {
    /// Nothing built yet.
    pub fn new(workspace: &'a Workspace) -> Self {
        Self { workspace, hypervisor: OnceCell::new(), system_name: None }
    }

    /// With another build of the hypervisor, which looks at the system's name.
    pub fn with_hypervisor(workspace: &'a Workspace, hypervisor: ElfFile, system_name: String) -> Self {
        Self { workspace, hypervisor: OnceCell::from(hypervisor), system_name: Some(system_name) }
    }

    fn hypervisor(&self) -> Result<ElfFile, Failure> {
        if let Some(elf) = self.hypervisor.get() {
            return Ok(elf.clone());
        }
        let elf = ElfFile::read(&building::kernel(self.workspace, Kernel::Hypervisor)?)?;
        Ok(self.hypervisor.get_or_init(|| elf).clone())
    }

    fn contents(&self, disk: &Disk, request: &Request, cmdline: &str) -> Result<Contents, Failure> {
        let guest = ElfFile::read(&request.guest)?;
        let (end, port) = match disk.ends_by {
            EndsBy::DebugExit => (End::DebugExit, Some(machine::DEBUG_EXIT_PORT)),
            EndsBy::PowerOff => (End::PowerOff, None),
        };
        match disk.boots {
            Boots::Native => Ok(Contents::native(guest, cmdline, end)),
            Boots::Hypervisor => {
                let mut manifest = match request.target.peers {
                    true => with_peer(guest, cmdline, request.cpus),
                    false => Manifest::for_guest(guest, cmdline),
                };
                manifest.name = self.system_name.clone().unwrap_or(manifest.name);
                let system_image = manifest.compile(port)?;
                Ok(Contents::hypervisor(self.hypervisor()?, system_image))
            }
        }
    }
}

/// The suite, and beside it a second domain with the same image and channels between the two: on a CPU of its own, if
/// there are several.
fn with_peer(guest: ElfFile, cmdline: &str, cpus: u32) -> Manifest {
    /// As many as the suite uses.
    const CHANNELS: usize = 5;
    /// COM2, which need not exist: what is tested is who reaches it.
    const PORTS: PortRange = PortRange { first: 0x2f8, count: 8 };
    let first = PORTS.first;
    let mut manifest = Manifest::for_guest(guest.clone(), &format!("{cmdline} peer_ports={first}"));
    manifest.domains[0].name = "suite".into();
    let cmdline = format!("{PEER_COMMAND_LINE} ports={first}");
    let mut peer = Manifest::for_guest(guest, &cmdline).domains.remove(0);
    peer.name = "peer".into();
    peer.console = false;
    peer.devices = vec![Device { ports: Some(PORTS), ..Device::default() }.into()];
    peer.vcpus[0].cpu = cpus.min(2) - 1;
    manifest.domains.push(peer);
    manifest.channels = std::iter::repeat_n([0, 1], CHANNELS).map(Into::into).collect();
    manifest
}

impl Host for Tools<'_> {
    fn make_disk(
        &self,
        disk: &Disk,
        request: &Request,
        cmdline: &str,
    ) -> Result<PathBuf, conformance_runner::Failure> {
        let firmware = match disk.firmware {
            Firmware::Bios => machine::Firmware::Bios,
            Firmware::Uefi => machine::Firmware::Uefi,
        };
        let contents = self.contents(disk, request, cmdline)?;
        Ok(contents.cached_image(self.workspace, firmware)?)
    }

    fn provide(&self, need: &Need, name: &str) -> Result<(), conformance_runner::Failure> {
        if needs::is_there(need, name) {
            return Ok(());
        }
        let packages: Vec<&str> = need.debian_packages.iter().map(String::as_str).collect();
        if !packages.is_empty() {
            toolchain::install_debian_packages(&packages, name)?;
        }
        if needs::is_there(need, name) { Ok(()) } else { Err(needs::missing(need, name)) }
    }

    fn is_interrupted(&self) -> bool {
        interrupt::check().is_err()
    }
}

impl From<conformance_runner::Failure> for Failure {
    fn from(failure: conformance_runner::Failure) -> Self {
        use conformance_runner::Kind as From;
        let kind = match failure.kind {
            From::Target => Kind::Target,
            From::File => Kind::File,
            From::Missing => Kind::ToolMissing,
            From::Interrupted => Kind::Interrupted,
            From::Other(code) => Kind::of_exit_code(code),
        };
        let hint = failure.hint;
        let failure = Self::new(kind, failure.message);
        hint.into_iter().fold(failure, Self::hint)
    }
}

impl From<Failure> for conformance_runner::Failure {
    fn from(failure: Failure) -> Self {
        let (message, hint) = failure.parts();
        let other = Self::new(conformance_runner::Kind::Other(failure.kind as u8), message);
        hint.into_iter().fold(other, Self::hint)
    }
}
