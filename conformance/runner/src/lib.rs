//! Runs the conformance suite on a target that a file describes, and reports what came of it.
//!
//! It asks nothing of a hypervisor but "start this image, give me the bytes of its console". From the bottom up: `lines`
//! and `transcript` understand what the suite prints, `target` and `template` read target files, `console`, `child` and
//! `watch` run one start, `run` resumes after crashes, `report` writes the files, `command` is what users call.
//!
//! `cargo pv conform` uses this crate and adds what only the project's tools can do: building the suite, disk images,
//! and installing emulators. The program `conform` is the same without them.

#![warn(missing_docs)]

pub mod child;
pub mod command;
mod console;
mod failure;
mod lines;
pub mod needs;
mod progress;
mod report;
mod run;
pub mod spec;
mod target;
mod template;
pub mod text;
mod transcript;
mod verdict;
mod watch;

pub use failure::{Failure, Kind};
pub use run::{Host, Judged, Request, SHUTDOWN_REQUIREMENTS, SHUTDOWN_TEST, judge, list};
pub use target::{Boots, Disk, EndsBy, Firmware, Limits, Need, Target};
pub use template::PEER_COMMAND_LINE;
pub use transcript::Planned;
pub use verdict::Verdict;
