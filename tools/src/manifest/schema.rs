//! The shape of `system.toml`: which keys each table has, and what is read from them.
//!
//! Keys are data instead of serde's attributes: so all mistakes of shape are found in one go, each is told with an
//! example of how to do it right, and a test compares `configs/README.md` with these tables.
//! Spans are kept wherever a check may have to point.

use toml::Spanned;

/// A kind of table.
#[derive(Debug)]
pub(super) struct Shape {
    /// What it is called in messages.
    pub(super) title: &'static str,
    pub(super) keys: &'static [Key],
}

/// A key of a table.
#[derive(Debug)]
pub(super) struct Key {
    pub(super) name: &'static str,
    pub(super) form: Form,
    pub(super) need: Need,
    /// How to write it, for those who got it wrong.
    pub(super) example: &'static str,
    /// What others call it.
    pub(super) aliases: &'static [&'static str],
}

/// Type of a key's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    Text,
    Number,
    Truth,
    List,
    Table,
    /// `[[name]]`, any number of times.
    Tables,
    TextOrTable,
}

/// Whether a key may be left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Need {
    Required,
    Optional,
}

const fn required(name: &'static str, form: Form, example: &'static str) -> Key {
    Key { name, form, need: Need::Required, example, aliases: &[] }
}

const fn optional(name: &'static str, form: Form, example: &'static str) -> Key {
    Key { name, form, need: Need::Optional, example, aliases: &[] }
}

impl Key {
    const fn called(self, aliases: &'static [&'static str]) -> Self {
        Self { aliases, ..self }
    }
}

pub(super) const FILE: Shape = Shape {
    title: "the file",
    keys: &[
        required("system", Form::Table, "[system]"),
        required("domain", Form::Tables, "[[domain]]").called(&["domains", "vm", "vms", "cell", "guest"]),
        optional("channel", Form::Tables, "[[channel]]").called(&["channels", "ivshmem", "ipc", "doorbell"]),
    ],
};

pub(super) const SYSTEM: Shape =
    Shape { title: "`[system]`", keys: &[required("name", Form::Text, "name = \"cabin\"")] };

pub(super) const DOMAIN: Shape = Shape {
    title: "`[[domain]]`",
    keys: &[
        required("name", Form::Text, "name = \"rt\"").called(&["id", "label"]),
        required("image", Form::Text, "image = \"../target/x86_64-unknown-none/release/guest-demo-kernel\"")
            .called(&["kernel", "elf", "guest"]),
        required("memory", Form::Text, "memory = \"64 MiB\"").called(&["mem", "ram", "memory_mib", "size"]),
        required("vcpus", Form::List, "vcpus = [{ cpu = 0, priority = 16 }]").called(&["cpus", "smp"]),
        optional("cmdline", Form::Text, "cmdline = \"run=shell\"").called(&[
            "command_line",
            "args",
            "bootargs",
        ]),
        optional("console", Form::Truth, "console = true"),
        optional(
            "devices",
            Form::List,
            "devices = [{ name = \"com2\", ports = \"0x2f8-0x2ff\", interrupt = 3 }]",
        )
        .called(&["device", "devs"]),
        optional("on_crash", Form::TextOrTable, "on_crash = \"stop\"").called(&["restart", "crash"]),
    ],
};

pub(super) const VCPU: Shape = Shape {
    title: "a virtual CPU",
    keys: &[
        required("cpu", Form::Number, "{ cpu = 0, priority = 16 }").called(&["core", "pcpu", "affinity"]),
        optional("priority", Form::Number, "{ cpu = 0, priority = 16 }").called(&["prio"]),
    ],
};

pub(super) const DEVICE: Shape = Shape {
    title: "a device",
    keys: &[
        optional("name", Form::Text, "name = \"com2\"").called(&["id", "label"]),
        optional("ports", Form::Text, "ports = \"0x2f8-0x2ff\"")
            .called(&["io", "ioports", "io_ports", "pio"]),
        optional("mmio", Form::Table, "mmio = { base = 0xfd000000, size = \"16 MiB\" }").called(&[
            "reg",
            "memory",
            "mem",
            "mem_regions",
        ]),
        optional("interrupt", Form::Number, "interrupt = 3").called(&["irq", "interrupts", "gsi", "irqs"]),
    ],
};

