//! What the shape of a manifest cannot say: sizes, numbers and names that fit the machine and each other.

use std::path::Path;

use system_image::{CrashPolicy, VcpuPlacement, layout};
use toml::Spanned;

use super::report::Problem;
use super::schema::{Document, Domain, OnCrash, Vcpu};
use super::{DEFAULT_PRIORITY, Manifest, ManifestDomain, read_elf};
use crate::machine::Machine;

/// Memory left for firmware, boot loader and hypervisor.
const RESERVED_BYTES: u64 = 32 << 20;

/// Checks everything and reports all problems, not only the first.
pub(super) fn check(document: &Document, folder: &Path, machine: &Machine) -> Result<Manifest, Vec<Problem>> {
    let mut problems = Vec::new();
    check_name("system", &document.system.name, &mut problems);
    if document.domain.is_empty() {
        let span = document.system.name.span();
        problems.push(Problem::new("no domain", span, "this system has no `[[domain]]`"));
    }
    if let Some(extra) = document.domain.get(layout::MAX_DOMAINS) {
        let title = format!("more than {} domains", layout::MAX_DOMAINS);
        problems.push(Problem::new(title, extra.span(), "one `[[domain]]` too many"));
    }
    let mut domains = Vec::new();
    for domain in &document.domain {
        domains.extend(check_domain(domain.get_ref(), folder, machine, &mut problems));
    }
    check_duplicates(document, &mut problems);
    check_total_memory(document, machine, &mut problems);
    if problems.is_empty() {
        let name = document.system.name.get_ref().clone();
        Ok(Manifest { name, domains, channels: Vec::new() })
    } else {
        Err(problems)
    }
}

