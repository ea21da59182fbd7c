//! Assigned devices: each by itself, then that no two have anything in common.

use std::ops::Range;

use system_image::{
    Device, ImageError, MmioRange, PortRange, layout, reserved_interrupt, reserved_mmio, reserved_ports,
};
use toml::Spanned;

use super::{check_duplicates, check_name, collect, memory};
use crate::machine::Machine;
use crate::manifest::ManifestDevice;
use crate::manifest::report::Problem;
use crate::manifest::schema::{self, Document, Domain, Number};
use crate::manifest::values::{Addresses, BadPorts, Ports, Size, parse_ports, parse_size};

/// Why what is reserved is so.
const RESERVED_NOTE: &str = "a guest that has it could stop or subvert the whole machine; \
                             see \"What is never assigned\" in configs/README.md";

/// Checks the devices of one domain; its memory is `None` if that was wrong itself.
pub(super) fn check(
    domain: &Domain,
    memory_bytes: Option<u64>,
    machine: &Machine,
    problems: &mut Vec<Problem>,
) -> Vec<ManifestDevice> {
    if let Some(extra) = domain.devices.get(layout::MAX_DEVICES) {
        let title =
            format!("more than {} devices in domain `{}`", layout::MAX_DEVICES, domain.name.get_ref());
        problems.push(Problem::new(title, extra.span(), "one device too many"));
    }
    for name in domain.devices.iter().filter_map(|device| device.get_ref().name.as_ref()) {
        check_name("the device's name", name, problems);
    }
    let names = domain.devices.iter().filter_map(|device| device.get_ref().name.as_ref());
    check_duplicates("devices of a domain", names, problems);
    let mut devices = Vec::new();
    for device in &domain.devices {
        let before = problems.len();
        let parts = Parts::read(device.get_ref(), problems);
        if problems.len() == before && parts.device() == Device::default() {
            problems.push(
                Problem::new("a device without anything to assign", device.span(), "this device")
                    .help("give it at least one of `ports`, `mmio` and `interrupt`"),
            );
        }
        parts.check(domain, memory_bytes, machine, problems);
        let name = device.get_ref().name.as_ref().map(|name| name.get_ref().clone());
        devices.push(ManifestDevice { name, device: parts.device() });
    }
    devices
}

/// Reports what two devices of the file both have, be they of one domain or of two.
pub(super) fn check_apart(document: &Document, problems: &mut Vec<Problem>) {
    let mut earlier: Vec<(&str, Parts)> = Vec::new();
    for domain in &document.domains {
        for device in &domain.devices {
            // What cannot be read was reported when its domain was checked.
            let parts = Parts::read(device.get_ref(), &mut Vec::new());
            for (owner, other) in &earlier {
                problems.extend(parts.shared_with(other, owner));
            }
            earlier.push((domain.name.get_ref(), parts));
        }
    }
}

/// A device's parts as numbers that fit their types, each with its place.
struct Parts {
    ports: Option<Spanned<PortRange>>,
    mmio: Option<Spanned<MmioRange>>,
    interrupt: Option<Spanned<u32>>,
}

impl Parts {
    fn read(device: &schema::Device, problems: &mut Vec<Problem>) -> Self {
        let ports = device.ports.as_ref().map(ports);
        let mmio = device.mmio.as_ref().map(mmio);
        let interrupt = device.interrupt.as_ref().map(interrupt);
        Self {
            ports: ports.and_then(|ports| collect(ports, problems)),
            mmio: mmio.and_then(|mmio| collect(mmio, problems)),
            interrupt: interrupt.and_then(|interrupt| collect(interrupt, problems)),
        }
    }

    fn device(&self) -> Device {
        Device {
            ports: self.ports.as_ref().map(|ports| *ports.get_ref()),
            mmio: self.mmio.as_ref().map(|mmio| *mmio.get_ref()),
            interrupt: self.interrupt.as_ref().map(|interrupt| *interrupt.get_ref()),
        }
    }

