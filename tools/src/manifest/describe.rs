//! A checked manifest in words: what each guest gets, with the numbers by which it knows its devices and channels.

use std::fmt;

use system_image::CrashPolicy;

use super::values::{Addresses, Ports, Size};
use super::{Manifest, ManifestDevice, ManifestDomain};
use crate::elf_file::shown_path;

/// Prints all of it.
pub struct Description<'m>(pub &'m Manifest);

impl fmt::Display for Description<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(manifest) = self;
        writeln!(formatter, "system \"{}\"", manifest.name)?;
        for (number, domain) in manifest.domains.iter().enumerate() {
            writeln!(formatter, "\ndomain {number} \"{}\"", domain.name)?;
            describe_domain(formatter, domain)?;
            for (channel, peer, peer_channel, name) in manifest.channels_of(number) {
                let peer = &manifest.domains[peer].name;
                let title = format!("channel {channel}");
                writeln!(formatter, "  {title:<10}{name}to \"{peer}\", its channel {peer_channel}")?;
            }
        }
        writeln!(formatter)?;
        describe_cpus(formatter, manifest)?;
        let needed: u64 = manifest.domains.iter().map(ManifestDomain::needed_bytes).sum();
        write!(
            formatter,
            "memory {} MiB, shadow tables and second copies of images included",
            needed.div_ceil(1 << 20)
        )
    }
}

fn describe_domain(formatter: &mut fmt::Formatter<'_>, domain: &ManifestDomain) -> fmt::Result {
    let size = domain.elf.loaded().len().div_ceil(1 << 10);
    writeln!(formatter, "  image     {} ({size} KiB)", shown_path(&domain.elf.path))?;
    if !domain.cmdline.is_empty() {
        writeln!(formatter, "  cmdline   {}", domain.cmdline)?;
    }
    writeln!(formatter, "  memory    {}", Size(domain.memory_bytes))?;
    for (number, vcpu) in domain.vcpus.iter().enumerate() {
        let title = format!("vCPU {number}");
        writeln!(formatter, "  {title:<10}on CPU {}, priority {}", vcpu.cpu, vcpu.priority)?;
    }
    writeln!(formatter, "  console   {}", if domain.console { "yes" } else { "no" })?;
    let crash = match domain.crash_policy {
        CrashPolicy::Stop => "it stops, the others go on".into(),
        CrashPolicy::HaltSystem => "the whole system halts".into(),
        CrashPolicy::Restart { times, within_seconds } => {
            format!("it restarts, up to {times} times in {within_seconds} s; then it stops")
        }
    };
    writeln!(formatter, "  on crash  {crash}")?;
    for (number, device) in domain.devices.iter().enumerate() {
        let title = format!("device {number}");
        writeln!(formatter, "  {title:<10}{}", Parts(device))?;
    }
    Ok(())
}

/// Prints a device's name, if it has one, and what it consists of.
struct Parts<'d>(&'d ManifestDevice);

impl fmt::Display for Parts<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let device = &self.0.device;
        let mut parts = Vec::new();
        parts.extend(device.ports.map(|ports| format!("ports {}", Ports(ports))));
        parts.extend(device.mmio.map(|mmio| format!("MMIO {} ({})", Addresses(mmio), Size(mmio.bytes))));
        parts.extend(device.interrupt.map(|interrupt| format!("interrupt {interrupt}")));
        write!(formatter, "{}{}", quoted(self.0.name.as_deref()), parts.join(", "))
    }
}

/// A name and a space, or nothing.
fn quoted(name: Option<&str>) -> String {
    name.map_or_else(String::new, |name| format!("\"{name}\" "))
}

fn describe_cpus(formatter: &mut fmt::Formatter<'_>, manifest: &Manifest) -> fmt::Result {
    let mut placed: Vec<(u32, u8, &str)> = Vec::new();
    for domain in &manifest.domains {
        placed.extend(domain.vcpus.iter().map(|vcpu| (vcpu.cpu, vcpu.priority, domain.name.as_str())));
    }
    // Those that go first come first; those of equal priority stay in the order of the file.
    placed.sort_by_key(|&(cpu, priority, _)| (cpu, u8::MAX - priority));
    for on_one_cpu in placed.chunk_by(|one, other| one.0 == other.0) {
        let names: Vec<_> =
            on_one_cpu.iter().map(|(_, priority, name)| format!("\"{name}\" ({priority})")).collect();
        writeln!(formatter, "CPU {}: {}", on_one_cpu[0].0, names.join(", "))?;
    }
    Ok(())
}

impl Manifest {
    /// The channels of one domain: number, the peer's place, the peer's number, and the name with a space.
    fn channels_of(&self, domain: usize) -> Vec<(usize, usize, usize, String)> {
        let mut counts = vec![0; self.domains.len()];
        let mut channels = Vec::new();
        for channel in &self.channels {
            let [one, other] = channel.between.map(usize::from);
            for (here, there) in [(one, other), (other, one)] {
                if here == domain {
                    let name = quoted(channel.name.as_deref());
                    channels.push((counts[here], there, counts[there], name));
                }
            }
            counts[one] += 1;
            counts[other] += 1;
        }
        channels
    }
}
