//! What a case is, what all of them share, and the words in which they state what they expect.

use std::fmt::Display;
use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::Duration;

use crate::boot::World;
use crate::building::{self, Kernel};
use crate::disk_image::Contents;
use crate::elf_file::ElfFile;
use crate::failure::{Failure, Kind};
use crate::machine::Machine;
use crate::outcome::Outcome;
use crate::session::{Echo, Ended, Session, last_lines};
use crate::workspace::Workspace;

/// Enough for any boot and what is done after it, under emulation on a busy machine.
pub const BOOT_LIMIT: Duration = Duration::from_secs(90);

/// One case.
pub struct Case {
    /// Unique; begins with its group.
    pub name: String,
    /// What it may take; given to `run`, which gives it to all it starts.
    pub limit: Duration,
    /// Whether others may run at the same time.
    pub needs: Needs,
    /// The case itself, or why it cannot be run on this host.
    pub run: Result<Run, String>,
}

/// The function of a case.
pub type Run = Box<dyn Fn(&Context, Duration) -> Result<(), Failure> + Send + Sync>;

/// What a case keeps busy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Needs {
    /// The whole host.
    AllCpus,
    /// About one of its CPUs.
    OneCpu,
}

impl Case {
    /// A case that boots a machine or runs another command of this program.
    pub fn boot(
        name: impl Into<String>,
        run: impl Fn(&Context, Duration) -> Result<(), Failure> + Send + Sync + 'static,
    ) -> Self {
        Self { name: name.into(), limit: BOOT_LIMIT, needs: Needs::OneCpu, run: Ok(Box::new(run)) }
    }

    /// A case that this host lacks something for; it is reported and counted.
    pub fn skipped(name: impl Into<String>, reason: impl Into<String>) -> Self {
        let run = Err(reason.into());
        Self { name: name.into(), limit: BOOT_LIMIT, needs: Needs::OneCpu, run }
    }
}

/// What the cases share.
pub struct Context {
    /// The workspace under test.
    pub workspace: Workspace,
    kernels: OnceLock<Result<Kernels, Failure>>,
}

/// The ELFs under test.
#[derive(Clone)]
pub struct Kernels {
    /// The demo kernel.
    pub demo: ElfFile,
    /// The smallest guest.
    pub smallest: ElfFile,
    /// The hostile guest.
    pub hostile: ElfFile,
    /// The hypervisor.
    pub hypervisor: ElfFile,
}

impl Context {
    /// Nothing built yet.
    pub fn new(workspace: Workspace) -> Self {
        Self { workspace, kernels: OnceLock::new() }
    }

    /// The kernels, built by the first case that asks. Later ones get the same files or the same failure.
    pub fn kernels(&self) -> Result<&Kernels, Failure> {
        self.kernels.get_or_init(|| self.build()).as_ref().map_err(Failure::clone)
    }

    fn build(&self) -> Result<Kernels, Failure> {
        let build =
            |kernel| building::kernel(&self.workspace, kernel).and_then(|path: PathBuf| ElfFile::read(&path));
        building::image_builder(&self.workspace)?;
        // Used by calls of this very program, which are not to spend their time on building.
        building::kernel(&self.workspace, Kernel::ConformanceSuite)?;
        Ok(Kernels {
            demo: build(Kernel::Demo)?,
            smallest: build(Kernel::SmallestGuest)?,
            hostile: build(Kernel::HostileGuest)?,
            hypervisor: build(Kernel::Hypervisor)?,
        })
    }

    /// Boots contents without waiting for anything.
    pub fn start(&self, contents: &Contents, machine: &Machine, limit: Duration) -> Result<Session, Failure> {
        let image = contents.cached_image(&self.workspace, machine.firmware)?;
        Session::start(machine, &image, limit, Echo::Quiet)
    }

    /// Boots `guest` in `world` on a small machine and waits for its end.
    pub fn run_guest(
        &self,
        world: World,
        guest: &ElfFile,
        cmdline: &str,
        limit: Duration,
    ) -> Result<Ended, Failure> {
        let contents = world.contents(guest, &self.kernels()?.hypervisor, cmdline)?;
        self.start(&contents, &Machine::default(), limit)?.finish()
    }
}

/// An error unless the condition holds.
pub fn ensure(condition: bool, message: impl Display) -> Result<(), Failure> {
    if condition { Ok(()) } else { Err(Failure::new(Kind::CheckFailed, message.to_string())) }
}

/// An error unless the machine ended with this status.
pub fn expect_status(ended: &Ended, status: u8) -> Result<(), Failure> {
    let expected = Outcome::Status(status);
    ensure(
        ended.outcome == expected,
        format_args!("expected {expected}, got {}{}", ended.outcome, last_lines(&ended.console)),
    )
}

/// An error unless the console shows `text`.
pub fn expect_text(ended: &Ended, text: &str) -> Result<(), Failure> {
    ensure(
        ended.console.contains(text),
        format_args!("no {text:?} on the console{}", last_lines(&ended.console)),
    )
}
