//! Hostile input for everything that reads untrusted bytes.
//!
//! A [`Target`] is a plain function of bytes that panics when a promise is broken. Two programs drive the same
//! targets: `hypervisor-fuzz` mutates by itself, the same way in every run with the same seed, on any machine;
//! `guided` hands them to libFuzzer, which follows the code's coverage and finds more, but needs a C++ compiler.
//!
//! What a target returns is its [`Outcome`]: which refusal, or what shape of acceptance. Inputs with an outcome not
//! seen before are worth mutating further; that is all the guidance the first program has.
//!
//! To add a target: a file in `targets/` and a line in [`TARGETS`].

pub mod campaign;
pub mod mutate;
pub mod targets;

use targets::{batch, boot, calls, firmware, image, model, shadow};

/// What came of an input, in a number: equal ones are taken for the same path through the code.
pub type Outcome = u64;

/// Something that reads untrusted bytes.
#[derive(Clone, Copy)]
pub struct Target {
    /// For the command line.
    pub name: &'static str,
    /// Takes an input. Panics when a promise is broken.
    pub run: fn(&[u8]) -> Outcome,
    /// Inputs to begin with.
    pub seeds: fn() -> Vec<Vec<u8>>,
    /// Longest input.
    pub most_bytes: usize,
}

/// All of them.
pub const TARGETS: &[Target] = &[
    Target { name: "boot", run: boot::run, seeds: boot::seeds, most_bytes: 8192 },
    Target { name: "image", run: image::run, seeds: image::seeds, most_bytes: 16384 },
    Target { name: "calls", run: calls::run, seeds: calls::seeds, most_bytes: 1024 },
    Target { name: "batch", run: batch::run, seeds: batch::seeds, most_bytes: 8216 },
    Target { name: "shadow", run: shadow::run, seeds: shadow::seeds, most_bytes: 2048 },
    Target { name: "model", run: model::run, seeds: model::seeds, most_bytes: 4096 },
    Target { name: "firmware", run: firmware::run, seeds: firmware::seeds, most_bytes: 2048 },
];

/// The target of that name.
#[must_use]
pub fn target(name: &str) -> Option<&'static Target> {
    TARGETS.iter().find(|target| target.name == name)
}
