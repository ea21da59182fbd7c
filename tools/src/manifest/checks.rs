//! What the shape of a manifest cannot say: sizes, numbers and names that fit the machine and each other.
//!
//! Rules of the system image are asked of `system_image`, which keeps them for the hypervisor too; here they get
//! places and words. In addition the host knows what the hypervisor of this version does not run and how large the
//! machine is.

mod channels;
mod devices;

use std::collections::HashMap;
use std::path::Path;

use system_image::{CrashPolicy, VcpuPlacement, layout, limits};
use toml::Spanned;

use super::report::Problem;
use super::schema::{Document, Domain, Number, OnCrash, RESTART_EXAMPLE, Vcpu};
use super::values::{Size, parse_size};
use super::{DEFAULT_PRIORITY, Manifest, ManifestDomain, Unreadable, read_elf, suggest};
use crate::elf_file::ElfFile;
use crate::machine::{Firmware, Machine};
use crate::workspace::KERNEL_TARGET;

/// Memory left for firmware, boot loader and hypervisor. UEFI keeps more, and leaves holes.
const fn reserved_mib(firmware: Firmware) -> u64 {
    match firmware {
        Firmware::Bios => 32,
        Firmware::Uefi => 96,
    }
}

/// Checks everything and adds all problems, not only the first. `None` only if there are problems.
pub(super) fn check(
    document: &Document,
    folder: &Path,
    machine: &Machine,
    problems: &mut Vec<Problem>,
) -> Option<Manifest> {
    if let Some(system) = &document.system {
        check_name("the system's name", &system.name, problems);
        if document.domains.is_empty() && document.has_all_domains {
            let title = "a system without a domain";
            problems.push(Problem::new(title, system.name.span(), "this system has no `[[domain]]`"));
        }
    }
    if let Some(extra) = document.domains.get(limits::MAX_DOMAINS) {
        let title = format!("more than {} domains", limits::MAX_DOMAINS);
        let label = format!("this version of the hypervisor runs {}", limits::MAX_DOMAINS);
        problems.push(Problem::new(title, extra.name.span(), label));
    }
    let mut domains = Vec::new();
    for domain in &document.domains {
        domains.extend(check_domain(domain, folder, machine, problems));
    }
    let names = document.domains.iter().map(|domain| &domain.name);
    check_duplicates("domains", names, problems);
    let images_bytes = domains.iter().map(|domain| domain.elf.memory_bytes());
    check_total_memory(document, images_bytes.fold(0, u64::saturating_add), machine, problems);
    devices::check_apart(document, problems);
    let channels = channels::check(document, problems);
    let name = document.system.as_ref()?.name.get_ref().clone();
    Some(Manifest { name, domains, channels })
}

/// `None` only if a problem was reported.
fn check_domain(
    domain: &Domain,
    folder: &Path,
    machine: &Machine,
    problems: &mut Vec<Problem>,
) -> Option<ManifestDomain> {
    check_name("the domain's name", &domain.name, problems);
    let memory_bytes = collect(memory(&domain.memory), problems);
    let vcpus = vcpus(domain, machine, problems);
    let crash_policy = crash_policy(&domain.on_crash, problems);
    let cmdline = domain.cmdline.as_ref().map_or("", |cmdline| cmdline.get_ref());
    if let Some(cmdline) = &domain.cmdline {
        check_cmdline(cmdline, problems);
    }
    let devices = devices::check(domain, memory_bytes, machine, problems);
    let elf = collect(image(domain, folder), problems);
    if let (Some(elf), Some(bytes)) = (&elf, memory_bytes)
        && elf.memory_bytes() > bytes
    {
        let title = "the guest is larger than its domain's memory";
        let needed = format!("takes {} MiB when loaded", elf.memory_bytes().div_ceil(1 << 20));
        problems.push(
            Problem::new(title, domain.memory.span(), "this `memory`").and(domain.image.span(), needed),
        );
    }
    Some(ManifestDomain {
        name: domain.name.get_ref().clone(),
        elf: elf?,
        cmdline: cmdline.to_owned(),
        memory_bytes: memory_bytes?,
        vcpus: vcpus?,
        console: domain.console,
        crash_policy: crash_policy?,
        devices,
    })
}

fn image(domain: &Domain, folder: &Path) -> Result<ElfFile, Problem> {
    let path = folder.join(domain.image.get_ref());
    let shown = path.display().to_string();
    let refuse = |title: &str| Problem::new(title, domain.image.span(), "this `image`");
    read_elf(path).map_err(|reason| match reason {
        Unreadable::NoElf => refuse("the guest image is not an ELF file").note(shown),
        Unreadable::NoFile => refuse("the guest image is not a file").note(shown),
        Unreadable::Error(error) => {
            let problem = refuse("the guest image cannot be read").note(format!("{shown}: {error}"));
            problem.help(if shown.contains(KERNEL_TARGET) {
                "`cargo pv build` builds the kernels of this workspace"
            } else {
                "paths are relative to the folder of this file"
            })
        }
    })
}

