//! Why a command failed, and the exit code that says so.

use std::fmt;
use std::io;
use std::path::Path;
use std::process::ExitCode;

/// The exit codes of `cargo pv`, as `--help` prints them.
pub const EXIT_CODES: &str = "\
Exit codes:
  0        success
  1..=63   `run`: the guest's own shutdown code
  64       `run`: the system image or a guest image was refused
  65       `run`: a domain crashed
  66       `run`: the hypervisor panicked
  67       `run`: the machine is not supported
  2        wrong usage (nothing was started)
  100      a file could not be read or written, for example because the disk is full
  101      something could not be built
  102      system.toml was refused
  103      a needed tool is missing and could not be installed
  104      `demo`, `test`, `soak`, `coverage`: the runs disagree, a case failed, a requirement has no test;
           `trace`: the hypervisor's records could not be read
  105      the machine ended without saying its status, for example by a triple fault
  106      `conform`: the target file was refused
  110      `conform`: the target failed
  111      `conform`: an error of the suite or of the target file, or silence
  112      `conform`: no test applied
  113      `conform`: the target crashed
  114      `conform`: the target was silent for too long
  124      time limit reached
  130      ended by Ctrl-C or by leaving the console";

/// What kind of failure it was. The numbers avoid those that a guest or the hypervisor reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Options that do not go together.
    Usage = 2,
    /// A file operation failed.
    File = 100,
    /// A build failed.
    Build = 101,
    /// `system.toml` was refused.
    Manifest = 102,
    /// A tool is missing.
    ToolMissing = 103,
    /// A demo or test failed.
    CheckFailed = 104,
    /// The machine ended without a status.
    NoStatus = 105,
    /// A target file was refused.
    Target = 106,
    /// A time limit was reached.
    Timeout = 124,
    /// The user ended it.
    Interrupted = 130,
}

impl Kind {
    /// The kind that has this exit code; for failures that came by way of the conformance runner.
    pub fn of_exit_code(code: u8) -> Self {
        const ALL: [Kind; 10] = [
            Kind::Usage,
            Kind::File,
            Kind::Build,
            Kind::Manifest,
            Kind::ToolMissing,
            Kind::CheckFailed,
            Kind::NoStatus,
            Kind::Target,
            Kind::Timeout,
            Kind::Interrupted,
        ];
        ALL.into_iter().find(|&kind| kind as u8 == code).unwrap_or(Kind::CheckFailed)
    }
}

/// A failure: what happened, and if possible what to do.
#[derive(Clone, Debug)]
pub struct Failure {
    /// What kind; decides the exit code.
    pub kind: Kind,
    message: String,
    hint: Option<String>,
}

impl Failure {
    /// A failure with a message and no hint.
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), hint: None }
    }

    /// The same with a line that says what to do about it.
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// What happened, and what to do.
    pub fn parts(&self) -> (&str, Option<&str>) {
        (&self.message, self.hint.as_deref())
    }

    /// `action` (such as "write") on `path` failed.
    pub fn file(action: &str, path: &Path, error: &io::Error) -> Self {
        let failure = Self::new(Kind::File, format!("cannot {action} {}: {error}", path.display()));
        match error.kind() {
            io::ErrorKind::StorageFull => failure.hint("free some space on that disk and try again"),
            _ => failure,
        }
    }

    /// The user pressed Ctrl-C or the process was asked to end.
    pub fn interrupted() -> Self {
        Self::new(Kind::Interrupted, "interrupted")
    }

    /// The exit code.
    pub fn exit_code(&self) -> ExitCode {
        ExitCode::from(self.kind as u8)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A refused manifest is already rendered as a whole report.
        if self.kind == Kind::Manifest {
            return formatter.write_str(&self.message);
        }
        write!(formatter, "error: {}", self.message)?;
        match &self.hint {
            Some(hint) => write!(formatter, "\n  help: {hint}"),
            None => Ok(()),
        }
    }
}
