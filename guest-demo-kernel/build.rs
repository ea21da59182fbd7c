//! Builds the user programs and tells the kernel where their ELF is.
//!
//! They are an executable of their own (another entry, another link), so they are built by a Cargo of their own
//! into this build's output directory: plain `cargo build` of the kernel needs no step before it. What the outer
//! build set for itself (flags, wrappers, target directory) is taken away, so that the programs are the same
//! bytes however the kernel is built.

use std::path::PathBuf;
use std::process::Command;

const TARGET: &str = "x86_64-unknown-none";

/// Set by an outer Cargo or its caller for the outer build only.
const NOT_INHERITED: [&str; 9] = [
    "RUSTFLAGS",
    "CARGO_ENCODED_RUSTFLAGS",
    "CARGO_BUILD_RUSTFLAGS",
    "CARGO_TARGET_X86_64_UNKNOWN_NONE_RUSTFLAGS",
    "CARGO_BUILD_TARGET",
    "CARGO_TARGET_DIR",
    "CARGO_BUILD_TARGET_DIR",
    "RUSTC_WRAPPER",
    "RUSTC_WORKSPACE_WRAPPER",
];

fn main() {
    let user = PathBuf::from(variable("CARGO_MANIFEST_DIR")).join("user");
    for part in ["src", "Cargo.toml"] {
        println!("cargo::rerun-if-changed={}", user.join(part).display());
    }
    println!("cargo::rerun-if-changed=build.rs");
    // The host's unit tests embed nothing.
    if variable("CARGO_CFG_TARGET_OS") == "none" {
        println!("cargo::rustc-env=DEMO_PROGRAMS_ELF={}", build(&user).display());
    }
}

fn build(user: &std::path::Path) -> PathBuf {
    let directory = PathBuf::from(variable("OUT_DIR")).join("programs");
    let mut cargo = Command::new(variable("CARGO"));
    cargo.args(["build", "--release", "--bin", "demo-programs", "--target", TARGET, "--target-dir"]);
    cargo.arg(&directory).arg("--manifest-path").arg(user.join("Cargo.toml"));
    for name in NOT_INHERITED {
        cargo.env_remove(name);
    }
    // Debug information would be embedded too.
    cargo.env("CARGO_PROFILE_RELEASE_DEBUG", "0").env("CARGO_PROFILE_RELEASE_STRIP", "true");
    let status = cargo.status().expect("cargo can be started");
    assert!(status.success(), "the user programs were not built: {status}");
    directory.join(TARGET).join("release/demo-programs")
}

fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("Cargo sets {name} for build scripts"))
}
