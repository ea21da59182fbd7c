//! Runs one target under libFuzzer, guided by the coverage of the code: `cargo pv fuzz --guided`.
//!
//! The variable `PV_FUZZ_TARGET` chooses the target, `PV_FUZZ_CORPUS` names the folder of its inputs, to which those
//! to begin with are added; the arguments are libFuzzer's.
#![no_main]

use hypervisor_fuzz::{TARGETS, Target, target};
use std::path::PathBuf;
use std::sync::LazyLock;

static TARGET: LazyLock<&Target> = LazyLock::new(|| {
    let name = std::env::var("PV_FUZZ_TARGET").unwrap_or_default();
    target(&name).unwrap_or(&TARGETS[0])
});

/// Writes the inputs to begin with. What cannot be written is missed by the fuzzer, and seen in its coverage.
fn write_seeds() {
    let Some(folder) = std::env::var_os("PV_FUZZ_CORPUS").map(PathBuf::from) else { return };
    for (number, seed) in (TARGET.seeds)().iter().enumerate() {
        if let Err(error) = std::fs::write(folder.join(format!("seed-{number}")), seed) {
            eprintln!("{}: {error}", folder.display());
        }
    }
}

libfuzzer_sys::fuzz_target!(
    init: write_seeds(),
    |input: &[u8]| {
        (TARGET.run)(input);
    }
);
