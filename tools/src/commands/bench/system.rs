//! What is not an operation or workload: what an idle second costs, how much memory the hypervisor keeps, and how much of
//! a kernel has to know the interface.

use std::fs;
use std::path::Path;

use elf::ElfBytes;
use elf::endian::LittleEndian;
use serde::{Deserialize, Serialize};

use super::machines::broken;
use super::runs::{Run, Setting};
use crate::elf_file::ElfFile;
use crate::failure::Failure;
use crate::workspace::Workspace;

/// An idle time in one world. Energy follows the time in which a CPU is not halted, and the times that it wakes up.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Wakefulness {
    /// Instructions executed.
    pub executed: u64,
    /// How often the CPU halted.
    pub halts: u64,
    /// Share of the time, in percent, in which it was halted.
    pub halted: f64,
}

/// An idle time in both worlds.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Idle {
    /// The guest's name for it.
    pub name: String,
    /// For people.
    pub title: String,
    /// On the bare machine.
    pub native: Wakefulness,
    /// As a guest.
    pub guest: Wakefulness,
}

/// Names of idle times, and what people call them.
pub const IDLE: [(&str, &str); 2] =
    [("idle.quiet", "a second without a timer"), ("idle.tick", "a second with a timer every millisecond")];

/// How much of the demo kernel knows the interface.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Touch {
    /// Lines that are neither empty nor comments.
    pub lines: u64,
    /// Those that name the interface.
    pub naming: u64,
    /// Bytes of the kernel's ELF that are loaded.
    pub loaded_bytes: u64,
    /// Call sites that are rewritten at boot.
    #[serde(default)]
    pub sites: u64,
    /// Bytes of these sites and of the table that lists them.
    #[serde(default)]
    pub site_bytes: u64,
}

/// Reads the idle times of both runs.
pub fn idle(runs: &[Run]) -> Result<Vec<Idle>, Failure> {
    let of = |setting: Setting, name: &str| {
        let run = runs.iter().find(|run| run.setting == setting)?;
        let idle = run.idle.iter().find(|idle| idle.name == name)?;
        let sequence = run.sequences.get(&idle.mark)?;
        let halted = 1.0 - sequence.executed as f64 / idle.nanoseconds as f64;
        // Three decimals of a percent.
        let halted = (halted * 100_000.0).round() / 1000.0;
        Some(Wakefulness { executed: sequence.executed, halts: sequence.halts, halted })
    };
    let both = |(name, title): (&str, &str)| {
        let missing = || broken(format!("{name} was not measured"));
        Ok(Idle {
            name: name.into(),
            title: title.into(),
            native: of(Setting::Native, name).ok_or_else(missing)?,
            guest: of(Setting::Guest, name).ok_or_else(missing)?,
        })
    };
    IDLE.into_iter().map(both).collect()
}

/// By what a line is known to use the interface.
const NAMES: [&str; 9] = [
    "pvops",
    "ops::",
    "mmu()",
    "irq::",
    "event::",
    "sched::",
    "time::now_ns",
    "time::set_deadline",
    "time::wall_clock_ns",
];

/// Reads the demo kernel's sources and ELF.
pub fn touch(workspace: &Workspace, demo: &ElfFile) -> Result<Touch, Failure> {
    let (sites, site_bytes) = sites(demo).unwrap_or((0, 0));
    let loaded_bytes = demo.loaded().len() as u64;
    let mut touch = Touch { lines: 0, naming: 0, loaded_bytes, sites, site_bytes };
    count_folder(&workspace.root.join("guest-demo-kernel/src"), &mut touch)?;
    Ok(touch)
}

/// How many sites the library's table lists, and the bytes of both.
fn sites(elf: &ElfFile) -> Option<(u64, u64)> {
    let file = ElfBytes::<LittleEndian>::minimal_parse(&elf.bytes).ok()?;
    let section = file.section_header_by_name("pvops_sites").ok()??;
    Some(count_sites(file.section_data(&section).ok()?.0))
}

/// A record is eight bytes; the fifth is the operation, 0 for none, the sixth the length of the site.
fn count_sites(table: &[u8]) -> (u64, u64) {
    let (records, _) = table.as_chunks::<8>();
    let lengths = records.iter().filter(|record| record[4] != 0).map(|record| u64::from(record[5]));
    (lengths.clone().count() as u64, lengths.sum::<u64>() + table.len() as u64)
}

fn count_folder(folder: &Path, touch: &mut Touch) -> Result<(), Failure> {
    let failed = |error: std::io::Error| Failure::file("read", folder, &error);
    for entry in fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if path.is_dir() {
            count_folder(&path, touch)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).map_err(|error| Failure::file("read", &path, &error))?;
            count(&text, touch);
        }
    }
    Ok(())
}

fn count(text: &str, touch: &mut Touch) {
    let code = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with("//"));
    for line in code {
        touch.lines += 1;
        touch.naming += u64::from(NAMES.iter().any(|name| line.contains(name)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sites_are_counted_without_the_mark() {
        let table = [0, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4, 7, 9, 0, 0, 1, 2, 3, 4, 8, 6, 0, 0];
        assert_eq!(count_sites(&table), (2, 9 + 6 + 24));
    }

    #[test]
    fn lines_of_code_are_counted_and_those_that_name_the_interface() {
        let mut touch = Touch { lines: 0, naming: 0, loaded_bytes: 0, sites: 0, site_bytes: 0 };
        count("//! About pvops.\n\nuse pvops_abi::ops;\nfn f() {\n    irq::disable();\n}\n", &mut touch);
        assert_eq!((touch.lines, touch.naming), (4, 2));
    }
}
