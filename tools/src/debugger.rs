//! gdb: a script that loads all symbols at their addresses and connects to QEMU's stub.
//!
//! Addresses are facts of the boot loader and of the hypervisor, so they are known before anything runs: one can stop
//! in early boot. The script's first part is plain gdb; `tools/gdb/pvops.py` adds what needs gdb's Python.

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use crate::boot::World;
use crate::elf_file::ElfFile;
use crate::failure::{Failure, Kind};
use crate::workspace::Workspace;

/// Where the boot loader puts a kernel: the hypervisor asks for it, and for others it is the first free place of the
/// range that they ask for.
pub const BOOTED_BASE: u64 = 0xffff_8000_0000_0000;
/// Where the hypervisor puts a guest kernel that can be moved.
pub const GUEST_BASE: u64 = 0xffff_ffff_8000_0000;

/// An ELF whose symbols gdb is to know.
pub struct Symbols {
    /// The domain's name.
    name: String,
    path: PathBuf,
    slide: u64,
}

impl Symbols {
    /// Those of the kernel that the boot loader starts.
    pub fn of_booted(elf: &ElfFile) -> Result<Self, Failure> {
        Self::new("", elf, BOOTED_BASE)
    }

    /// Those of the guest of domain `name`.
    pub fn of_guest(name: &str, elf: &ElfFile) -> Result<Self, Failure> {
        Self::new(name, elf, GUEST_BASE)
    }

    fn new(name: &str, elf: &ElfFile, base: u64) -> Result<Self, Failure> {
        let path = std::path::absolute(&elf.path).unwrap_or_else(|_| elf.path.clone());
        let damaged =
            || Failure::new(Kind::File, format!("{} is damaged: gdb cannot use it", path.display()));
        let slide = elf.slide(base).ok_or_else(damaged)?;
        Ok(Self { name: name.to_owned(), path, slide })
    }

    /// As an argument of gdb's commands, which split at blanks.
    fn file(&self) -> String {
        quoted(&self.path)
    }
}

fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    if text.contains([' ', '"', '\'', '\\']) {
        format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
    } else {
        text
    }
}

/// Writes the script for a machine whose stub listens on `port`. `booted` is what the boot loader starts, `guests` what
/// runs in the hypervisor's domains, in their order.
pub fn write_script(
    workspace: &Workspace,
    port: u16,
    booted: &Symbols,
    guests: &[Symbols],
) -> Result<PathBuf, Failure> {
    let folder = workspace.target.join("pv/gdb");
    fs::create_dir_all(&folder).map_err(|error| Failure::file("create", &folder, &error))?;
    let path = folder.join(format!("{port}.gdb"));
    let python = workspace.root.join("tools/gdb/pvops.py");
    fs::write(&path, script(port, booted, guests, &python))
        .map_err(|error| Failure::file("write", &path, &error))?;
    Ok(path)
}

fn script(port: u16, booted: &Symbols, guests: &[Symbols], python: &Path) -> String {
    let mut text = String::from("set confirm off\nset pagination off\nset architecture i386:x86-64\n");
    // Writing to a string cannot fail.
    let _ = writeln!(text, "symbol-file {} -o {:#x}", booted.file(), booted.slide);
    if let Some(first) = guests.first() {
        let _ = writeln!(text, "add-symbol-file {} -o {:#x}", first.file(), first.slide);
    }
    let _ = writeln!(text, "target remote localhost:{port}");
    // From here on Python is needed; without it gdb stops reading here, connected and with symbols.
    let _ = writeln!(text, "source {}", python.display());
    for guest in guests {
        let _ = writeln!(text, "pvops-guest \"{}\" {} {:#x}", guest.name, guest.file(), guest.slide);
    }
    text
}

/// The line that starts gdb with the script.
pub fn command_line(script: &Path) -> String {
    format!("gdb -x {}", quoted(script))
}

/// What has to be said about `world` once it waits for gdb.
pub fn advice(world: World) -> &'static str {
    match world {
        World::Native => {
            "set breakpoints (break guest_demo_kernel::shell::run), then `continue`; more: help pvops-symbols"
        }
        World::Hypervisor => {
            "set breakpoints (break *hypervisor::front::fast::write_console), then `continue`; more: help pvops-vcpu, \
             pvops-domains, pvops-frame, pvops-guest, pvops-symbols"
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn symbols(name: &str, path: &str, slide: u64) -> Symbols {
        Symbols { name: name.into(), path: path.into(), slide }
    }

    #[test]
    fn the_script_connects_before_it_needs_python() {
        let guests = [symbols("a", "/g a", 0x1000), symbols("b", "/g2", 0)];
        let script = script(77, &symbols("", "/h", 0x2000), &guests, Path::new("/p.py"));
        let lines: Vec<&str> = script.lines().collect();
        let expected = [
            "symbol-file /h -o 0x2000",
            "add-symbol-file \"/g a\" -o 0x1000",
            "target remote localhost:77",
            "source /p.py",
            "pvops-guest \"a\" \"/g a\" 0x1000",
            "pvops-guest \"b\" /g2 0x0",
        ];
        assert_eq!(lines[3..], expected);
    }
}
