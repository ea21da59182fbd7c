//! Cases that cargo answers: formatting, lints, host tests, documentation, packaging, builds.

use std::process::Command;
use std::time::Duration;

use super::case::{Case, Context, Needs, ensure};
use crate::failure::{Failure, Kind};
use crate::process;
use crate::workspace::{KERNEL_TARGET, Workspace};

/// Cold, on two slow CPUs, with time to spare.
const CARGO_LIMIT: Duration = Duration::from_secs(15 * 60);
/// The image builder compiles a boot loader and parts of the standard library.
const BUILD_LIMIT: Duration = Duration::from_secs(25 * 60);
/// Lines of a failed command's output that are shown.
const SHOWN_LINES: usize = 60;

/// Libraries for others to use.
const LIBRARIES: [&str; 3] = ["pvops-abi", "pvops-firmware", "pvops-native"];

/// All of them.
pub fn cases() -> Vec<Case> {
    vec![
        case("check: rustfmt", CARGO_LIMIT, format),
        // The kernels' binaries have no host version (`test = false`), their logic and its tests have.
        case("check: clippy on the host", CARGO_LIMIT, |workspace, limit| {
            let mut command = workspace.cargo();
            command.args([
                "clippy",
                "--quiet",
                "--workspace",
                "--lib",
                "--bin=pv",
                "--bin=conform",
                "--tests",
                "--",
                "-D",
                "warnings",
            ]);
            succeed(&mut command, limit)
        }),
        case("check: clippy on the kernels", CARGO_LIMIT, |workspace, limit| {
            let mut command = workspace.cargo();
            command.args(["clippy", "--quiet", "--workspace", "--target", KERNEL_TARGET]);
            for package in ["pv", "conformance-runner", "hypermark-plugin", "hypervisor-fuzz"] {
                command.args(["--exclude", package]);
            }
            command.args(["--lib", "--bins", "--examples", "--", "-D", "warnings"]);
            succeed(&mut command, limit)?;
            // The same hypervisor with what its normal build leaves out.
            let mut command = workspace.cargo();
            command.args(["clippy", "--quiet", "--package", "hypervisor", "--target", KERNEL_TARGET]);
            command.args(["--features", "mutants,trace", "--lib", "--bins", "--", "-D", "warnings"]);
            succeed(&mut command, limit)
        }),
        case("check: unit tests on the host", CARGO_LIMIT, |workspace, limit| {
            let mut command = workspace.cargo();
            command.args(["test", "--quiet", "--workspace", "--lib", "--tests"]);
            succeed(&mut command, limit)?;
            succeed(workspace.cargo().args(["test", "--quiet", "--workspace", "--doc"]), limit)
        }),
        case("check: libraries compile on stable Rust", CARGO_LIMIT, stable),
        case("check: documentation", CARGO_LIMIT, |workspace, limit| {
            let mut command = workspace.cargo();
            command.args(["doc", "--no-deps", "--target", KERNEL_TARGET]).env("RUSTDOCFLAGS", "-D warnings");
            succeed(packages(&mut command, &LIBRARIES), limit)
        }),
        case("check: libraries can be packaged", CARGO_LIMIT, |workspace, limit| {
            let mut command = workspace.cargo();
            command.args(["package", "--allow-dirty", "--no-verify", "--quiet"]);
            succeed(packages(&mut command, &LIBRARIES), limit)
        }),
        Case {
            name: "build: kernels and image builder".into(),
            limit: BUILD_LIMIT,
            needs: Needs::AllCpus,
            run: Ok(Box::new(|context: &Context, _| context.kernels().map(|_| ()))),
        },
    ]
}

fn case(name: &str, limit: Duration, run: fn(&Workspace, Duration) -> Result<(), Failure>) -> Case {
    let run = Box::new(move |context: &Context, limit| run(&context.workspace, limit));
    Case { name: name.into(), limit, needs: Needs::AllCpus, run: Ok(run) }
}

fn format(workspace: &Workspace, limit: Duration) -> Result<(), Failure> {
    succeed(workspace.cargo().args(["fmt", "--all", "--check"]), limit)?;
    // The image builder's own toolchain has no rustfmt; the workspace's does as well.
    let source = workspace.image_builder_package().join("src/main.rs");
    let mut rustfmt = Command::new("rustfmt");
    succeed(rustfmt.current_dir(&workspace.root).args(["--check", "--edition", "2024"]).arg(source), limit)
}

fn stable(workspace: &Workspace, limit: Duration) -> Result<(), Failure> {
    let version = process::run(workspace.cargo().arg("--version"), limit, |_| ())?.stdout;
    let unstable = version.contains("nightly") || version.contains("dev") || version.contains("beta");
    ensure(!unstable, format_args!("not a stable toolchain: {version}"))?;
    let mut command = workspace.cargo();
    command.args(["check", "--lib", "--target", KERNEL_TARGET]).env_remove("RUSTC_BOOTSTRAP");
    succeed(packages(&mut command, &LIBRARIES), limit)
}

fn packages<'a>(command: &'a mut Command, names: &[&str]) -> &'a mut Command {
    for name in names {
        command.args(["--package", name]);
    }
    command
}

/// Runs the command; if it fails, the end of its output is the reason.
pub fn succeed(command: &mut Command, limit: Duration) -> Result<(), Failure> {
    let finished = process::run(command, limit, |_| ())?;
    if finished.status.success() {
        return Ok(());
    }
    let output = finished.stdout + &finished.stderr;
    let lines: Vec<&str> = output.lines().collect();
    let shown = &lines[lines.len().saturating_sub(SHOWN_LINES)..];
    Err(Failure::new(Kind::CheckFailed, format!("{command:?} failed:\n{}", shown.join("\n"))))
}