    /// Asks for each part alone, so that each gets its answer.
    fn check(
        &self,
        domain: &Domain,
        memory_bytes: Option<u64>,
        machine: &Machine,
        problems: &mut Vec<Problem>,
    ) {
        let whole = self.device();
        let verdict = |part: Device| part.check(memory_bytes.unwrap_or(0)).err();
        if let Some(ports) = &self.ports
            && let Some(error) = verdict(Device { ports: whole.ports, ..Device::default() })
        {
            problems.push(bad_ports(error, ports));
        }
        if let Some(mmio) = &self.mmio {
            let error = verdict(Device { mmio: whole.mmio, ..Device::default() });
            problems.extend(match error {
                Some(error) => Some(bad_mmio(error, mmio, domain)),
                None => mmio_in_ram(mmio, machine),
            });
        }
        if let Some(interrupt) = &self.interrupt
            && let Some(error) = verdict(Device { interrupt: whole.interrupt, ..Device::default() })
        {
            problems.push(bad_interrupt(error, interrupt));
        }
    }

    fn shared_with(&self, other: &Self, owner: &str) -> Vec<Problem> {
        let first = format!("first assigned here, to domain `{owner}`");
        let both = |title: String, here: Range<usize>, key: &str, there: Range<usize>| {
            Problem::new(title, here, format!("this `{key}` was assigned before")).and(there, first.as_str())
        };
        let mut found = Vec::new();
        if let (Some(here), Some(there)) = (&self.ports, &other.ports)
            && here.get_ref().overlaps(*there.get_ref())
        {
            let common = common_ports(*here.get_ref(), *there.get_ref());
            let title = format!("two devices have I/O ports in common: {}", Ports(common));
            found.push(both(title, here.span(), "ports", there.span()));
        }
        if let (Some(here), Some(there)) = (&self.mmio, &other.mmio)
            && here.get_ref().overlaps(*there.get_ref())
        {
            let common = common_addresses(*here.get_ref(), *there.get_ref());
            let title = format!("two devices have MMIO in common: {}", Addresses(common));
            found.push(both(title, here.span(), "mmio", there.span()));
        }
        if let (Some(here), Some(there)) = (&self.interrupt, &other.interrupt)
            && here.get_ref() == there.get_ref()
        {
            let title = format!("two devices have interrupt {}", here.get_ref());
            let problem = both(title, here.span(), "interrupt", there.span());
            found.push(problem.note(
                "a shared interrupt would let one domain hold up the other; \
                 devices that share a line can only go to one domain, as one device",
            ));
        }
        found
    }
}

fn common_ports(one: PortRange, other: PortRange) -> PortRange {
    let (first, end) = (one.first.max(other.first), one.end().min(other.end()));
    PortRange { first, count: end.saturating_sub(first.into()) as u16 }
}

fn common_addresses(one: MmioRange, other: MmioRange) -> MmioRange {
    let (base, end) = (one.base.max(other.base), one.end().min(other.end()));
    MmioRange { base, bytes: end.saturating_sub(base) }
}

fn ports(text: &Spanned<String>) -> Result<Spanned<PortRange>, Problem> {
    let refuse = |title: String| Problem::new(title, text.span(), "this `ports`");
    let example = "write the first and the last port: ports = \"0x2f8-0x2ff\"";
    match parse_ports(text.get_ref()) {
        Ok(range) => Ok(Spanned::new(text.span(), range)),
        Err(BadPorts::NotNumbers) => Err(refuse("not a range of I/O ports".into()).help(example)),
        Err(BadPorts::NotHexadecimal(fixed)) => Err(refuse("I/O ports are written in hexadecimal".into())
            .help(format!("did you mean ports = \"{fixed}\"?"))),
        Err(BadPorts::Backwards(first, last)) => {
            let title = format!("the last port {last:#x} is below the first, {first:#x}");
            Err(refuse(title).help(example))
        }
        Err(BadPorts::All) => Err(refuse("all I/O ports that there are".into()).note(RESERVED_NOTE)),
        Err(BadPorts::TooHigh(last)) => {
            Err(refuse(format!("there is no I/O port {last:#x}")).help("the last one is 0xffff"))
        }
    }
}

fn mmio(mmio: &Spanned<schema::Mmio>) -> Result<Spanned<MmioRange>, Problem> {
    let schema::Mmio { base, size } = mmio.get_ref();
    let address = u64::try_from(*base.get_ref()).map_err(|_| {
        Problem::new("not a physical address", base.span(), "this `base`")
            .help(format!("addresses go from 0 to {:#x}", layout::MAX_MMIO_END - 1))
    })?;
    let bytes = parse_size(size.get_ref()).ok_or_else(|| {
        Problem::new("not a size", size.span(), "this `size`")
            .help("write a multiple of 4 KiB such as \"4 KiB\" or \"16 MiB\"; units are KiB, MiB and GiB")
    })?;
    Ok(Spanned::new(mmio.span(), MmioRange { base: address, bytes }))
}