fn check_name(what: &str, name: &Spanned<String>, problems: &mut Vec<Problem>) {
    let text = name.get_ref();
    let reason = if text.is_empty() {
        "is empty"
    } else if text.len() > layout::NAME_SIZE {
        "is longer than 32 bytes"
    } else if text.bytes().any(|byte| byte.is_ascii_control()) {
        "has control characters"
    } else {
        return;
    };
    problems.push(Problem::new(format!("{what} {reason}"), name.span(), "this `name`"));
}

fn check_cmdline(cmdline: &Spanned<String>, problems: &mut Vec<Problem>) {
    let text = cmdline.get_ref();
    let reason = if text.len() as u64 > layout::MAX_CMDLINE_SIZE {
        "is longer than 4096 bytes"
    } else if text.bytes().any(|byte| byte.is_ascii_control()) {
        "has control characters"
    } else {
        return;
    };
    problems.push(Problem::new(format!("the command line {reason}"), cmdline.span(), "this `cmdline`"));
}

/// Reports names that were used before among `names`.
fn check_duplicates<'n>(
    what: &str,
    names: impl Iterator<Item = &'n Spanned<String>>,
    problems: &mut Vec<Problem>,
) {
    let mut known = HashMap::new();
    for name in names {
        let first = known.entry(name.get_ref()).or_insert_with(|| name.span());
        if *first != name.span() {
            let title = format!("two {what} are called `{}`", name.get_ref());
            let problem = Problem::new(title, name.span(), "this `name` was used before");
            problems.push(problem.and(first.clone(), "first used here"));
        }
    }
}

/// Points at all sizes, the largest above all.
fn check_total_memory(
    document: &Document,
    images_bytes: u64,
    machine: &Machine,
    problems: &mut Vec<Problem>,
) {
    let sizes: Vec<(u64, &Domain)> =
        document.domains.iter().filter_map(|domain| Some((memory(&domain.memory).ok()?, domain))).collect();
    let needed = sizes
        .iter()
        .map(|(bytes, _)| limits::needed_bytes(*bytes, 0))
        .fold(images_bytes, u64::saturating_add);
    let reserved_mib = reserved_mib(machine.firmware);
    let available_mib = machine.memory_mib.saturating_sub(reserved_mib);
    let Some((_, largest)) =
        sizes.iter().max_by_key(|(bytes, _)| *bytes).filter(|_| needed > available_mib << 20)
    else {
        return;
    };
    let needed_mib = needed.div_ceil(1 << 20);
    let title = format!("the domains need {needed_mib} MiB, the machine has {available_mib} MiB for them");
    let label = |domain: &Domain| format!("for domain `{}`", domain.name.get_ref());
    let mut problem = Problem::new(title, largest.memory.span(), label(largest));
    for (_, domain) in sizes.iter().filter(|(_, domain)| !std::ptr::eq(*domain, *largest)) {
        problem = problem.and(domain.memory.span(), label(domain));
    }
    let note = format!(
        "each domain needs a 32nd of its memory more for shadow tables, 4 MiB at least, and room for its image; \
         {reserved_mib} MiB of the machine's {} MiB belong to firmware, boot loader and hypervisor",
        machine.memory_mib
    );
    let enough = needed_mib + reserved_mib;
    let help = format!("make domains smaller, or the machine larger: --memory {enough}");
    problems.push(problem.note(note).help(help));
}

/// `"64 MiB"` in bytes.
fn memory(text: &Spanned<String>) -> Result<u64, Problem> {
    let refuse = |title: &str| Problem::new(title, text.span(), "this `memory`");
    let range = "write a multiple of 2 MiB from \"8 MiB\" to \"64 GiB\"";
    let bytes = parse_size(text.get_ref())
        .ok_or_else(|| refuse("not a size").help(format!("{range}; units are KiB, MiB and GiB")))?;
    if !(layout::MIN_MEMORY..=layout::MAX_MEMORY).contains(&bytes) {
        return Err(refuse("the memory of a domain must be from 8 MiB to 64 GiB").help(range));
    }
    if !bytes.is_multiple_of(layout::MEMORY_UNIT) {
        let (less, more) = (bytes / layout::MEMORY_UNIT, bytes.div_ceil(layout::MEMORY_UNIT));
        let (less, more) = (Size(less * layout::MEMORY_UNIT), Size(more * layout::MEMORY_UNIT));
        let problem = refuse("the memory of a domain must be a multiple of 2 MiB");
        return Err(problem.help(format!("write \"{less}\" or \"{more}\"")));
    }
    Ok(bytes)
}

