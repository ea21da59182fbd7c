//! The long run, cut short: until every hostile guest has begun anew and both real-time guests have worked for a while.

use std::time::Duration;

use super::case::{BOOT_LIMIT, Case, Context, ensure};
use crate::commands::soak::{self, Clock, Findings};
use crate::disk_image::Contents;
use crate::failure::Failure;

/// Seconds of the real-time guests' own time.
const SECONDS: u64 = 2;
const SEED: u64 = 2008;

/// All of them.
pub fn cases() -> Vec<Case> {
    let mut cases = vec![
        Case::boot("soak: eight domains on one CPU, instructions counted", |context, limit| {
            none(&run(context, Clock::Instructions, limit)?.problems())
        }),
        // Other cases run on this computer meanwhile, so nothing is asserted that is time.
        Case::boot("soak: eight domains on two CPUs", |context, limit| {
            none(&run(context, Clock::Host, limit)?.problems_without_time())
        }),
    ];
    cases.iter_mut().for_each(|case| case.limit = 4 * BOOT_LIMIT);
    cases
}

fn run(context: &Context, clock: Clock, limit: Duration) -> Result<Findings, Failure> {
    let kernels = context.kernels()?;
    let image = soak::manifest(&kernels.hostile, &kernels.demo, clock, SEED)?;
    let contents = Contents::hypervisor(kernels.hypervisor.clone(), image);
    let is_enough = |findings: &Findings| {
        findings.problems_without_time().iter().any(|problem| !problem.ends_with("made no progress"))
            || (findings.seconds() >= SECONDS && findings.all_began_anew())
    };
    let findings = soak::run(&context.workspace, &contents, clock, limit, is_enough)?;
    let is_whole = findings.seconds() >= SECONDS && findings.all_began_anew();
    ensure(is_whole || !findings.problems_without_time().is_empty(), "the time limit came first")?;
    Ok(findings)
}

fn none(problems: &[String]) -> Result<(), Failure> {
    ensure(problems.is_empty(), problems.join("\n"))
}