/// `None` only if a problem was reported.
fn check_domain(
    domain: &Domain,
    folder: &Path,
    machine: &Machine,
    problems: &mut Vec<Problem>,
) -> Option<ManifestDomain> {
    check_name("domain", &domain.name, problems);
    let memory_bytes = collect(memory(&domain.memory), problems);
    let vcpus = vcpus(domain, machine, problems);
    let crash_policy = crash_policy(&domain.on_crash, problems);
    let cmdline = domain.cmdline.as_ref().map_or("", |cmdline| cmdline.get_ref());
    if let Some(cmdline) = &domain.cmdline {
        check_cmdline(cmdline, problems);
    }
    let elf = read_elf(folder.join(domain.image.get_ref())).map_err(|reason| {
        Problem::new("the guest image cannot be used", domain.image.span(), "this `image`")
            .help(format!("{reason}; paths are relative to the folder of this file"))
    });
    Some(ManifestDomain {
        name: domain.name.get_ref().clone(),
        elf: collect(elf, problems)?,
        cmdline: cmdline.to_owned(),
        memory_bytes: memory_bytes?,
        vcpus,
        console: domain.console,
        crash_policy,
        devices: Vec::new(),
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
    problems.push(Problem::new(format!("the {what}'s name {reason}"), name.span(), "this `name`"));
}

fn check_cmdline(cmdline: &Spanned<String>, problems: &mut Vec<Problem>) {
    let text = cmdline.get_ref();
    if text.len() as u64 > layout::MAX_CMDLINE_SIZE || text.bytes().any(|byte| byte.is_ascii_control()) {
        let title = "the command line is longer than 4096 bytes or has control characters";
        problems.push(Problem::new(title, cmdline.span(), "this `cmdline`"));
    }
}

fn check_duplicates(document: &Document, problems: &mut Vec<Problem>) {
    for (index, domain) in document.domain.iter().enumerate() {
        let name = &domain.get_ref().name;
        if document.domain[..index].iter().any(|earlier| earlier.get_ref().name.get_ref() == name.get_ref()) {
            let title = format!("two domains are called `{}`", name.get_ref());
            problems.push(Problem::new(title, name.span(), "this `name` was used before"));
        }
    }
}

fn check_total_memory(document: &Document, machine: &Machine, problems: &mut Vec<Problem>) {
    let sizes = || document.domain.iter().filter_map(|domain| memory(&domain.get_ref().memory).ok());
    let total = sizes().fold(0, u64::saturating_add);
    let available = (machine.memory_mib << 20).saturating_sub(RESERVED_BYTES);
    let Some(last) = document.domain.last().filter(|_| total > available) else { return };
    let title =
        format!("the domains need {} MiB, the machine has {} MiB for them", total >> 20, available >> 20);
    let problem = Problem::new(title, last.get_ref().memory.span(), "this `memory` is beyond the limit");
    problems.push(problem.help("make domains smaller, or the machine larger with --memory"));
}

/// `"64 MiB"` in bytes.
fn memory(text: &Spanned<String>) -> Result<u64, Problem> {
    let refuse = |title: &str| {
        Problem::new(title, text.span(), "this `memory`")
            .help("write a multiple of 2 MiB from \"8 MiB\" to \"64 GiB\"")
    };
    let bytes = parse_size(text.get_ref()).ok_or_else(|| refuse("not a size"))?;
    if !bytes.is_multiple_of(layout::MEMORY_UNIT) {
        return Err(refuse("the memory of a domain must be a multiple of 2 MiB"));
    }
    if !(layout::MIN_MEMORY..=layout::MAX_MEMORY).contains(&bytes) {
        return Err(refuse("the memory of a domain must be from 8 MiB to 64 GiB"));
    }
    Ok(bytes)
}

fn parse_size(text: &str) -> Option<u64> {
    let digits = text.len() - text.trim_start_matches(|character: char| character.is_ascii_digit()).len();
    let (number, unit) = text.split_at(digits);
    let shift = match unit.trim() {
        "KiB" => 10,
        "MiB" => 20,
        "GiB" => 30,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(1 << shift)
}

fn vcpus(domain: &Domain, machine: &Machine, problems: &mut Vec<Problem>) -> Vec<VcpuPlacement> {
    let vcpus = domain.vcpus.get_ref();
    if vcpus.is_empty() || vcpus.len() > layout::MAX_VCPUS {
        let title = format!("a domain has 1 to {} virtual CPUs, not {}", layout::MAX_VCPUS, vcpus.len());
        let problem = Problem::new(title, domain.vcpus.span(), "these `vcpus`");
        problems.push(problem.help("for one virtual CPU: vcpus = [{ cpu = 0 }]"));
    }
    vcpus.iter().map(|vcpu| placement(vcpu, machine, problems)).collect()
}

fn placement(vcpu: &Vcpu, machine: &Machine, problems: &mut Vec<Problem>) -> VcpuPlacement {
    let cpu = *vcpu.cpu.get_ref();
    if cpu >= machine.cpus {
        let title = format!("CPU {cpu} does not exist: the machine has CPUs 0 to {}", machine.cpus - 1);
        let problem = Problem::new(title, vcpu.cpu.span(), "this `cpu`");
        problems.push(problem.help("choose another CPU, or give the machine more with --smp"));
    }
    let priority = vcpu.priority.as_ref().map_or(DEFAULT_PRIORITY, |priority| *priority.get_ref());
    if let Some(span) = vcpu.priority.as_ref().filter(|_| priority > layout::MAX_PRIORITY).map(Spanned::span)
    {
        let title = format!("priorities go from 0 (lowest) to {}", layout::MAX_PRIORITY);
        problems.push(Problem::new(title, span, "this `priority`"));
    }
    VcpuPlacement { cpu, priority }
}

fn crash_policy(on_crash: &OnCrash, problems: &mut Vec<Problem>) -> CrashPolicy {
    let restart = match on_crash {
        OnCrash::Stop => return CrashPolicy::Stop,
        OnCrash::HaltSystem => return CrashPolicy::HaltSystem,
        OnCrash::Restart(restart) => restart,
    };
    let (times, most) = (&restart.times, layout::MAX_RESTARTS);
    if *times.get_ref() > most {
        let title = format!("more than {most} restarts");
        problems.push(Problem::new(title, times.span(), "this `times`"));
    }
    for (key, value) in [("times", times), ("within_s", &restart.within_s)] {
        if *value.get_ref() == 0 {
            let problem = Problem::new("a restart limit of 0", value.span(), format!("this `{key}`"));
            problems.push(problem.help("to never restart: on_crash = \"stop\""));
        }
    }
    CrashPolicy::Restart { times: *times.get_ref(), within_seconds: *restart.within_s.get_ref() }
}

fn collect<T>(result: Result<T, Problem>, problems: &mut Vec<Problem>) -> Option<T> {
    result.map_err(|problem| problems.push(problem)).ok()
}

#[cfg(test)]
mod tests {
    use super::parse_size;

    #[test]
    fn sizes() {
        assert_eq!(parse_size("64 MiB"), Some(64 << 20));
        assert_eq!(parse_size("1GiB"), Some(1 << 30));
        assert_eq!(parse_size("2048 KiB"), Some(2 << 20));
        assert_eq!(parse_size("64"), None);
        assert_eq!(parse_size("64 MB"), None);
        assert_eq!(parse_size("MiB"), None);
        assert_eq!(parse_size("-2 MiB"), None);
        assert_eq!(parse_size("99999999999999999999 MiB"), None);
        assert_eq!(parse_size("18446744073709551615 GiB"), None);
    }
}
