//! Target files: how to start an image on somebody's hypervisor, read its console, and recognize its end.
//!
//! The shipped targets are files of this format too; nothing here knows one of them. An annotated example is in
//! `conformance/README.md`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::failure::{Failure, Kind};
use crate::template::{self, Values};

/// A target, as its file describes it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Target {
    /// The file's name without its end.
    #[serde(skip)]
    pub name: String,
    /// The folder of the file: `{here}`.
    #[serde(skip)]
    pub folder: PathBuf,
    /// For people: product, version, machine.
    pub description: String,
    /// Most CPUs that `--smp` may ask for.
    #[serde(default = "one")]
    pub most_cpus: u32,
    /// Whether it also starts a second domain, with the same image and `{peer_cmdline}`, and channels between the two.
    #[serde(default)]
    pub peers: bool,
    /// What has to be installed.
    #[serde(default)]
    pub needs: Vec<Need>,
    /// The disk image to make, for targets that boot one.
    pub disk: Option<Disk>,
    /// Files to write into `{scratch}` before each start.
    #[serde(default)]
    pub files: BTreeMap<String, String>,
    /// How to start the image.
    pub start: Start,
    /// How to read its console.
    #[serde(default)]
    pub console: Console,
    /// How its end is recognized.
    #[serde(default)]
    pub end: End,
    /// How long it may take.
    #[serde(default)]
    pub limits: Limits,
}

/// A program or file that has to be there.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Need {
    /// A program on PATH, or its path.
    pub program: Option<String>,
    /// A file.
    pub file: Option<String>,
    /// The Debian packages that have it.
    #[serde(default)]
    pub debian_packages: Vec<String>,
}

/// A disk image with the boot loader of this project.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Disk {
    /// What the boot loader starts.
    pub boots: Boots,
    /// The firmware that starts the boot loader.
    pub firmware: Firmware,
    /// How the machine is ended.
    #[serde(default)]
    pub ends_by: EndsBy,
}

/// What a disk image boots.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Boots {
    /// The suite itself, on the bare machine.
    Native,
    /// The hypervisor of this project, which runs the suite.
    Hypervisor,
}

/// See [`Disk::firmware`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Firmware {
    /// Legacy BIOS.
    Bios,
    /// UEFI.
    Uefi,
}

/// See [`Disk::ends_by`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EndsBy {
    /// ACPI.
    #[default]
    PowerOff,
    /// QEMU's debug-exit device, which carries a status.
    DebugExit,
}

/// How to start an image.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Start {
    /// Program and arguments, with placeholders. No shell is involved.
    pub command: Vec<String>,
    /// More arguments when there is one CPU.
    #[serde(default)]
    pub with_one_cpu: Vec<String>,
    /// More arguments when there are several.
    #[serde(default)]
    pub with_several_cpus: Vec<String>,
    /// Variables of its environment.
    #[serde(default)]
    pub environment: BTreeMap<String, String>,
}

/// How to read the console.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Console {
    /// Where it comes out.
    #[serde(default)]
    pub from: Source,
    /// The file, socket or device.
    pub path: Option<String>,
    /// What the hypervisor puts before each of the guest's lines, such as `[vm0] `.
    #[serde(default)]
    pub prefix: String,
}

/// See [`Console::from`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Source {
    /// Standard output of the command.
    #[default]
    Stdout,
    /// Standard error of the command.
    Stderr,
    /// A file that grows.
    File,
    /// A Unix socket that the target listens on.
    Socket,
    /// A terminal or serial port.
    Device,
}

/// How the end is recognized.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct End {
    /// What the command does when the guest has shut down.
    #[serde(default)]
    pub when_done: WhenDone,
    /// Its exit status when the guest shut down with status 0.
    pub status_when_passed: Option<i32>,
    /// Its exit status when the guest shut down with status 1.
    pub status_when_failed: Option<i32>,
    /// Text on the console that says that the target went down.
    #[serde(default)]
    pub crash_texts: Vec<String>,
}

