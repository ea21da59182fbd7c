//! Manifests good and bad; the bad ones must be refused with file, line and key.

mod channels;
mod devices;
mod random;
mod reference;

use super::*;

const GOOD: &str = r#"[system]
name = "test"

[[domain]]
name = "one"
image = "guest.elf"
memory = "64 MiB"
cmdline = "run=demo"
vcpus = [{ cpu = 0, priority = 20 }]
console = true
on_crash = { restart = { times = 3, within_s = 10 } }
devices = [
    { name = "com2", ports = "0x2f8-0x2ff", interrupt = 3 },
    { name = "screen", mmio = { base = 0xfd000000, size = "16 MiB" } },
]

[[domain]]
name = "two"
image = "guest.elf"
memory = "8 MiB"
vcpus = [{ cpu = 1 }]
on_crash = "halt-system"
devices = [{ ports = "0x3e8", mmio = { base = 0xe0000000, size = "4 KiB" }, interrupt = 5 }]

[[channel]]
name = "frames"
between = ["one", "two"]

[[channel]]
between = ["two", "one"]
"#;

/// A folder with a guest, and something that is none.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("guest.elf"), b"\x7fELF").unwrap();
    std::fs::write(folder.path().join("guest.txt"), b"text").unwrap();
    std::fs::write(folder.path().join("large.elf"), elf_of(9 << 20)).unwrap();
    folder
}

/// An ELF file with one segment, of so many bytes in memory and none in the file.
fn elf_of(memory_bytes: u64) -> Vec<u8> {
    let mut elf = b"\x7fELF\x02\x01\x01".to_vec();
    elf.resize(64 + 56, 0);
    let mut put = |offset: usize, bytes: &[u8]| elf[offset..offset + bytes.len()].copy_from_slice(bytes);
    // Type, machine, version; then where the program headers are, and their size and number.
    put(16, &[3, 0, 62, 0, 1]);
    put(32, &[64]);
    put(52, &[64, 0, 56, 0, 1]);
    // `PT_LOAD` at this address.
    put(64, &[1]);
    put(64 + 16, &0x1000_u64.to_le_bytes());
    put(64 + 40, &memory_bytes.to_le_bytes());
    elf
}

fn parse(text: &str) -> Result<Manifest, String> {
    let folder = folder();
    let machine = Machine { cpus: 2, ..Machine::default() };
    Manifest::parse(&folder.path().join("system.toml"), text, &machine).map_err(|failure| failure.to_string())
}

/// `text` is refused with one problem; the message has `line`, and all of `words`.
fn refused_text(text: &str, line: usize, words: &[&str]) {
    let message = parse(text).map(|_| ()).expect_err(text);
    assert_eq!(message.matches("error: ").count(), 1, "not one error:\n{message}");
    assert!(message.contains(&format!("system.toml:{line}:")), "no line {line} in:\n{message}");
    for word in words {
        assert!(message.contains(word), "no {word:?} in:\n{message}");
    }
}

/// [`GOOD`] with one replacement is refused in this way.
fn refused(from: &str, to: &str, line: usize, words: &[&str]) {
    let text = GOOD.replacen(from, to, 1);
    assert_ne!(text, GOOD, "{from:?} is not in the good manifest");
    refused_text(&text, line, words);
}

#[test]
fn a_good_manifest_is_read() {
    let manifest = parse(GOOD).unwrap();
    assert_eq!(manifest.name, "test");
    assert_eq!(manifest.domains.len(), 2);
    let [one, two] = &manifest.domains[..] else { panic!() };
    assert_eq!((one.name.as_str(), one.cmdline.as_str(), one.memory_bytes), ("one", "run=demo", 64 << 20));
    assert_eq!(one.vcpus, [VcpuPlacement { cpu: 0, priority: 20 }]);
    assert_eq!(one.crash_policy, CrashPolicy::Restart { times: 3, within_seconds: 10 });
    assert!(one.console && !two.console);
    assert_eq!(two.vcpus, [VcpuPlacement { cpu: 1, priority: DEFAULT_PRIORITY }]);
    assert_eq!(two.crash_policy, CrashPolicy::HaltSystem);
    assert!(manifest.compile(Some(0xf4)).is_ok());
}

