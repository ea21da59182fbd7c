//! The conformance suite on the shipped targets, by the command that users call.

use std::fs;
use std::time::Duration;

use super::case::{BOOT_LIMIT, Case, Context, ensure};
use super::host::Pv;
use crate::failure::Failure;
use crate::specification::{Specification, errors};

/// Targets and CPUs. The clock of those with one CPU and a BIOS counts instructions, which keeps the host's load out
/// of the verdict; Bochs is an emulator of its own, for what QEMU does not have.
const RUNS: [(&str, &str); 6] = [
    ("native-bios", "1"),
    ("native-uefi", "1"),
    ("hypervisor-bios", "1"),
    ("hypervisor-uefi", "2"),
    ("native-bochs", "1"),
    ("hypervisor-bochs", "1"),
];

/// The target on which every error that the specification lists has to be provoked.
const EVERY_ERROR: &str = "hypervisor-bios";

/// All of them.
pub fn cases() -> Vec<Case> {
    let case = |(target, cpus)| {
        let name = format!("conformance: {target}, CPUs: {cpus}");
        let run = move |context: &Context, limit| conforms(context, target, cpus, limit);
        Case { limit: 4 * BOOT_LIMIT, ..Case::boot(name, run) }
    };
    let mut cases: Vec<Case> = RUNS.into_iter().map(case).collect();
    cases.push(Case::boot("coverage: every MUST has a test", coverage));
    cases
}

/// The specification's requirements, against what all tests say they cover.
fn coverage(context: &Context, limit: Duration) -> Result<(), Failure> {
    context.kernels()?;
    let finished = Pv::new(context)?.run(&["coverage"], limit)?;
    ensure(finished.status.success(), finished.stdout + &finished.stderr)
}

/// The verdict is pass, the reports are there, and no error is left out.
fn conforms(context: &Context, target: &str, cpus: &str, limit: Duration) -> Result<(), Failure> {
    // Built once, by whoever is first.
    context.kernels()?;
    let pv = Pv::new(context)?;
    let out = pv.scratch().join("out");
    let folder = out.display().to_string();
    let finished = pv.run(&["conform", "--target", target, "--smp", cpus, "--out", &folder], limit)?;
    let output = finished.stdout + &finished.stderr;
    ensure(finished.status.success(), format_args!("{}:\n{output}", finished.status))?;
    ensure(output.contains("\nverdict: pass\n"), format_args!("no verdict:\n{output}"))?;
    let page = out.join("report.html");
    let page = fs::read_to_string(&page).map_err(|error| Failure::file("read", &page, &error))?;
    ensure(page.contains("EVT-001") && page.contains(target), "the report says nothing of the run")?;
    if target == EVERY_ERROR {
        let console = out.join("console.txt");
        let console =
            fs::read_to_string(&console).map_err(|error| Failure::file("read", &console, &error))?;
        let found = errors::check(&Specification::read(&context.workspace)?, &console);
        ensure(found.is_empty(), found.join("\n"))?;
    }
    Ok(())
}