fn vcpus(domain: &Domain, machine: &Machine, problems: &mut Vec<Problem>) -> Option<Vec<VcpuPlacement>> {
    let vcpus = domain.vcpus.get_ref();
    let report = if vcpus.is_empty() {
        Some(Problem::new("a domain without a virtual CPU", domain.vcpus.span(), "these `vcpus`"))
    } else if vcpus.len() > limits::MAX_VCPUS {
        let title = format!("a domain with {} virtual CPUs", vcpus.len());
        let label = "this version of the hypervisor runs one virtual CPU in each domain";
        Some(Problem::new(title, domain.vcpus.span(), label))
    } else {
        None
    };
    problems.extend(report.map(|problem| problem.help("for example: vcpus = [{ cpu = 0, priority = 16 }]")));
    let placements: Vec<_> = vcpus.iter().map(|vcpu| placement(vcpu, machine, problems)).collect();
    placements.into_iter().collect()
}

fn placement(vcpu: &Vcpu, machine: &Machine, problems: &mut Vec<Problem>) -> Option<VcpuPlacement> {
    let cpu = u32::try_from(*vcpu.cpu.get_ref()).ok().filter(|cpu| *cpu < machine.cpus);
    if cpu.is_none() {
        problems.push(no_such_cpu(&vcpu.cpu, machine));
    }
    let Some(priority) = &vcpu.priority else {
        return Some(VcpuPlacement { cpu: cpu?, priority: DEFAULT_PRIORITY });
    };
    let fits = |priority: &u8| *priority <= layout::MAX_PRIORITY;
    let level = u8::try_from(*priority.get_ref()).ok().filter(fits);
    if level.is_none() {
        let title = format!("no such priority: {}", priority.get_ref());
        let problem = Problem::new(title, priority.span(), "this `priority`");
        let help = format!("priorities go from 0 (runs last) to {} (runs first)", layout::MAX_PRIORITY);
        problems.push(problem.help(help));
    }
    Some(VcpuPlacement { cpu: cpu?, priority: level? })
}

fn no_such_cpu(number: &Number, machine: &Machine) -> Problem {
    let (cpu, span) = (number.get_ref(), number.span());
    let has = match machine.cpus {
        1 => "the machine has CPU 0 only".into(),
        count => format!("the machine has CPUs 0 to {}", count - 1),
    };
    let problem = Problem::new(format!("CPU {cpu} does not exist: {has}"), span, "this `cpu`");
    match u32::try_from(*cpu).ok().filter(|cpu| *cpu < layout::MAX_CPUS) {
        Some(cpu) => problem.help(format!("choose another CPU, or give the machine more: --smp {}", cpu + 1)),
        None => problem.help(format!("CPUs are numbered from 0, up to {}", layout::MAX_CPUS - 1)),
    }
}

/// `None` only if a problem was reported.
fn crash_policy(on_crash: &OnCrash, problems: &mut Vec<Problem>) -> Option<CrashPolicy> {
    match on_crash {
        OnCrash::Default => Some(CrashPolicy::Stop),
        OnCrash::Text(text) => collect(crash_word(text), problems),
        OnCrash::Restart { times, within_s } => {
            let times = restart_limit("times", times, layout::MAX_RESTARTS, problems);
            let within_seconds = restart_limit("within_s", within_s, u32::MAX, problems);
            Some(CrashPolicy::Restart { times: times?, within_seconds: within_seconds? })
        }
    }
}

fn crash_word(text: &Spanned<String>) -> Result<CrashPolicy, Problem> {
    let choices = format!("write \"stop\", \"halt-system\" or {}", restart_value());
    match text.get_ref().as_str() {
        "stop" => Ok(CrashPolicy::Stop),
        "halt-system" => Ok(CrashPolicy::HaltSystem),
        "restart" => Err(Problem::new("a restart without limits", text.span(), "this `on_crash`").help(
            format!("say how often in how many seconds, so that a broken domain ends: {RESTART_EXAMPLE}"),
        )),
        word => {
            let label = match suggest::closest(word, ["stop", "halt-system"]) {
                Some(likely) => format!("did you mean \"{likely}\"?"),
                None => "this `on_crash`".into(),
            };
            Err(Problem::new(format!("unknown policy \"{word}\""), text.span(), label).help(choices))
        }
    }
}

fn restart_value() -> &'static str {
    RESTART_EXAMPLE.trim_start_matches("on_crash = ")
}

fn restart_limit(key: &str, number: &Number, most: u32, problems: &mut Vec<Problem>) -> Option<u32> {
    let limit = u32::try_from(*number.get_ref()).ok().filter(|limit| (1..=most).contains(limit));
    if limit.is_none() {
        let title = format!("`{key}` must be from 1 to {most}");
        let problem = Problem::new(title, number.span(), format!("this `{key}`"));
        problems.push(match number.get_ref() {
            0 => problem.help("to never restart: on_crash = \"stop\""),
            _ => problem,
        });
    }
    limit
}

fn collect<T>(result: Result<T, Problem>, problems: &mut Vec<Problem>) -> Option<T> {
    result.map_err(|problem| problems.push(problem)).ok()
}