/// What the guests find is what the description says: both number devices and channels.
#[test]
fn the_description_has_the_numbers_of_the_image() {
    let manifest = parse(GOOD).unwrap();
    let text = Description(&manifest).to_string();
    let bytes = manifest.compile(None).unwrap();
    let domains: Vec<_> = system_image::SystemImage::parse(&bytes).unwrap().domains().collect();
    let sections: Vec<&str> = text.split("\ndomain ").skip(1).collect();
    for (domain, section) in domains.iter().zip(&sections) {
        assert!(section.contains(&format!("\"{}\"", domain.name)), "{text}");
        assert_eq!(section.matches("\n  device ").count(), domain.devices().len());
        for (number, end) in domain.channels().iter().enumerate() {
            let peer = domains[usize::from(end.peer)].name;
            let lines = section.lines().filter(|line| line.starts_with(&format!("  channel {number} ")));
            let right = lines
                .filter(|line| line.ends_with(&format!("to \"{peer}\", its channel {}", end.peer_channel)));
            assert_eq!(right.count(), 1, "channel {number} in\n{text}");
        }
    }
    assert!(sections[0].contains("  device 0  \"com2\" ports 0x2f8-0x2ff, interrupt 3\n"), "{text}");
    assert!(sections[0].contains("  device 1  \"screen\" MMIO 0xfd000000-0xfdffffff (16 MiB)\n"), "{text}");
    assert!(sections[1].contains("  device 0  ports 0x3e8, MMIO 0xe0000000-0xe0000fff (4 KiB), "), "{text}");
    assert!(text.contains("CPU 0: \"one\" (20)\nCPU 1: \"two\" (16)\n"), "{text}");
}

#[test]
fn syntax() {
    refused("name = \"test\"", "name = \"test", 2, &["not TOML"]);
    refused("[[domain]]", "[[domain]", 4, &["not TOML"]);
    refused("console = true", "console = true\nconsole = false", 11, &["not TOML: duplicate key"]);
    refused("console = true", "console = 0x", 10, &["not TOML: invalid number"]);
    refused("priority = 20", "priority = 0x", 9, &["not TOML: invalid number"]);
    refused("priority = 20", "priority = 2_", 9, &["not TOML"]);
    refused("priority = 20", "priority = 0b12", 9, &["not TOML"]);
    refused("priority = 20", &format!("priority = 0x{}", "f".repeat(40)), 9, &["no such priority"]);
}

#[test]
fn unknown_keys() {
    refused("memory = \"64 MiB\"", "memroy = \"64 MiB\"", 7, &["memroy", "did you mean `memory`?"]);
    refused("image = \"guest.elf\"", "kernel = \"guest.elf\"", 6, &["kernel", "did you mean `image`?"]);
    refused("[system]", "[sistem]", 1, &["sistem", "`system`"]);
    refused("priority = 20", "prio = 20", 9, &["prio", "did you mean `priority`?"]);
    refused("interrupt = 3", "irq = 3", 13, &["irq", "did you mean `interrupt`?"]);
    refused("size = \"16", "length = \"16", 14, &["length", "did you mean `size`?"]);
    refused("times = 3", "count = 3", 11, &["count", "did you mean `times`?"]);
    refused("name = \"frames\"", "title = \"frames\"", 26, &["`title`", "`name` and `between`"]);
    refused("console = true", "colour = 1", 10, &["not a key here", "`on_crash`"]);
    // The other name of a key that is there already is no suggestion.
    refused("console = true", "kernel = \"guest.elf\"", 10, &["not a key here"]);
}

#[test]
fn missing_keys() {
    refused("image = \"guest.elf\"\n", "", 4, &["`[[domain]]` has no `image`", "for example: image = "]);
    refused("name = \"test\"", "", 1, &["`[system]` has no `name`"]);
    refused("cpu = 0, ", "", 9, &["has no `cpu`"]);
    refused("times = 3, ", "", 11, &["`restart` has no `times`"]);
    refused("{ restart = { times = 3, within_s = 10 } }", "{}", 11, &["`on_crash` has no `restart`"]);
    refused(", size = \"16 MiB\"", "", 14, &["`mmio` has no `size`"]);
    refused("between = [\"one\", \"two\"]", "", 25, &["`[[channel]]` has no `between`"]);
    refused_text("domain = []", 1, &["the file has no `[system]`"]);
    refused_text("[system]\nname = \"empty\"\n", 1, &["the file has no `[[domain]]`"]);
    refused_text("domain = []\n[system]\nname = \"empty\"\n", 3, &["a system without a domain"]);
}

