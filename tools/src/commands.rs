//! One module per command. Each has `execute`, which returns the exit code or a failure.

pub mod bench;
pub mod book;
pub mod build;
pub mod conform;
pub mod coverage;
pub mod demo;
pub mod describe;
pub mod fuzz;
pub mod header;
pub mod image;
pub mod miri;
pub mod mutants;
pub mod run;
pub mod setup;
pub mod size;
pub mod soak;
pub mod test;
pub mod trace;