/// See [`End::when_done`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WhenDone {
    /// It exits.
    #[default]
    Exits,
    /// It goes on, and has to be killed.
    Stays,
}

/// How long things may take, in seconds, and how often the suite is started again.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// The whole run, with all its starts.
    total_s: u64,
    /// From the start to the suite's first line.
    start_s: u64,
    /// From one line of the suite to the next.
    silence_s: u64,
    /// From the suite's last line to the end of the command.
    end_s: u64,
    /// Starts after the first.
    pub restarts: u32,
}

impl Limits {
    /// The whole run.
    pub const fn total(&self) -> Duration {
        Duration::from_secs(self.total_s)
    }
    /// From the start to the suite's first line.
    pub const fn start(&self) -> Duration {
        Duration::from_secs(self.start_s)
    }
    /// From one line of the suite to the next.
    pub const fn silence(&self) -> Duration {
        Duration::from_secs(self.silence_s)
    }
    /// From the suite's last line to the end of the command.
    pub const fn end(&self) -> Duration {
        Duration::from_secs(self.end_s)
    }

    /// For subjects that are expected to fail: one start, and less patience.
    #[must_use]
    pub fn for_broken_subjects(self) -> Self {
        let less = |seconds: u64| (seconds * 2 / 5).max(1);
        Self { silence_s: less(self.silence_s), end_s: less(self.end_s), restarts: 0, ..self }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self { total_s: 120, start_s: 60, silence_s: 20, end_s: 10, restarts: 20 }
    }
}

const fn one() -> u32 {
    1
}

/// What a target file became for one start.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Prepared {
    /// Program and arguments.
    pub command: Vec<String>,
    /// Variables of the environment.
    pub environment: BTreeMap<String, String>,
    /// The path of the console, if it has one.
    pub console_path: Option<PathBuf>,
    /// Contents of the files in the scratch folder, by name.
    pub files: BTreeMap<String, String>,
}

impl Target {
    /// Reads and checks the file.
    pub fn read(path: &Path) -> Result<Self, Failure> {
        let text = std::fs::read_to_string(path).map_err(|error| Failure::file("read", path, &error))?;
        let absolute = std::path::absolute(path).map_err(|error| Failure::file("find", path, &error))?;
        let mut target: Self = toml::from_str(&text)
            .map_err(|error| refuse(format!("{}: {}", path.display(), error.to_string().trim_end())))?;
        target.name = absolute.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        target.folder = absolute.parent().unwrap_or(Path::new("/")).to_path_buf();
        target.check().map_err(|problem| refuse(format!("{}: {problem}", path.display())))?;
        Ok(target)
    }

    /// What the format cannot express.
    fn check(&self) -> Result<(), String> {
        if self.start.command.is_empty() {
            return Err("`start.command` is empty: name a program".into());
        }
        let has_path = matches!(self.console.from, Source::File | Source::Socket | Source::Device);
        if has_path != self.console.path.is_some() {
            let wanted = if has_path { "needs" } else { "has no use for" };
            return Err(format!("`console.from` {wanted} `console.path`"));
        }
        if let Some(name) = self.files.keys().find(|name| name.is_empty() || name.contains('/')) {
            return Err(format!("`files` are written into one folder: {name:?} is no plain name"));
        }
        for need in &self.needs {
            if need.program.is_some() == need.file.is_some() {
                return Err("each of `needs` names either a `program` or a `file`".into());
            }
        }
        if self.limits.total_s == 0 || self.limits.start_s == 0 || self.limits.silence_s == 0 {
            return Err("`limits` are at least one second".into());
        }
        let nowhere = PathBuf::new();
        let values = Values {
            guest: &nowhere,
            disk: self.disk.as_ref().map(|_| nowhere.as_path()),
            cmdline: "",
            cpus: 1,
            scratch: &nowhere,
            here: &nowhere,
        };
        self.prepare(&values).map(|_| ())
    }

