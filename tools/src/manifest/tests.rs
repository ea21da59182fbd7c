//! Manifests good and bad; the bad ones must be refused with file, line and key.

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

[[domain]]
name = "two"
image = "guest.elf"
memory = "8 MiB"
vcpus = [{ cpu = 1 }, { cpu = 0 }]
on_crash = "halt-system"
"#;

fn parse(text: &str) -> Result<Manifest, String> {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("guest.elf"), b"\x7fELF").unwrap();
    std::fs::write(folder.path().join("guest.txt"), b"text").unwrap();
    let machine = Machine { cpus: 2, ..Machine::default() };
    Manifest::parse(&folder.path().join("system.toml"), text, &machine).map_err(|failure| failure.to_string())
}

/// `GOOD` with one replacement is refused; the message has `line`, and all of `words`.
fn refused(from: &str, to: &str, line: usize, words: &[&str]) {
    let text = GOOD.replacen(from, to, 1);
    assert_ne!(text, GOOD, "{from:?} is not in the good manifest");
    let message = parse(&text).map(|_| ()).expect_err(to);
    assert!(message.contains(&format!("system.toml:{line}:")), "no line {line} in:\n{message}");
    for word in words {
        assert!(message.contains(word), "no {word:?} in:\n{message}");
    }
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
    assert_eq!(two.vcpus.len(), 2);
    assert_eq!(two.crash_policy, CrashPolicy::HaltSystem);
    assert!(manifest.compile(Some(0xf4)).is_ok());
}

#[test]
fn syntax_and_keys() {
    refused("name = \"test\"", "name = \"test", 2, &[]);
    refused("memory = \"64 MiB\"", "memroy = \"64 MiB\"", 7, &["memroy", "did you mean `memory`"]);
    refused("[system]", "[sistem]", 1, &["sistem", "`system`"]);
    refused("console = true", "console = \"yes\"", 10, &["`console`", "boolean"]);
    refused("memory = \"64 MiB\"", "memory = 64", 7, &["`memory`", "string"]);
    refused("priority = 20", "prio = 20", 9, &["prio", "priority"]);
    refused("priority = 20", "priority = -1", 9, &["`vcpus`"]);
    refused("\"halt-system\"", "\"explode\"", 18, &["explode", "`on_crash`"]);
    refused("image = \"guest.elf\"\n", "", 4, &["image"]);
}

#[test]
fn impossible_values() {
    refused("\"64 MiB\"", "\"64 megs\"", 7, &["not a size", "`memory`"]);
    refused("\"64 MiB\"", "\"63 MiB\"", 7, &["multiple of 2 MiB", "`memory`"]);
    refused("\"64 MiB\"", "\"4 MiB\"", 7, &["8 MiB", "`memory`"]);
    refused("\"64 MiB\"", "\"128 GiB\"", 7, &["64 GiB", "`memory`"]);
    refused("\"64 MiB\"", "\"32 GiB\"", 16, &["the machine has", "--memory"]);
    refused("cpu = 0, priority = 20", "cpu = 2", 9, &["CPU 2", "`cpu`", "--smp"]);
    refused("priority = 20", "priority = 32", 9, &["31", "`priority`"]);
    refused("[{ cpu = 0, priority = 20 }]", "[]", 9, &["1 to 8", "`vcpus`"]);
    refused("times = 3", "times = 0", 11, &["`times`"]);
    refused("times = 3", "times = 17", 11, &["`times`", "16"]);
    refused("\"guest.elf\"", "\"absent.elf\"", 6, &["absent.elf", "`image`"]);
    refused("\"guest.elf\"", "\"guest.txt\"", 6, &["not an ELF", "`image`"]);
    refused("\"two\"", "\"one\"", 14, &["two domains", "`name`"]);
    refused("\"test\"", "\"\"", 2, &["empty", "`name`"]);
    refused("\"one\"", "\"0123456789012345678901234567890123\"", 5, &["32 bytes", "`name`"]);
}

#[test]
fn all_impossible_values_are_reported_at_once() {
    let text = GOOD.replace("64 MiB", "63 MiB").replace("cpu = 1", "cpu = 9");
    let message = parse(&text).map(|_| ()).unwrap_err();
    assert!(message.contains("system.toml:7:") && message.contains("system.toml:17:"), "{message}");
}

#[test]
fn a_system_without_domains_is_refused() {
    let message = parse("[system]\nname = \"empty\"\n").map(|_| ()).unwrap_err();
    assert!(message.contains("no domain") && message.contains("system.toml:2:"), "{message}");
}

#[test]
fn file_names_become_domain_names() {
    assert_eq!(domain_name("guest-demo-kernel"), "guest-demo-kernel");
    assert_eq!(domain_name(""), "guest");
    assert_eq!(domain_name(&"é".repeat(20)).len(), 32);
}
