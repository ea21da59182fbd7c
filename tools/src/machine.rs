//! The virtual machine: its options on the command line, and the QEMU command line they become.

use std::ffi::OsString;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use clap::{Args, ValueEnum};

use crate::failure::{Failure, Kind};
use crate::toolchain;

/// The I/O port of the debug-exit device.
pub const DEBUG_EXIT_PORT: u16 = system_image::layout::CUSTOMARY_DEBUG_EXIT_PORT;

/// How the machine boots.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Firmware {
    /// Legacy BIOS (SeaBIOS), from a disk image with an MBR.
    #[default]
    Bios,
    /// UEFI (OVMF), from a disk image with a GPT.
    Uefi,
}

impl fmt::Display for Firmware {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Bios => "bios",
            Self::Uefi => "uefi",
        })
    }
}

/// What executes the guest's instructions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Accelerator {
    /// QEMU's emulation; works everywhere.
    #[default]
    Tcg,
    /// The host's hardware virtualization, through /dev/kvm.
    Kvm,
}

/// The machine's options.
#[derive(Clone, Debug, Args)]
pub struct Machine {
    /// Firmware to boot from
    #[arg(long, value_enum, default_value_t)]
    pub firmware: Firmware,
    /// Number of CPUs
    #[arg(long = "smp", value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=64))]
    pub cpus: u32,
    /// What executes the guest
    #[arg(long = "accel", value_enum, default_value_t)]
    pub accelerator: Accelerator,
    /// Memory of the machine
    #[arg(long = "memory", value_name = "MIB", default_value_t = 512, value_parser = clap::value_parser!(u64).range(64..=1 << 20))]
    pub memory_mib: u64,
    /// Count instructions: the clock advances by one nanosecond per instruction, and each run is the same
    #[arg(long)]
    pub icount: bool,
    /// Give it a second serial port, COM2, at this character device of QEMU (pty, unix:PATH,server=on,wait=off, ...)
    #[arg(long, value_name = "CHARDEV")]
    pub com2: Option<String>,
    /// Give it another device of QEMU (edu,addr=10, ...)
    #[arg(long = "device", value_name = "DEVICE")]
    pub devices: Vec<String>,
    /// Socket of QEMU's monitor.
    #[arg(skip)]
    pub monitor: Option<PathBuf>,
    /// Socket of QEMU's monitor for programs. A machine with it stays when it ends, stopped, to be looked at.
    #[arg(skip)]
    pub control: Option<PathBuf>,
    /// Port on which gdb is waited for, before the first instruction.
    #[arg(skip)]
    pub gdb_port: Option<u16>,
    /// Who records what is executed.
    #[arg(skip)]
    pub recorder: Option<Recorder>,
    /// Without COM1, so that nobody sees what it writes.
    #[arg(skip)]
    pub is_silent: bool,
}

/// A plugin of QEMU that writes what was executed between a guest's marks.
#[derive(Clone, Debug)]
pub struct Recorder {
    /// The plugin.
    pub library: PathBuf,
    /// Where it writes when QEMU ends.
    pub output: PathBuf,
}

impl Default for Machine {
    fn default() -> Self {
        Self {
            firmware: Firmware::default(),
            cpus: 1,
            accelerator: Accelerator::default(),
            memory_mib: 512,
            icount: false,
            com2: None,
            devices: Vec::new(),
            monitor: None,
            control: None,
            gdb_port: None,
            recorder: None,
            is_silent: false,
        }
    }
}

impl Machine {
    /// What cannot be had together or on this host.
    pub fn check(&self) -> Result<(), Failure> {
        if self.icount && self.accelerator == Accelerator::Kvm {
            return Err(Failure::new(
                Kind::Usage,
                "--icount counts emulated instructions: it needs --accel tcg",
            ));
        }
        if self.accelerator == Accelerator::Kvm
            && let Err(error) = fs::OpenOptions::new().read(true).write(true).open("/dev/kvm")
        {
            let message = format!("--accel kvm needs /dev/kvm, which cannot be opened: {error}");
            return Err(Failure::new(Kind::ToolMissing, message).hint("use --accel tcg"));
        }
        Ok(())
    }

    /// How far its memory reaches from address 0 on: devices are above. The rest of a larger memory begins at 4 GiB.
    pub fn low_memory_bytes(&self) -> u64 {
        (self.memory_mib << 20).min(2 << 30)
    }

