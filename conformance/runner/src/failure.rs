//! Why a run could not be made at all. What became of one that was made is a [`Verdict`](crate::Verdict).

use std::fmt;
use std::io;
use std::path::Path;

/// What kind of failure it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The target file, or an option that does not fit it.
    Target,
    /// A file could not be read or written.
    File,
    /// Something that the target needs is not there.
    Missing,
    /// The user ended it.
    Interrupted,
    /// Whoever makes disk images could not; they know the exit code.
    Other(u8),
}

impl Kind {
    /// The exit code of the command.
    pub const fn exit_code(self) -> u8 {
        match self {
            Self::File => 100,
            Self::Target => 106,
            Self::Missing => 103,
            Self::Interrupted => 130,
            Self::Other(code) => code,
        }
    }
}

/// What happened, and if possible what to do.
#[derive(Clone, Debug)]
pub struct Failure {
    /// What kind.
    pub kind: Kind,
    /// What happened.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
}

impl Failure {
    /// A failure without a hint.
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), hint: None }
    }

    /// The same with a line that says what to do.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// `action` (such as "write") on `path` failed.
    pub fn file(action: &str, path: &Path, error: &io::Error) -> Self {
        Self::new(Kind::File, format!("cannot {action} {}: {error}", path.display()))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "error: {}", self.message)?;
        self.hint.iter().try_for_each(|hint| write!(formatter, "\n  help: {hint}"))
    }
}
