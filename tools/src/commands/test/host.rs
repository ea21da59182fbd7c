//! What `cargo pv` does when the host lets it down or the user has enough: tools missing, disk full, Ctrl-C, time
//! limit. Afterwards no process and no temporary file may be left.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use super::case::{Case, Context, ensure};
use crate::failure::{Failure, Kind};
use crate::interrupt;
use crate::process::{self, Child, Finished};
use crate::toolchain::{OVMF_VARIABLE, QEMU_VARIABLE};

/// How soon everything must be gone once it is asked to.
const END_LIMIT: Duration = Duration::from_secs(5);

/// All of them.
pub fn cases() -> Vec<Case> {
    let mut cases = vec![
        Case::boot("host: QEMU missing", |context, limit| {
            let mut pv = Pv::new(context)?;
            pv.variables.push((QEMU_VARIABLE, "/nowhere/qemu-system-x86_64".into()));
            pv.expect_missing(&["run", "native"], "QEMU", limit)
        }),
        Case::boot("host: QEMU missing and not installable", |context, limit| {
            let mut pv = Pv::new(context)?;
            pv.variables.push(("PATH", pv.scratch().display().to_string()));
            pv.expect_missing(&["run", "native"], "QEMU", limit)
        }),
        Case::boot("host: UEFI firmware missing", |context, limit| {
            let mut pv = Pv::new(context)?;
            pv.variables.push((OVMF_VARIABLE, "/nowhere".into()));
            pv.expect_missing(&["run", "native", "--firmware", "uefi"], "UEFI firmware", limit)
        }),
        Case::boot("host: Ctrl-C ends everything", |context, limit| ended_by(context, Signal::INT, limit)),
        Case::boot("host: SIGTERM ends everything", |context, limit| ended_by(context, Signal::TERM, limit)),
        Case::boot("host: a killed cargo pv takes QEMU along", killed),
        Case::boot("host: a hanging guest ends at its time limit", time_limit),
        Case::boot("host: disk full while writing an image", |context, limit| {
            let guest = context.kernels()?.demo.path.display().to_string();
            let arguments = ["image", "native", "--guest", &guest, "--out", "/dev/full"];
            Pv::new(context)?.expect_full(&arguments, limit)
        }),
        Case::boot("host: disk full while writing the sizes", |context, limit| {
            context.kernels()?;
            Pv::new(context)?.expect_full(&["size", "--json", "/dev/full"], limit)
        }),
    ];
    if can_mount_privately() {
        cases.push(Case::boot("host: disk full while making an image", tiny_disk));
    }
    cases
}

/// Calls of this very program, with a folder for temporary files of its own, so that what is left is seen.
pub struct Pv {
    program: PathBuf,
    target: PathBuf,
    scratch: TempDir,
    /// Variables set for the calls.
    pub variables: Vec<(&'static str, String)>,
}

impl Pv {
    /// Prepares calls.
    pub fn new(context: &Context) -> Result<Self, Failure> {
        let program = std::env::current_exe()
            .map_err(|error| Failure::file("find", Path::new("this program"), &error))?;
        let scratch = tempfile::tempdir()
            .map_err(|error| Failure::file("create a folder in", &std::env::temp_dir(), &error))?;
        Ok(Self { program, target: context.workspace.target.clone(), scratch, variables: Vec::new() })
    }

    /// A folder that disappears afterwards.
    pub fn scratch(&self) -> &Path {
        self.scratch.path()
    }

    /// Calls the program with these arguments.
    pub fn run(&self, arguments: &[&str], limit: Duration) -> Result<Finished, Failure> {
        process::run(&mut self.command(arguments), limit, |_| ())
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.args(arguments).env("CARGO_TARGET_DIR", &self.target).env("TMPDIR", self.temporary_files());
        command.envs(self.variables.iter().map(|(name, value)| (*name, value.as_str())));
        command
    }

    fn temporary_files(&self) -> PathBuf {
        let folder = self.scratch().join("tmp");
        // If it cannot be made, the call fails and says so.
        let _ = fs::create_dir_all(&folder);
        folder
    }

    /// Fails with the exit code for a missing tool and names it; leaves nothing.
    fn expect_missing(&self, arguments: &[&str], what: &str, limit: Duration) -> Result<(), Failure> {
        let finished = self.run(arguments, limit)?;
        self.expect_failure(&finished, Kind::ToolMissing, &[what, "help:"])
    }

    /// Fails because the disk is full and says so; leaves nothing.
    fn expect_full(&self, arguments: &[&str], limit: Duration) -> Result<(), Failure> {
        let finished = self.run(arguments, limit)?;
        self.expect_failure(&finished, Kind::File, &["No space left on device"])
    }

    fn expect_failure(&self, finished: &Finished, kind: Kind, words: &[&str]) -> Result<(), Failure> {
        let message = &finished.stderr;
        ensure(
            finished.status.code() == Some(kind as i32),
            format_args!("{} instead of {}:\n{message}", finished.status, kind as i32),
        )?;
        for word in words {
            ensure(message.contains(word), format_args!("no {word:?} in\n{message}"))?;
        }
        self.expect_nothing_left()
    }

    /// No process works for this call any more, and its folder for temporary files is empty.
    fn expect_nothing_left(&self) -> Result<(), Failure> {
        self.expect_no_process()?;
        let left: Vec<PathBuf> = fs::read_dir(self.temporary_files())
            .map(|entries| entries.filter_map(Result::ok).map(|entry| entry.path()).collect())
            .unwrap_or_default();
        ensure(left.is_empty(), format_args!("files were left: {left:?}"))
    }

