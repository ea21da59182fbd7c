//! System images altered after they were made, and `system.toml` files that must be refused before any boot.

use std::time::Duration;

use system_image::layout::{entry, header};
use system_image::{ExitStatus, update_checksum};

use super::case::{Case, Context, ensure, expect_status};
use super::host::Pv;
use crate::disk_image::Contents;
use crate::failure::{Failure, Kind};
use crate::machine::{DEBUG_EXIT_PORT, Machine};
use crate::manifest::Manifest;
use crate::session::{last_lines, without_escapes};

/// What is done to a sound image. Whether the checksum is made good again is part of it.
type Damage = fn(&mut Vec<u8>);

const DAMAGES: [(&str, Damage); 10] = [
    ("magic number", |image| image[header::MAGIC] ^= 1),
    ("format version", |image| image[header::VERSION] = 99),
    ("checksum", |image| image[header::CHECKSUM] ^= 1),
    ("a bit of the guest", |image| *image.last_mut().unwrap_or(&mut 0) ^= 1),
    ("cut short", |image| image.truncate(image.len() / 2)),
    ("total length", |image| image[header::TOTAL_SIZE + 7] = 0x7f),
    ("length of a guest", |image| consistently(image, header::SIZE + entry::IMAGE_SIZE + 7, 0x7f)),
    ("offset of a guest", |image| consistently(image, header::SIZE + entry::IMAGE_OFFSET, 1)),
    ("number of domains", |image| consistently(image, header::DOMAIN_COUNT, 200)),
    ("CPU of a virtual CPU", |image| consistently(image, header::SIZE + entry::VCPUS, 64)),
];

/// A manifest that is wrong in one way: name of the case, text, line, and words that the message must have.
struct BadManifest {
    name: &'static str,
    /// What replaces what in [`MANIFEST`].
    change: (&'static str, &'static str),
    line: usize,
    words: &'static [&'static str],
}

const MANIFEST: &str = "[system]
name = \"test\"

[[domain]]
name = \"one\"
image = \"guest.elf\"
memory = \"64 MiB\"
vcpus = [{ cpu = 0, priority = 16 }]
console = true
";

const BAD_MANIFESTS: [BadManifest; 17] = [
    bad("a typo in the syntax", ("[[domain]]", "[[domain]"), 4, &[]),
    bad("an unknown key", ("memory", "memroy"), 7, &["memroy", "memory"]),
    bad("a wrong type", ("\"64 MiB\"", "64"), 7, &["memory"]),
    bad("memory that is no multiple of 2 MiB", ("64 MiB", "63 MiB"), 7, &["memory", "2 MiB"]),
    bad("more memory than the machine has", ("64 MiB", "32 GiB"), 7, &["memory", "--memory"]),
    bad("a CPU that does not exist", ("cpu = 0", "cpu = 5"), 8, &["cpu", "--smp"]),
    bad("no virtual CPU", ("[{ cpu = 0, priority = 16 }]", "[]"), 8, &["vcpus"]),
    bad("a missing image", ("guest.elf", "absent.elf"), 6, &["image", "absent.elf"]),
    bad("a missing key", ("image = \"guest.elf\"\n", ""), 4, &["image"]),
    bad("more virtual CPUs than run", ("}]", "}, { cpu = 0 }]"), 8, &["one virtual CPU in each domain"]),
    bad(
        "a restart without limits",
        ("console = true", "on_crash = \"restart\""),
        9,
        &["times = 3, within_s = 10"],
    ),
    bad(
        "a reserved port",
        ("console = true", "devices = [{ ports = \"0x60-0x64\" }]"),
        9,
        &["keyboard controller"],
    ),
    bad("a reserved interrupt", ("console = true", "devices = [{ interrupt = 9 }]"), 9, &["ACPI events"]),
    bad(
        "a shared interrupt",
        ("console = true", "devices = [{ interrupt = 3 }, { interrupt = 3 }]"),
        9,
        &["two devices have interrupt 3", "first assigned here"],
    ),
    bad(
        "MMIO in the domain's memory",
        ("console = true", "devices = [{ mmio = { base = 0x100000, size = \"4 KiB\" } }]"),
        9,
        &["where the domain has its memory", "0x0-0x3ffffff"],
    ),
    bad(
        "a channel to nobody",
        ("console = true", "[[channel]]\nbetween = [\"one\", \"tow\"]"),
        10,
        &["no domain called `tow`", "`one`"],
    ),
    bad(
        "a channel to itself",
        ("console = true", "[[channel]]\nbetween = [\"one\", \"one\"]"),
        10,
        &["between a domain and itself", "first named here"],
    ),
];

const fn bad(
    name: &'static str,
    change: (&'static str, &'static str),
    line: usize,
    words: &'static [&'static str],
) -> BadManifest {
    BadManifest { name, change, line, words }
}

/// All of them.
pub fn cases() -> Vec<Case> {
    let images = DAMAGES.into_iter().map(|(name, damage)| {
        Case::boot(format!("bad system image: {name}"), move |context, limit| {
            image_refused(context, limit, damage)
        })
    });
    let manifests = BAD_MANIFESTS.into_iter().map(|manifest| {
        Case::boot(format!("bad system.toml: {}", manifest.name), move |context, limit| {
            manifest_refused(context, limit, &manifest)
        })
    });
    images.chain(manifests).collect()
}

fn consistently(image: &mut [u8], offset: usize, value: u8) {
    image[offset] = value;
    update_checksum(image);
}

fn image_refused(context: &Context, limit: Duration, damage: Damage) -> Result<(), Failure> {
    let kernels = context.kernels()?;
    let mut image = Manifest::for_guest(kernels.smallest.clone(), "").compile(Some(DEBUG_EXIT_PORT))?;
    damage(&mut image);
    let contents = Contents::hypervisor(kernels.hypervisor.clone(), image);
    let ended = context.start(&contents, &Machine::default(), limit)?.finish()?;
    expect_status(&ended, ExitStatus::IMAGE_REFUSED.code())?;
    let console = without_escapes(&ended.console);
    let prefix = "pvops: system image refused: ";
    let refusals = console.lines().filter(|line| line.starts_with(prefix)).count();
    ensure(refusals == 1, format_args!("expected one line `{prefix}REASON`{}", last_lines(&console)))
}

fn manifest_refused(context: &Context, limit: Duration, bad: &BadManifest) -> Result<(), Failure> {
    let pv = Pv::new(context)?;
    let folder = pv.scratch();
    let write = |name: &str, text: &str| {
        let path = folder.join(name);
        std::fs::write(&path, text).map_err(|error| Failure::file("write", &path, &error))
    };
    write("guest.elf", "\x7fELF")?;
    write("system.toml", &MANIFEST.replacen(bad.change.0, bad.change.1, 1))?;
    let config = folder.join("system.toml").display().to_string();
    let finished = pv.run(&["run", "hypervisor", "--config", &config], limit)?;

    ensure(
        finished.status.code() == Some(Kind::Manifest as i32),
        format_args!("wrong exit: {}", finished.status),
    )?;
    let message = finished.stderr;
    ensure(!message.contains("qemu"), format_args!("something was booted:\n{message}"))?;
    let place = format!("system.toml:{}:", bad.line);
    for word in bad.words.iter().copied().chain([place.as_str()]) {
        ensure(message.contains(word), format_args!("no {word:?} in\n{message}"))?;
    }
    Ok(())
}
