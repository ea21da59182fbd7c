//! Disk images: a kernel and its ramdisk, bootable by BIOS or UEFI, cached by their contents' hash.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

use crate::building::{self, IMAGE_BUILDER_SOURCES};
use crate::elf_file::{ElfFile, sha256};
use crate::failure::{Failure, Kind};
use crate::machine::{DEBUG_EXIT_PORT, Firmware};
use crate::process;
use crate::workspace::Workspace;

const IMAGE_LIMIT: Duration = Duration::from_secs(120);

/// So many images are kept, enough for all that the tests boot; each is about 1 MB.
const KEPT_IMAGES: usize = 120;
/// Younger images may be about to be booted by another `cargo pv`.
const MIN_AGE: Duration = Duration::from_secs(15 * 60);

/// How the kernel is told to end the machine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum End {
    /// By QEMU's debug-exit device, which carries a status
    #[default]
    DebugExit,
    /// By switching the power off, as on a real machine; there is no status
    PowerOff,
}

/// What goes onto a disk.
pub struct Contents {
    /// Part of the image's file name.
    pub label: &'static str,
    /// The kernel that the boot loader starts.
    pub kernel: ElfFile,
    /// The ramdisk that it gets; may be empty.
    pub ramdisk: Vec<u8>,
}

impl Contents {
    /// A kernel on the bare machine. Its ramdisk is its command line, plain text.
    pub fn native(kernel: ElfFile, cmdline: &str, end: End) -> Self {
        let ramdisk = match end {
            End::DebugExit => format!("{cmdline} debug-exit={DEBUG_EXIT_PORT:#x}"),
            End::PowerOff => cmdline.to_owned(),
        };
        Self { label: "native", kernel, ramdisk: ramdisk.trim().as_bytes().to_vec() }
    }

    /// The hypervisor. Its ramdisk is a system image.
    pub fn hypervisor(hypervisor: ElfFile, system_image: Vec<u8>) -> Self {
        Self { label: "hypervisor", kernel: hypervisor, ramdisk: system_image }
    }

    /// The path of the cached image for `firmware`, made if there is none yet.
    pub fn cached_image(&self, workspace: &Workspace, firmware: Firmware) -> Result<PathBuf, Failure> {
        let folder = workspace.images();
        fs::create_dir_all(&folder).map_err(|error| Failure::file("create", &folder, &error))?;
        let package = workspace.image_builder_package();
        let sources = IMAGE_BUILDER_SOURCES.map(|source| fs::read(package.join(source)).unwrap_or_default());
        let builder = sha256(&sources.each_ref().map(Vec::as_slice));
        let hash = sha256(&[builder.as_bytes(), &self.kernel.loaded(), &self.ramdisk]);
        let path = folder.join(format!("{}-{firmware}-{}.img", self.label, &hash[..16]));
        if path.is_file() {
            return Ok(path);
        }
        self.write(workspace, firmware, &path, &folder)?;
        remove_old_images(&folder, &path);
        Ok(path)
    }

    /// Makes the image in a scratch folder inside `folder` and moves it to `path`: the file is there whole or
    /// not at all.
    fn write(
        &self,
        workspace: &Workspace,
        firmware: Firmware,
        path: &Path,
        folder: &Path,
    ) -> Result<(), Failure> {
        let program = building::image_builder(workspace)?;
        let scratch = tempfile::Builder::new()
            .prefix(".making-")
            .tempdir_in(folder)
            .map_err(|error| Failure::file("create a folder in", folder, &error))?;
        let write = |name: &str, bytes: &[u8]| -> Result<PathBuf, Failure> {
            let file = scratch.path().join(name);
            fs::write(&file, bytes).map_err(|error| Failure::file("write", &file, &error))?;
            Ok(file)
        };
        let out = scratch.path().join("disk.img");
        let mut command = Command::new(program);
        // The builder's own temporary files go where they are removed even if it is killed.
        command.env("TMPDIR", scratch.path());
        command.arg("--kernel").arg(write("kernel", &self.kernel.loaded())?);
        if !self.ramdisk.is_empty() {
            command.arg("--ramdisk").arg(write("ramdisk", &self.ramdisk)?);
        }
        command.args(["--firmware", &firmware.to_string()]).arg("--out").arg(&out);
        let finished = process::run(&mut command, IMAGE_LIMIT, |_| ())?;
        if !finished.status.success() {
            let message = format!("cannot make the disk image: {}", finished.stderr.trim());
            return Err(Failure::new(Kind::File, message));
        }
        fs::rename(&out, path).map_err(|error| Failure::file("write", path, &error))
    }
}

/// Removes the oldest images beyond the number kept. Failing to is no reason to fail.
fn remove_old_images(folder: &Path, newest: &Path) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    let mut images: Vec<(SystemTime, PathBuf)> = entries
        .filter_map(Result::ok)
        .map(|entry| entry.path())
        .filter(|path| path.extension() == Some(OsStr::new("img")) && path != newest)
        .filter_map(|path| Some((fs::metadata(&path).ok()?.modified().ok()?, path)))
        .collect();
    images.sort();
    let surplus = images.len().saturating_sub(KEPT_IMAGES);
    for (modified, path) in &images[..surplus] {
        if modified.elapsed().is_ok_and(|age| age > MIN_AGE) {
            let _ = fs::remove_file(path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kernel() -> ElfFile {
        ElfFile { path: "k".into(), bytes: Vec::new() }
    }

    #[test]
    fn the_command_line_tells_how_to_end() {
        assert_eq!(
            Contents::native(kernel(), "run=demo", End::DebugExit).ramdisk,
            b"run=demo debug-exit=0xf4"
        );
        assert_eq!(Contents::native(kernel(), "", End::DebugExit).ramdisk, b"debug-exit=0xf4");
        assert_eq!(Contents::native(kernel(), "", End::PowerOff).ramdisk, b"");
    }
}
