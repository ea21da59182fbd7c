//! `configs/`: its reference names every key, and its examples are good.

use std::fs;

use super::*;
use crate::manifest::schema::SHAPES;
use crate::workspace::Workspace;

fn configs() -> PathBuf {
    Workspace::find().root.join("configs")
}

/// Every key has a row in the table of its section, and every row is a key.
#[test]
fn the_reference_has_every_key() {
    let text = fs::read_to_string(configs().join("README.md")).unwrap();
    for shape in SHAPES {
        let title = shape.title.trim_start_matches("a ");
        let heading = format!("\n### {}{}\n", title[..1].to_uppercase(), &title[1..]);
        let section = text.split_once(&heading).map(|(_, rest)| rest.split("\n##").next().unwrap_or(rest));
        let section = section.unwrap_or_else(|| panic!("no heading {heading:?}"));
        let rows = section.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next());
        let documented: Vec<&str> = rows.collect();
        let keys: Vec<&str> = shape.keys.iter().map(|key| key.name).collect();
        assert_eq!(documented, keys, "rows of {heading:?}");
    }
}

/// The file that the reference shows is read, and its description is the one shown.
#[test]
fn the_reference_shows_a_good_file() {
    let text = fs::read_to_string(configs().join("README.md")).unwrap();
    let block = |language: &str| {
        let start = text.split_once(&format!("\n```{language}\n")).map(|(_, rest)| rest);
        start.and_then(|rest| rest.split_once("```")).map(|(block, _)| block).unwrap()
    };
    let manifest = parse_config("example.toml", block("toml")).unwrap();
    assert!(manifest.compile(None).is_ok());
    let description = Description(&manifest).to_string();
    // Where the kernel lies and how large it is differs from build to build.
    let always_the_same = |text: &str| -> Vec<String> {
        let differs = |line: &&str| line.contains("  image") || line.starts_with("memory ");
        text.lines().filter(|line| !differs(line)).map(str::to_owned).collect()
    };
    assert_eq!(always_the_same(block("text")), always_the_same(&description));
}

#[test]
fn every_example_is_good() {
    let list = fs::read_to_string(configs().join("README.md")).unwrap();
    let mut seen = 0;
    for entry in fs::read_dir(configs()).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "toml") {
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            let manifest = parse_config(&name, &fs::read_to_string(&path).unwrap());
            let manifest = manifest.unwrap_or_else(|message| panic!("{message}"));
            assert!(manifest.compile(Some(crate::machine::DEBUG_EXIT_PORT)).is_ok(), "{name}");
            // Each tells how to run it, and is in the list.
            let text = fs::read_to_string(&path).unwrap();
            assert!(list.contains(&format!("| [`{name}`]({name}) | ")), "{name}");
            assert!(text.contains(&format!("cargo pv run hypervisor --config configs/{name}")), "{name}");
            seen += 1;
        }
    }
    assert!(seen >= 6, "{seen}");
}

/// Parses a file of `configs/`, with something in place of the kernels, which may not be built yet.
fn parse_config(name: &str, text: &str) -> Result<Manifest, String> {
    let folder = tempfile::tempdir().unwrap();
    let release = folder.path().join("target").join(crate::workspace::KERNEL_TARGET).join("release");
    fs::create_dir_all(&release).unwrap();
    fs::create_dir(folder.path().join("configs")).unwrap();
    for kernel in ["guest-demo-kernel", "hostile-guest", "conformance-suite"] {
        fs::write(release.join(kernel), b"\x7fELF").unwrap();
    }
    let machine = Machine { cpus: 2, ..Machine::default() };
    let path = folder.path().join("configs").join(name);
    Manifest::parse(&path, text, &machine).map_err(|failure| failure.to_string())
}

/// The parts between the `…` of each error in the table are words that some check says.
#[test]
fn the_reference_has_errors_that_exist() {
    let sources = [
        include_str!("../checks.rs"),
        include_str!("../checks/devices.rs"),
        include_str!("../checks/channels.rs"),
        include_str!("../read.rs"),
        include_str!("../report.rs"),
    ]
    .concat();
    let text = fs::read_to_string(configs().join("README.md")).unwrap();
    let section = text.split("\n## ").find(|section| section.starts_with("Errors")).unwrap();
    let rows = section.lines().filter_map(|line| line.strip_prefix("| ")?.split(" | ").nth(1));
    let errors: Vec<&str> = rows.flat_map(|row| row.split('`').skip(1).step_by(2)).collect();
    assert!(errors.len() > 40, "{errors:?}");
    for error in errors {
        for words in error.split('…').map(str::trim).filter(|words| !words.is_empty()) {
            assert!(sources.contains(words), "nobody says {words:?} of {error:?}");
        }
    }
}

/// A row for each that is never assigned.
#[test]
fn the_reference_has_what_is_reserved() {
    use system_image::{RESERVED_INTERRUPTS, RESERVED_MMIO, RESERVED_PORTS};
    let text = fs::read_to_string(configs().join("README.md")).unwrap();
    for row in RESERVED_PORTS.iter().chain(&RESERVED_MMIO) {
        let range = match row.last - row.first {
            0 => format!("{:#x}", row.first),
            _ => format!("{:#x}-{:#x}", row.first, row.last),
        };
        let line = format!("\n| {range} | {} |\n", row.what);
        assert!(text.contains(&line), "no row {line:?}");
    }
    for row in RESERVED_INTERRUPTS {
        let line = format!("\n| {} | {} |\n", row.first, row.what);
        assert!(text.contains(&line), "no row {line:?}");
    }
}