    /// Finds, or installs, what the machine needs on the host.
    pub fn check_tools(&self) -> Result<(), Failure> {
        toolchain::qemu()?;
        if self.firmware == Firmware::Uefi {
            toolchain::ovmf()?;
        }
        Ok(())
    }

    /// The command that boots `image` on this machine; `scratch` takes its log and its copy of the UEFI variables.
    pub fn command(&self, image: &Path, scratch: &Path) -> Result<Command, Failure> {
        let mut command = Command::new(toolchain::qemu()?);
        let accelerator = match self.accelerator {
            Accelerator::Tcg => "tcg",
            Accelerator::Kvm => "kvm",
        };
        command.args(["-machine", "q35", "-cpu", "max", "-accel", accelerator]);
        command.args(["-m", &format!("{}M", self.memory_mib), "-smp", &self.cpus.to_string()]);
        // Only what is asked for; the boot loader wants a graphics card.
        command.args(["-nodefaults", "-vga", "std", "-display", "none", "-no-reboot"]);
        command.args(["-serial", if self.is_silent { "none" } else { "stdio" }]);
        command.args(["-device", &format!("isa-debug-exit,iobase={DEBUG_EXIT_PORT:#x},iosize=4")]);
        if let Some(com2) = &self.com2 {
            command.args(["-serial", com2]);
        }
        if let Some(monitor) = &self.monitor {
            command.arg("-monitor").arg(format!("unix:{},server=on,wait=off", monitor.display()));
        }
        if let Some(control) = &self.control {
            command.arg("-qmp").arg(format!("unix:{},server=on,wait=off", control.display()));
            command.args(["-action", "shutdown=pause"]);
        }
        for device in &self.devices {
            command.args(["-device", device]);
        }
        if self.icount {
            command.args(["-icount", "shift=0,sleep=off", "-rtc", "base=2026-01-01,clock=vm"]);
        }
        if self.firmware == Firmware::Uefi {
            let ovmf = toolchain::ovmf()?;
            let variables = scratch.join("variables.fd");
            fs::copy(&ovmf.variables, &variables)
                .map_err(|error| Failure::file("write", &variables, &error))?;
            command.arg("-drive").arg(drive("if=pflash,format=raw,readonly=on,file=", &ovmf.code));
            command.arg("-drive").arg(drive("if=pflash,format=raw,file=", &variables));
        }
        command.arg("-drive").arg(drive("format=raw,snapshot=on,file=", image));
        if let Some(port) = self.gdb_port {
            command.args(["-gdb", &format!("tcp:localhost:{port}"), "-S"]);
        }
        if let Some(Recorder { library, output }) = &self.recorder {
            let mut argument = drive("file=", library);
            argument.push(drive(",out=", output));
            command.arg("-plugin").arg(argument);
        }
        // Tells a triple fault from a power-off: with -no-reboot, QEMU ends with status 0 after both.
        command.args(["-d", "cpu_reset", "-D"]).arg(log_file(scratch));
        Ok(command)
    }
}

/// Where QEMU logs resets.
pub fn log_file(scratch: &Path) -> std::path::PathBuf {
    scratch.join("qemu.log")
}

/// QEMU wants commas in file names doubled.
fn drive(options: &str, file: &Path) -> OsString {
    let mut argument = OsString::from(options);
    argument.push(file.to_string_lossy().replace(',', ",,"));
    argument
}

/// The command as one could type it into a shell.
pub fn shell_line(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| quote(&word.to_string_lossy())).collect::<Vec<_>>().join(" ")
}

fn quote(word: &str) -> String {
    let plain = |character: char| character.is_ascii_alphanumeric() || "-_=,./:+%@".contains(character);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_quoted_for_the_shell() {
        assert_eq!(quote("a=b,c"), "a=b,c");
        assert_eq!(quote("a b"), "'a b'");
        assert_eq!(quote("it's"), r"'it'\''s'");
        assert_eq!(quote(""), "''");
    }

    #[test]
    fn commas_in_file_names_are_doubled() {
        assert_eq!(drive("file=", Path::new("/a,b")), "file=/a,,b");
    }

    #[test]
    fn counting_needs_emulation() {
        let machine = Machine { icount: true, accelerator: Accelerator::Kvm, ..Machine::default() };
        assert_eq!(machine.check().unwrap_err().kind, Kind::Usage);
    }
}