#[test]
fn wrong_types() {
    refused("console = true", "console = \"yes\"", 10, &["`console` must be a boolean, not a string"]);
    refused("memory = \"64 MiB\"", "memory = 64", 7, &["`memory` must be a string", "\"64 MiB\""]);
    refused("\"halt-system\"", "3", 22, &["`on_crash` must be a string or a table, not an integer"]);
    refused("[{ cpu = 0, priority = 20 }]", "{ cpu = 0 }", 9, &["`vcpus` must be an array, not a table"]);
    refused("[{ cpu = 0, priority = 20 }]", "[0]", 9, &["each of `vcpus` must be a table"]);
    refused("priority = 20", "priority = 2.5", 9, &["`priority` must be an integer, not a float"]);
    refused("\"0x2f8-0x2ff\"", "0x2f8", 13, &["`ports` must be a string", "\"0x2f8-0x2ff\""]);
    refused("0xfd000000", "\"0xfd000000\"", 14, &["`base` must be an integer, not a string"]);
    refused("[\"one\", \"two\"]", "[\"one\", 2]", 27, &["each of `between` must be a string"]);
    refused("[\"one\", \"two\"]", "\"one\"", 27, &["`between` must be an array, not a string"]);
    refused("[system]", "[[system]]", 1, &["`system` must be a table", "[system] with single brackets"]);
    let single = "[domain]\nname = \"one\"\n[system]\nname = \"test\"\n";
    refused_text(single, 1, &["`domain` must be an array of tables", "[[domain]] with double brackets"]);
}

#[test]
fn impossible_values() {
    refused("\"64 MiB\"", "\"64 megs\"", 7, &["not a size", "`memory`"]);
    refused("\"64 MiB\"", "\"63 MiB\"", 7, &["multiple of 2 MiB", "\"62 MiB\" or \"64 MiB\""]);
    refused("\"64 MiB\"", "\"4 MiB\"", 7, &["8 MiB", "`memory`"]);
    refused("\"64 MiB\"", "\"128 GiB\"", 7, &["64 GiB", "`memory`"]);
    refused("cpu = 0, priority = 20", "cpu = 2", 9, &["CPU 2", "`cpu`", "--smp 3"]);
    refused("cpu = 0, priority = 20", "cpu = -1", 9, &["CPU -1", "numbered from 0"]);
    refused("priority = 20", "priority = 32", 9, &["31", "`priority`"]);
    refused("priority = 20", "priority = -1", 9, &["no such priority: -1"]);
    refused("[{ cpu = 0, priority = 20 }]", "[]", 9, &["without a virtual CPU", "`vcpus`"]);
    refused("{ cpu = 1 }", "{ cpu = 1 }, { cpu = 0 }", 21, &["one virtual CPU in each domain"]);
    refused("\"guest.elf\"", "\"absent.elf\"", 6, &["absent.elf", "relative to the folder"]);
    refused("\"guest.elf\"", "\"../x86_64-unknown-none/g\"", 6, &["cargo pv build"]);
    refused("\"guest.elf\"", "\"guest.txt\"", 6, &["not an ELF", "`image`"]);
    refused("\"guest.elf\"", "\"/dev/zero\"", 6, &["not a file", "`image`"]);
    refused("\"guest.elf\"", "\".\"", 6, &["not a file", "`image`"]);
    refused("\"test\"", "\"\"", 2, &["empty", "`name`"]);
    refused("\"run=demo\"", "\"run\\u0007\"", 8, &["command line has control characters"]);
    refused("\"run=demo\"", &format!("\"{}\"", "x".repeat(4097)), 8, &["longer than 4096 bytes"]);
    // Both channels then miss their domain as well, were it not for the name that is wrong already.
    let two_alone = GOOD.split("\n[[channel]]").next().unwrap().replace("\"two\"", "\"one\"");
    refused_text(&two_alone, 18, &["two domains are called `one`", "first used here"]);
    let long = two_alone.replacen("\"one\"", "\"0123456789012345678901234567890123\"", 1);
    refused_text(&long, 5, &["32 bytes", "`name`"]);
}

