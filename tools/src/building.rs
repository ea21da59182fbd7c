//! Building the kernels and the image builder by cargo.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

use crate::failure::{Failure, Kind};
use crate::process;
use crate::progress::Step;
use crate::toolchain;
use crate::workspace::{KERNEL_TARGET, Workspace};

/// A cold build on a slow machine stays well below this.
const BUILD_LIMIT: Duration = Duration::from_secs(30 * 60);

/// The files of its package that decide what the image builder is.
pub const IMAGE_BUILDER_SOURCES: [&str; 4] =
    ["src/main.rs", "Cargo.toml", "Cargo.lock", "rust-toolchain.toml"];

/// A kernel of this workspace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kernel {
    /// `guest-demo-kernel`; it embeds its user programs by itself.
    Demo,
    /// The example `smallest` of the same package.
    SmallestGuest,
    /// The conformance suite, a guest.
    ConformanceSuite,
    /// The hostile guest.
    HostileGuest,
    /// The guest that measures.
    Hypermark,
    /// The hypervisor.
    Hypervisor,
}

impl Kernel {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Demo,
        Self::SmallestGuest,
        Self::ConformanceSuite,
        Self::HostileGuest,
        Self::Hypermark,
        Self::Hypervisor,
    ];

    fn label(self) -> &'static str {
        match self {
            Self::Demo => "building the demo kernel",
            Self::SmallestGuest => "building the smallest guest",
            Self::ConformanceSuite => "building the conformance suite",
            Self::HostileGuest => "building the hostile guest",
            Self::Hypermark => "building the guest that measures",
            Self::Hypervisor => "building the hypervisor",
        }
    }

    /// Every world gets the same flags: what differs between worlds is decided at boot.
    fn options(self) -> &'static [&'static str] {
        match self {
            Self::Demo => &["--package", "guest-demo-kernel", "--release"],
            Self::SmallestGuest => &["--package", "guest-demo-kernel", "--example", "smallest", "--release"],
            Self::ConformanceSuite => &["--package", "conformance-suite", "--release"],
            Self::HostileGuest => &["--package", "hostile-guest", "--release"],
            Self::Hypermark => &["--package", "hypermark", "--release"],
            Self::Hypervisor => {
                &["--package", "hypervisor", "--bin", "hypervisor", "--profile", "hypervisor"]
            }
        }
    }

    /// What the compiler is told besides, for this kernel and not for what it depends on.
    fn compiler_flags(self) -> &'static [&'static str] {
        match self {
            // Least code: without it, the profile's level (`z`) inlines hardly anything and pays with calls; `s`
            // inlines by the same number but encodes at greater length. Measured from 25 to 75, by `cargo pv size`.
            Self::Hypervisor => &["-C", "llvm-args=-inline-threshold=40"],
            _ => &[],
        }
    }

    /// What cargo is told to build it for the machines' target.
    fn cargo_arguments(self, further: &[&'static str]) -> Vec<&'static str> {
        let mut arguments = vec![if self.compiler_flags().is_empty() { "build" } else { "rustc" }];
        arguments.extend(self.options());
        arguments.extend(["--target", KERNEL_TARGET]);
        arguments.extend(further);
        if !self.compiler_flags().is_empty() {
            arguments.push("--");
            arguments.extend(self.compiler_flags());
        }
        arguments
    }

    /// Where its ELF is after the build.
    pub fn elf(self, workspace: &Workspace) -> PathBuf {
        match self {
            Self::Demo => workspace.demo_kernel(),
            Self::SmallestGuest => workspace.smallest_guest(),
            Self::ConformanceSuite => workspace.conformance_suite(),
            Self::HostileGuest => workspace.hostile_guest(),
            Self::Hypermark => workspace.hypermark(),
            Self::Hypervisor => workspace.hypervisor(),
        }
    }
}

/// Builds one kernel and returns its ELF.
pub fn kernel(workspace: &Workspace, kernel: Kernel) -> Result<PathBuf, Failure> {
    let mut command = workspace.cargo();
    command.args(kernel.cargo_arguments(&[]));
    cargo_step(kernel.label(), &mut command)?;
    Ok(kernel.elf(workspace))
}

/// Builds the demo kernel with the bare machine's instructions hard-coded in place of call sites, to be compared with.
pub fn hard_coded_demo(workspace: &Workspace) -> Result<PathBuf, Failure> {
    // In a folder of its own: other flags would have cargo build everything anew each time.
    let target = workspace.target.join("hard-coded");
    let mut command = workspace.cargo();
    command.arg("build").args(Kernel::Demo.options()).args(["--target", KERNEL_TARGET, "--target-dir"]);
    command.arg(&target).env("RUSTFLAGS", "--cfg pvops_hard_coded").env_remove("CARGO_ENCODED_RUSTFLAGS");
    cargo_step("building the demo kernel, hard-coded", &mut command)?;
    Ok(target.join(KERNEL_TARGET).join("release/guest-demo-kernel"))
}

/// Builds the plugin that records what QEMU executes, and returns its library.
pub fn recorder(workspace: &Workspace) -> Result<PathBuf, Failure> {
    let mut command = workspace.cargo();
    command.args(["build", "--package", "hypermark-plugin", "--release"]);
    cargo_step("building the recorder of instructions", &mut command)?;
    Ok(workspace.recorder())
}

/// Builds the hypervisor that can be broken, apart from the true one, and returns its ELF.
pub fn breakable_hypervisor(workspace: &Workspace) -> Result<PathBuf, Failure> {
    let mut command = workspace.cargo();
    command.env("CARGO_TARGET_DIR", workspace.mutants_target());
    command.args(Kernel::Hypervisor.cargo_arguments(&["--features", "mutants"]));
    cargo_step("building the hypervisor that can be broken", &mut command)?;
    Ok(workspace.mutants_hypervisor())
}

/// Builds the hypervisor that notes what happens, apart from the true one, and returns its ELF.
pub fn traced_hypervisor(workspace: &Workspace) -> Result<PathBuf, Failure> {
    let mut command = workspace.cargo();
    command.env("CARGO_TARGET_DIR", workspace.traced_target());
    command.args(Kernel::Hypervisor.cargo_arguments(&["--features", "trace"]));
    cargo_step("building the traced hypervisor", &mut command)?;
    Ok(workspace.traced_hypervisor())
}

/// Builds the hypervisor of [`Workspace::root_without_points`] and returns its ELF.
pub fn hypervisor_without_points(workspace: &Workspace) -> Result<PathBuf, Failure> {
    let target = workspace.target_without_points();
    let mut command = workspace.cargo();
    command.current_dir(workspace.root_without_points()).env("CARGO_TARGET_DIR", &target);
    command.args(Kernel::Hypervisor.cargo_arguments(&[]));
    cargo_step("building the hypervisor from sources without mutation and trace points", &mut command)?;
    Ok(target.join(KERNEL_TARGET).join("hypervisor/hypervisor"))
}

/// Builds the image builder if it is not there or out of date, and returns the program.
pub fn image_builder(workspace: &Workspace) -> Result<PathBuf, Failure> {
    let package = workspace.image_builder_package();
    let target = workspace.image_builder_target();
    let program = target.join("release/pv-image-builder");
    // Looked up by hand: it depends on these files alone, and asking cargo would cost each command a step.
    let sources = IMAGE_BUILDER_SOURCES.map(|source| modified(&package.join(source)));
    if modified(&program)
        .is_some_and(|built| sources.iter().all(|source| source.is_some_and(|time| time < built)))
    {
        return Ok(program);
    }
    toolchain::image_builder_toolchain(workspace)?;
    let mut command = Command::new("cargo");
    command
        .args(["build", "--release", "--locked", "--target-dir"])
        .arg(&target)
        // In its folder and without the outer cargo's choice, rustup picks the package's own toolchain.
        .current_dir(&package)
        .env_remove("RUSTUP_TOOLCHAIN")
        .env_remove("CARGO_TARGET_DIR")
        .env_remove("CARGO_BUILD_TARGET")
        .env_remove("RUSTFLAGS")
        .env_remove("CARGO_ENCODED_RUSTFLAGS");
    cargo_step("building the image builder (minutes the first time, then cached)", &mut command)?;
    // Cargo leaves the program alone when only a time stamp changed.
    let touch = fs::File::open(&program).and_then(|file| file.set_modified(SystemTime::now()));
    touch.map_err(|error| Failure::file("touch", &program, &error))?;
    Ok(program)
}

fn modified(path: &Path) -> Option<SystemTime> {
    fs::metadata(path).ok()?.modified().ok()
}

fn cargo_step(label: &str, command: &mut Command) -> Result<(), Failure> {
    let step = Step::start(label);
    let finished = process::run(command, BUILD_LIMIT, |line| step.note(line))?;
    if finished.status.success() {
        step.done("done");
        return Ok(());
    }
    drop(step);
    eprint!("{}", finished.stderr);
    Err(Failure::new(Kind::Build, format!("{label} failed, see above")))
}