    /// QEMU's command line names its log in the folder for temporary files: that is how it is found.
    fn expect_no_process(&self) -> Result<(), Failure> {
        let deadline = Instant::now() + END_LIMIT;
        let mark = self.temporary_files().display().to_string();
        while let Some(process) = process_mentioning(&mark) {
            ensure(Instant::now() < deadline, format_args!("process {process} was left"))?;
            thread::sleep(interrupt::POLL_INTERVAL);
        }
        Ok(())
    }

    /// Starts a machine whose guest waits for input for ever, and returns once the guest runs.
    fn start_shell(&self, context: &Context, limit: Duration) -> Result<Child, Failure> {
        let guest = context.kernels()?.demo.path.display().to_string();
        let mut command = self.command(&["run", "native", "--guest", &guest]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = Child::spawn(&mut command).map_err(|error| process::cannot_start("pv", &error))?;
        let deadline = Instant::now() + limit;
        let mark = self.temporary_files().display().to_string();
        while process_mentioning(&mark).is_none() {
            ensure(Instant::now() < deadline, "the machine was not started")?;
            interrupt::check()?;
            thread::sleep(interrupt::POLL_INTERVAL);
        }
        // The line with the guest's hash is there before; the next bytes are the guest's own.
        let mut output =
            child.pipes().stdout.take().ok_or_else(|| Failure::new(Kind::CheckFailed, "no output"))?;
        let mut seen = Vec::new();
        let mut chunk = [0; 256];
        while !seen.split(|&byte| byte == b'\n').nth(1).is_some_and(|second| !second.is_empty()) {
            let size = output.read(&mut chunk).unwrap_or(0);
            ensure(size > 0, "the machine ended before its guest printed anything")?;
            seen.extend_from_slice(&chunk[..size]);
        }
        Ok(child)
    }
}

fn ended_by(context: &Context, signal: Signal, limit: Duration) -> Result<(), Failure> {
    let pv = Pv::new(context)?;
    let mut child = pv.start_shell(context, limit)?;
    send(&mut child, signal)?;
    let deadline = Instant::now() + END_LIMIT;
    let status = loop {
        if let Ok(Some(status)) = child.try_wait() {
            break status;
        }
        ensure(Instant::now() < deadline, "it did not end")?;
        thread::sleep(interrupt::POLL_INTERVAL);
    };
    ensure(status.code() == Some(Kind::Interrupted as i32), format_args!("wrong exit: {status}"))?;
    pv.expect_nothing_left()
}

fn killed(context: &Context, limit: Duration) -> Result<(), Failure> {
    let pv = Pv::new(context)?;
    let mut child = pv.start_shell(context, limit)?;
    // Only the program itself, not its group: nobody but the kernel is left to end QEMU.
    send(&mut child, Signal::KILL)?;
    pv.expect_no_process()
}

fn time_limit(context: &Context, limit: Duration) -> Result<(), Failure> {
    let pv = Pv::new(context)?;
    let guest = context.kernels()?.demo.path.display().to_string();
    let finished = pv.run(&["run", "native", "--guest", &guest, "--timeout", "3"], limit)?;
    pv.expect_failure(&finished, Kind::Timeout, &["did not end within 3 s"])
}

/// A private mount of one megabyte over the folder of the images.
fn tiny_disk(context: &Context, limit: Duration) -> Result<(), Failure> {
    let pv = Pv::new(context)?;
    let images = context.workspace.images();
    fs::create_dir_all(&images).map_err(|error| Failure::file("create", &images, &error))?;
    let guest = context.kernels()?.demo.path.display().to_string();
    let inner = pv.command(&["image", "native", "--guest", &guest]);
    let mut command = Command::new("unshare");
    command.args(PRIVATE_MOUNTS).args(["sh", "-c", "mount -t tmpfs -o size=1m none \"$0\" && exec \"$@\""]);
    command.arg(&images).arg(inner.get_program()).args(inner.get_args());
    command.envs(inner.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let finished = process::run(&mut command, limit, |_| ())?;
    pv.expect_failure(&finished, Kind::File, &["No space left on device"])
}

const PRIVATE_MOUNTS: [&str; 2] = ["--mount", "--map-root-user"];

fn can_mount_privately() -> bool {
    let mut command = Command::new("unshare");
    command.args(PRIVATE_MOUNTS).args(["mount", "-t", "tmpfs", "none", "/mnt"]);
    process::run(&mut command, END_LIMIT, |_| ()).is_ok_and(|finished| finished.status.success())
}

fn send(child: &mut Child, signal: Signal) -> Result<(), Failure> {
    let pid = Pid::from_raw(child.pipes().id().cast_signed());
    let sent = pid.map(|pid| kill_process(pid, signal));
    ensure(matches!(sent, Some(Ok(()))), "the signal could not be sent")
}

/// The number of a process with `mark` in its command line.
fn process_mentioning(mark: &str) -> Option<String> {
    fs::read_dir("/proc").ok()?.filter_map(Result::ok).find_map(|entry| {
        let name = entry.file_name().into_string().ok()?;
        name.parse::<u32>().ok()?;
        let command_line = fs::read(entry.path().join("cmdline")).ok()?;
        String::from_utf8_lossy(&command_line).contains(mark).then_some(name)
    })
}