#[test]
fn crash_policies() {
    refused("times = 3", "times = 0", 11, &["`times`", "on_crash = \"stop\""]);
    refused("times = 3", "times = 17", 11, &["`times`", "from 1 to 16"]);
    refused("within_s = 10", "within_s = 0", 11, &["`within_s`", "on_crash = \"stop\""]);
    refused("within_s = 10", "within_s = 4294967296", 11, &["`within_s`", "4294967295"]);
    refused("\"halt-system\"", "\"halt_system\"", 22, &["did you mean \"halt-system\"?"]);
    refused("\"halt-system\"", "\"explode\"", 22, &["unknown policy \"explode\"", "\"stop\""]);
    refused("\"halt-system\"", "\"restart\"", 22, &["a restart without limits", "times = 3"]);
}

/// Images count: where the guest is, and once more for a new start.
#[test]
fn guests_take_memory() {
    let with = |memory: &str| GOOD.replace("\"8 MiB\"", memory).replace("guest.elf", "large.elf");
    refused_text(&with("\"8 MiB\""), 20, &["larger than its domain's memory", "takes 9 MiB when loaded"]);
    assert!(parse(&with("\"10 MiB\"")).is_ok());
    let needed = |text: &str| {
        let text = Description(&parse(text).unwrap()).to_string();
        let total = text.rsplit("\nmemory ").next().and_then(|rest| rest.split(' ').next());
        total.and_then(|total| total.parse::<u64>().ok()).unwrap()
    };
    let small = needed(&GOOD.replace("\"8 MiB\"", "\"10 MiB\""));
    assert_eq!(needed(&with("\"10 MiB\"")), small + 2 * 9);
}

/// UEFI keeps more than BIOS does.
#[test]
fn total_memory_under_uefi() {
    let folder = folder();
    let machine = Machine { cpus: 2, firmware: crate::machine::Firmware::Uefi, ..Machine::default() };
    let parse = |text: &str| Manifest::parse(&folder.path().join("system.toml"), text, &machine);
    let sized = |size: &str| GOOD.replacen("\"64 MiB\"", size, 1);
    assert!(parse(&sized("\"390 MiB\"")).is_ok());
    let message = parse(&sized("\"394 MiB\"")).map(|_| ()).unwrap_err().to_string();
    assert!(message.contains("the machine has 416 MiB"), "{message}");
}

/// The domains' shadow tables count too: the hypervisor would refuse the last domain otherwise.
#[test]
fn total_memory() {
    refused("\"64 MiB\"", "\"3 GiB\"", 7, &["the machine has 480 MiB", "--memory 3213", "for domain `two`"]);
    refused("\"64 MiB\"", "\"454 MiB\"", 7, &["the domains need 482 MiB"]);
    assert!(parse(&GOOD.replacen("\"64 MiB\"", "\"452 MiB\"", 1)).is_ok());
}

#[test]
fn more_domains_than_run() {
    let domain = |number| {
        format!(
            "[[domain]]\nname = \"d{number}\"\nimage = \"guest.elf\"\nmemory = \"8 MiB\"\nvcpus = [{{ cpu = 0 }}]\n"
        )
    };
    let system =
        |count| "[system]\nname = \"many\"\n".to_owned() + &(0..count).map(domain).collect::<String>();
    assert!(parse(&system(8)).unwrap().compile(None).is_ok());
    refused_text(&system(9), 44, &["more than 8 domains", "runs 8"]);
}

#[test]
fn all_problems_are_reported_at_once() {
    let text = GOOD
        .replace("memory = \"64 MiB\"", "memory = 64")
        .replace("cpu = 1", "cpu = 9")
        .replace("interrupt = 5", "interrupt = 3")
        .replace("console = true", "consol = true")
        .replace("halt-system", "explode");
    let message = parse(&text).map(|_| ()).unwrap_err();
    for line in [7, 10, 21, 22] {
        assert!(message.contains(&format!("system.toml:{line}:")), "no line {line} in {message}");
    }
    // The first domain could not be read for want of memory: nothing is said about what it shares or misses.
    assert_eq!(message.matches("error: ").count(), 4, "{message}");
    assert!(message.ends_with("system.toml: 4 errors"), "{message}");
}

#[test]
fn file_names_become_domain_names() {
    assert_eq!(domain_name("guest-demo-kernel"), "guest-demo-kernel");
    assert_eq!(domain_name(""), "guest");
    assert_eq!(domain_name(&"é".repeat(20)).len(), 32);
}