    /// Fills the placeholders in.
    pub fn prepare(&self, values: &Values<'_>) -> Result<Prepared, String> {
        let expand = |text: &String| template::expand(text, values);
        let expand_all = |map: &BTreeMap<String, String>| -> Result<BTreeMap<String, String>, String> {
            map.iter().map(|(name, text)| Ok((name.clone(), expand(text)?))).collect()
        };
        let more = if values.cpus == 1 { &self.start.with_one_cpu } else { &self.start.with_several_cpus };
        Ok(Prepared {
            command: self.start.command.iter().chain(more).map(expand).collect::<Result<_, _>>()?,
            environment: expand_all(&self.start.environment)?,
            console_path: self.console.path.as_ref().map(expand).transpose()?.map(PathBuf::from),
            files: expand_all(&self.files)?,
        })
    }
}

fn refuse(message: String) -> Failure {
    Failure::new(Kind::Target, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Target, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("some.toml");
        std::fs::write(&path, text).unwrap();
        Target::read(&path).map_err(|failure| failure.message)
    }

    const SMALL: &str = "description = 'x'\n[start]\ncommand = ['vmm', '{guest}']\n";

    #[test]
    fn four_lines_are_enough() {
        let target = read(SMALL).unwrap();
        assert_eq!((target.name.as_str(), target.most_cpus), ("some", 1));
        assert_eq!(target.console.from, Source::Stdout);
        assert_eq!(target.end.when_done, WhenDone::Exits);
        assert_eq!(target.limits.total(), Duration::from_secs(120));
    }

    /// The targets that the documentation shows, and those that are shipped.
    #[test]
    fn what_is_shown_is_accepted() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let mut shown = 0;
        for file in ["README.md", "conformance/README.md"] {
            let text = std::fs::read_to_string(root.join(file)).unwrap();
            for block in text.split("```toml\n").skip(1).filter_map(|rest| rest.split("```").next()) {
                read(block).unwrap();
                shown += 1;
            }
        }
        assert!(shown >= 3);
        let shipped = std::fs::read_dir(root.join("conformance/targets")).unwrap();
        let shipped: Vec<Target> =
            shipped.map(|entry| Target::read(&entry.unwrap().path()).unwrap()).collect();
        assert!(shipped.len() >= 6 && shipped.iter().all(|target| target.most_cpus >= 2));
    }

    #[test]
    fn mistakes_are_named() {
        let refusals = [
            ("", "description"),
            ("description = 'x'\n[start]\ncommand = []", "start.command"),
            ("description = 'x'\n[start]\ncommand = ['a', '{gues}']", "{gues}"),
            ("description = 'x'\n[start]\ncommand = ['a', '{disk}']", "{disk}"),
            ("description = 'x'\n[start]\ncommand = ['a']\nwith = 1", "with"),
            (&format!("{SMALL}[console]\nfrom = 'file'"), "console.path"),
            (&format!("{SMALL}[console]\npath = '/x'"), "console.path"),
            (&format!("{SMALL}[console]\nfrom = 'ether'"), "ether"),
            (&format!("{SMALL}[files]\n'../x' = ''"), "../x"),
            (&format!("{SMALL}[[needs]]\ndebian_packages = ['x']"), "needs"),
            (&format!("{SMALL}[limits]\nsilence_s = 0"), "limits"),
        ];
        for (text, word) in refusals {
            let message = read(text).unwrap_err();
            assert!(message.contains(word) && message.contains("some.toml"), "{message}");
        }
    }

    #[test]
    fn arguments_depend_on_the_number_of_cpus() {
        let text = format!("{SMALL}with_one_cpu = ['-one']\nwith_several_cpus = ['-smp', '{{smp}}']\n");
        let target = read(&text).unwrap();
        let guest = Path::new("/g");
        let values = |cpus| Values { guest, disk: None, cmdline: "", cpus, scratch: guest, here: guest };
        assert_eq!(target.prepare(&values(1)).unwrap().command, ["vmm", "/g", "-one"]);
        assert_eq!(target.prepare(&values(3)).unwrap().command, ["vmm", "/g", "-smp", "3"]);
    }
}