pub(super) const MMIO: Shape = Shape {
    title: "`mmio`",
    keys: &[
        required("base", Form::Number, "mmio = { base = 0xfd000000, size = \"16 MiB\" }").called(&[
            "pa",
            "address",
            "start",
            "phys_start",
        ]),
        required("size", Form::Text, "mmio = { base = 0xfd000000, size = \"16 MiB\" }")
            .called(&["length", "len", "bytes"]),
    ],
};

pub(super) const ON_CRASH: Shape =
    Shape { title: "`on_crash`", keys: &[required("restart", Form::Table, RESTART_EXAMPLE)] };

pub(super) const RESTART: Shape = Shape {
    title: "`restart`",
    keys: &[
        required("times", Form::Number, RESTART_EXAMPLE).called(&["count", "limit", "max"]),
        required("within_s", Form::Number, RESTART_EXAMPLE).called(&["within", "seconds", "window"]),
    ],
};

pub(super) const CHANNEL: Shape = Shape {
    title: "`[[channel]]`",
    keys: &[
        optional("name", Form::Text, "name = \"frames\"").called(&["id", "label"]),
        required("between", Form::List, "between = [\"gp\", \"rt\"]").called(&["domains", "peers", "ends"]),
    ],
};

/// All of them; for the test of the reference.
#[cfg(test)]
pub(super) const SHAPES: [&Shape; 9] =
    [&FILE, &SYSTEM, &DOMAIN, &VCPU, &DEVICE, &MMIO, &ON_CRASH, &RESTART, &CHANNEL];

pub(super) const RESTART_EXAMPLE: &str = "on_crash = { restart = { times = 3, within_s = 10 } }";

/// A number of the file. Anything that TOML can express is read; checks say what fits.
pub(super) type Number = Spanned<i128>;

/// The whole file.
pub(super) struct Document {
    pub(super) system: Option<System>,
    pub(super) domains: Vec<Domain>,
    pub(super) channels: Vec<Channel>,
    /// Whether all domains could be read, so that missing ones are really missing.
    pub(super) has_all_domains: bool,
}

/// `[system]`
pub(super) struct System {
    pub(super) name: Spanned<String>,
}

/// `[[domain]]`
pub(super) struct Domain {
    pub(super) name: Spanned<String>,
    /// Path of the guest ELF, relative to the file.
    pub(super) image: Spanned<String>,
    /// A size such as `"64 MiB"`.
    pub(super) memory: Spanned<String>,
    pub(super) vcpus: Spanned<Vec<Vcpu>>,
    pub(super) cmdline: Option<Spanned<String>>,
    pub(super) console: bool,
    pub(super) on_crash: OnCrash,
    pub(super) devices: Vec<Spanned<Device>>,
}

/// One virtual CPU.
pub(super) struct Vcpu {
    pub(super) cpu: Number,
    pub(super) priority: Option<Number>,
}

/// `"stop"`, `"halt-system"` or `{ restart = { times = 3, within_s = 10 } }`
pub(super) enum OnCrash {
    /// Not written.
    Default,
    Text(Spanned<String>),
    Restart {
        times: Number,
        within_s: Number,
    },
}

/// What a domain alone drives.
pub(super) struct Device {
    pub(super) name: Option<Spanned<String>>,
    /// `"0x2f8-0x2ff"`, both included.
    pub(super) ports: Option<Spanned<String>>,
    pub(super) mmio: Option<Spanned<Mmio>>,
    pub(super) interrupt: Option<Number>,
}

/// A device's registers in the physical address space.
pub(super) struct Mmio {
    pub(super) base: Number,
    pub(super) size: Spanned<String>,
}

/// `[[channel]]`
pub(super) struct Channel {
    pub(super) name: Option<Spanned<String>>,
    /// Names of domains; a check says that they are two.
    pub(super) between: Spanned<Vec<Spanned<String>>>,
}
