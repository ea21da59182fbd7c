//! Devices that no hypervisor should give away, or not twice.

use system_image::{MmioRange, PortRange, RESERVED_INTERRUPTS, RESERVED_MMIO, RESERVED_PORTS};

use super::*;

/// Replaces the second domain's devices, all on line 23.
fn with(devices: &str) -> String {
    let good = "[{ ports = \"0x3e8\", mmio = { base = 0xe0000000, size = \"4 KiB\" }, interrupt = 5 }]";
    assert!(GOOD.contains(good));
    GOOD.replace(good, devices)
}

fn refused_device(device: &str, words: &[&str]) {
    refused_text(&with(&format!("[{device}]")), 23, words);
}

#[test]
fn parts_are_read() {
    let manifest = parse(GOOD).unwrap();
    let [one, two] = &manifest.domains[..] else { panic!() };
    assert_eq!(one.devices.len(), 2);
    assert_eq!(one.devices[0].name.as_deref(), Some("com2"));
    let com2 = Device { ports: Some(PortRange { first: 0x2f8, count: 8 }), mmio: None, interrupt: Some(3) };
    assert_eq!(one.devices[0].device, com2);
    let screen = MmioRange { base: 0xfd00_0000, bytes: 16 << 20 };
    assert_eq!(one.devices[1].device, Device { mmio: Some(screen), ..Device::default() });
    assert_eq!(two.devices[0].name, None);
    assert_eq!(two.devices[0].device.ports, Some(PortRange { first: 0x3e8, count: 1 }));
    assert!(parse(&with("[]")).unwrap().domains[1].devices.is_empty());
}

#[test]
fn devices_may_be_tables_of_their_own() {
    let text = with("[]").replace(
        "devices = []\n",
        "[[domain.devices]]\nports = \"0x3e8\"\n\n[[domain.devices]]\ninterrupt = 5\n",
    );
    assert_eq!(parse(&text).unwrap().domains[1].devices.len(), 2);
    refused_text(&text.replace("interrupt = 5", ""), 26, &["without anything to assign"]);
}

/// What was meant is known: nothing else is said of the device.
#[test]
fn a_part_by_another_name() {
    refused_device("{ name = \"x\", irq = 5 }", &["did you mean `interrupt`?"]);
    refused_device("{ reg = { base = 0xe0000000, size = \"4 KiB\" } }", &["did you mean `mmio`?"]);
}

#[test]
fn malformed() {
    refused_device("{}", &["without anything to assign", "`ports`, `mmio` and `interrupt`"]);
    refused_device("{ name = \"x\" }", &["without anything to assign"]);
    refused_device("{ name = \"\", interrupt = 5 }", &["the device's name is empty"]);
    refused_device("{ ports = \"com2\" }", &["not a range of I/O ports", "\"0x2f8-0x2ff\""]);
    refused_device("{ ports = \"3e8-3ef\" }", &["hexadecimal", "did you mean ports = \"0x3e8-0x3ef\"?"]);
    refused_device("{ ports = \"0x3ef-0x3e8\" }", &["the last port 0x3e8 is below the first, 0x3ef"]);
    refused_device("{ ports = \"0xfff8-0x10000\" }", &["there is no I/O port 0x10000"]);
    refused_device("{ ports = \"0x0-0xffff\" }", &["all I/O ports that there are"]);
    refused_device("{ interrupt = 240 }", &["there is no interrupt 240", "0 to 239"]);
    refused_device("{ interrupt = -1 }", &["there is no interrupt -1"]);
    refused_device("{ interrupt = 0xffffffffff }", &["there is no interrupt 1099511627775"]);
    refused_device("{ mmio = { base = -1, size = \"4 KiB\" } }", &["not a physical address", "`base`"]);
    refused_device("{ mmio = { base = 0xe0000000, size = \"4k\" } }", &["not a size", "`size`"]);
    refused_device("{ mmio = { base = 0xe0000000, size = \"0 KiB\" } }", &["whole pages"]);
    refused_device("{ mmio = { base = 0xe0000000, size = \"2 KiB\" } }", &["whole pages", "0x1000"]);
    refused_device("{ mmio = { base = 0xe0000800, size = \"4 KiB\" } }", &["whole pages", "0x1000"]);
    let beyond = "{ mmio = { base = 0x400000000000, size = \"4 KiB\" } }";
    refused_device(beyond, &["beyond the highest address, 0x3fffffffffff"]);
}

/// Each row of the tables, with what is there.
#[test]
fn reserved() {
    for row in RESERVED_PORTS {
        let what = row.what.trim_start_matches("the ");
        refused_device(&format!("{{ ports = \"{:#x}\" }}", row.last), &["cannot be assigned", what]);
        refused_device(&format!("{{ ports = \"{0:#x}-{0:#x}\" }}", row.first), &["cannot be assigned", what]);
    }
    for row in RESERVED_MMIO {
        let device = format!("{{ mmio = {{ base = {:#x}, size = \"4 KiB\" }} }}", row.first);
        refused_device(&device, &["cannot be assigned", row.what]);
    }
    for row in RESERVED_INTERRUPTS {
        refused_device(&format!("{{ interrupt = {} }}", row.last), &["cannot be assigned", row.what]);
    }
    refused_device("{ ports = \"0x300-0x400\" }", &["cannot be assigned", "COM1"]);
    refused_device("{ ports = \"0xf4-0xf7\" }", &["debug-exit device"]);
}

#[test]
fn in_memory() {
    let own = "{ mmio = { base = 0x7ff000, size = \"8 KiB\" } }";
    refused_device(own, &["where the domain has its memory", "the domain's memory, 0x0-0x7fffff"]);
    let anybodys = "{ mmio = { base = 0x10000000, size = \"4 KiB\" } }";
    refused_device(anybodys, &["where the machine has its memory", "0x0-0x1fffffff"]);
    assert!(parse(&with("[{ mmio = { base = 0x20000000, size = \"4 KiB\" } }]")).is_ok());
}

/// Both places are shown, be the other one in the same domain or in another.
#[test]
fn twice() {
    let first_is = |owner: &str| format!("first assigned here, to domain `{owner}`");
    let com2 = "{ ports = \"0x2ff-0x310\" }";
    refused_device(com2, &["I/O ports in common: 0x2ff", &first_is("one"), "13 |"]);
    let screen = "{ mmio = { base = 0xfdfff000, size = \"1 MiB\" } }";
    refused_device(screen, &["MMIO in common: 0xfdfff000-0xfdffffff", &first_is("one"), "14 |"]);
    refused_device("{ interrupt = 3 }", &["two devices have interrupt 3", &first_is("one"), "13 |"]);
    refused_device("{ interrupt = 7 }, { interrupt = 7 }", &["interrupt 7", &first_is("two")]);
    let names = "{ name = \"x\", interrupt = 7 }, { name = \"x\", interrupt = 10 }";
    refused_device(names, &["two devices of a domain are called `x`", "first used here"]);
    // A name is the domain's own business.
    assert!(parse(&with("[{ name = \"com2\", interrupt = 7 }]")).is_ok());
}

#[test]
fn too_many() {
    let ports = |count: u32| {
        let devices: Vec<_> =
            (0..count).map(|number| format!("{{ ports = \"{:#x}\" }}", 0x1000 + number)).collect();
        devices.join(", ")
    };
    assert!(parse(&with(&format!("[{}]", ports(8)))).unwrap().compile(None).is_ok());
    refused_device(&ports(9), &["more than 8 devices in domain `two`", "one device too many"]);
}
