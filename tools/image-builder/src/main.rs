//! Makes a bootable disk image from a kernel ELF and a ramdisk.
//!
//! A program of its own because the boot loader's stages are compiled when this crate is built, for minutes and
//! with a nightly; `cargo pv` builds it only when an image is really needed, and calls it as a process.
//!
//! ```text
//! pv-image-builder --kernel ELF [--ramdisk FILE] --firmware bios|uefi --out FILE
//! ```
//!
//! Exit status: 0 done, 1 failed (one line on standard error), 2 wrong usage.

use std::path::PathBuf;
use std::process::ExitCode;

use bootloader::{BootConfig, DiskImageBuilder};
use bootloader_boot_config::LevelFilter;

const USAGE: &str = "usage: pv-image-builder --kernel ELF [--ramdisk FILE] --firmware bios|uefi --out FILE";

/// The command line, read by hand: one caller, four options.
struct Arguments {
    kernel: PathBuf,
    ramdisk: Option<PathBuf>,
    firmware: Firmware,
    out: PathBuf,
}

#[derive(Clone, Copy)]
enum Firmware {
    Bios,
    Uefi,
}

fn main() -> ExitCode {
    let Some(arguments) = parse(std::env::args().skip(1)) else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    match build(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn parse(mut words: impl Iterator<Item = String>) -> Option<Arguments> {
    let (mut kernel, mut ramdisk, mut firmware, mut out) = (None, None, None, None);
    while let Some(option) = words.next() {
        let value = words.next()?;
        match option.as_str() {
            "--kernel" => kernel = Some(value.into()),
            "--ramdisk" => ramdisk = Some(value.into()),
            "--out" => out = Some(value.into()),
            "--firmware" if value == "bios" => firmware = Some(Firmware::Bios),
            "--firmware" if value == "uefi" => firmware = Some(Firmware::Uefi),
            _ => return None,
        }
    }
    Some(Arguments { kernel: kernel?, ramdisk, firmware: firmware?, out: out? })
}

fn build(arguments: &Arguments) -> Result<(), String> {
    // The serial port belongs to the kernel: the boot loader speaks only of what goes wrong.
    let mut boot_config = BootConfig::default();
    boot_config.log_level = LevelFilter::Warn;

    let mut builder = DiskImageBuilder::new(arguments.kernel.clone());
    builder.set_boot_config(&boot_config);
    if let Some(ramdisk) = &arguments.ramdisk {
        builder.set_ramdisk(ramdisk.clone());
    }
    match arguments.firmware {
        Firmware::Bios => builder.create_bios_image(&arguments.out),
        Firmware::Uefi => builder.create_uefi_image(&arguments.out),
    }
    // `{:#}` puts the causes on the same line; the last one is the operating system's word.
    .map_err(|error| format!("{error:#}"))
}