fn interrupt(number: &Number) -> Result<Spanned<u32>, Problem> {
    match u32::try_from(*number.get_ref()) {
        Ok(interrupt) => Ok(Spanned::new(number.span(), interrupt)),
        Err(_) => Err(no_such_interrupt(*number.get_ref(), number.span())),
    }
}

fn no_such_interrupt(number: i128, span: Range<usize>) -> Problem {
    let help = format!(
        "write the global system interrupt, from 0 to {}; that of an ISA device is its IRQ",
        layout::MAX_INTERRUPTS - 1
    );
    Problem::new(format!("there is no interrupt {number}"), span, "this `interrupt`").help(help)
}

fn bad_ports(error: ImageError, ports: &Spanned<PortRange>) -> Problem {
    let range = *ports.get_ref();
    match (error, reserved_ports(range)) {
        (ImageError::ReservedPorts, Some(row)) => {
            let what = row.what.strip_prefix("the ").unwrap_or(row.what);
            let row = PortRange { first: row.first as u16, count: (row.last - row.first + 1) as u16 };
            let noun = if range.count == 1 { "port" } else { "ports" };
            let title = format!("I/O {noun} {} cannot be assigned", Ports(range));
            let label = format!("has ports of the {what}, {}", Ports(row));
            Problem::new(title, ports.span(), label).note(RESERVED_NOTE)
        }
        _ => Problem::new(error.message(), ports.span(), "this `ports`"),
    }
}

fn bad_mmio(error: ImageError, mmio: &Spanned<MmioRange>, domain: &Domain) -> Problem {
    let (range, span) = (*mmio.get_ref(), mmio.span());
    match (error, reserved_mmio(range)) {
        (ImageError::BadMmio, _) if range.end() > layout::MAX_MMIO_END => {
            let title = format!("MMIO ends beyond the highest address, {:#x}", layout::MAX_MMIO_END - 1);
            Problem::new(title, span, "this `mmio`")
        }
        (ImageError::BadMmio, _) => {
            Problem::new("MMIO must be one or more whole pages of 4 KiB", span, "this `mmio`").help(format!(
                "make `base` a multiple of {:#x} and `size` a multiple of \"{}\"; \
                 a page is assigned as a whole, whatever else is in it",
                layout::MMIO_UNIT,
                Size(layout::MMIO_UNIT)
            ))
        }
        (ImageError::MmioInMemory, _) => Problem::new(
            "MMIO lies where the domain has its memory",
            span,
            format!("at {}", Addresses(range)),
        )
        .and(domain.memory.span(), format!("the domain's memory, {}", memory_addresses(domain)))
        .note("a domain has its memory from address 0 on, and finds devices at their own addresses"),
        (ImageError::ReservedMmio, Some(row)) => {
            let title = format!("MMIO {} cannot be assigned", Addresses(range));
            let row_range = MmioRange { base: row.first.into(), bytes: u64::from(row.last - row.first) + 1 };
            let label = format!("has addresses of {}, {}", row.what, Addresses(row_range));
            Problem::new(title, span, label).note(RESERVED_NOTE)
        }
        _ => Problem::new(error.message(), span, "this `mmio`"),
    }
}

fn memory_addresses(domain: &Domain) -> Addresses {
    Addresses(MmioRange { base: 0, bytes: memory(&domain.memory).unwrap_or(0) })
}

/// Where the machine has memory, there is no device, but perhaps another domain.
fn mmio_in_ram(mmio: &Spanned<MmioRange>, machine: &Machine) -> Option<Problem> {
    let low = MmioRange { base: 0, bytes: machine.low_memory_bytes() };
    mmio.get_ref().overlaps(low).then(|| {
        let title = "MMIO lies where the machine has its memory";
        let label = format!("the machine has memory at {}", Addresses(low));
        Problem::new(title, mmio.span(), label)
    })
}

fn bad_interrupt(error: ImageError, interrupt: &Spanned<u32>) -> Problem {
    let number = *interrupt.get_ref();
    match (error, reserved_interrupt(number)) {
        (ImageError::BadInterrupt, _) => no_such_interrupt(number.into(), interrupt.span()),
        (ImageError::ReservedInterrupt, Some(row)) => {
            let title = format!("interrupt {number} cannot be assigned");
            Problem::new(title, interrupt.span(), format!("belongs to {}", row.what)).note(RESERVED_NOTE)
        }
        _ => Problem::new(error.message(), interrupt.span(), "this `interrupt`"),
    }
}
