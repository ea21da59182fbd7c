//! A guest that attacks: each attack ends as the specification says, and the hypervisor stays whole.
//!
//! The guest knows its attacks and prints their table; the first case compares that with the one here, so that none
//! is left out. A case boots one attack. Those after which the guest goes on are groups of many small ones.

use std::time::Duration;

use system_image::ExitStatus;

use super::case::{Case, Context, ensure, expect_status, expect_text};
use crate::boot::World;
use crate::failure::Failure;
use crate::session::{Ended, last_lines, without_escapes};

/// How an attack has to end.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Expected {
    /// The guest finds every answer right and shuts down with status 0.
    Survives,
    /// The domain is stopped, and the dump gives this cause.
    Stopped(&'static str),
}

const ATTACKS: [(&str, Expected); 14] = [
    ("instructions", Expected::Survives),
    ("entries", Expected::Survives),
    ("memory", Expected::Survives),
    ("calls", Expected::Survives),
    ("exhaustion", Expected::Survives),
    ("user", Expected::Survives),
    ("random", Expected::Survives),
    ("stop-stack", Expected::Stopped("fault while delivering a fault")),
    ("stop-double", Expected::Stopped("double-fault stack not accessible")),
    ("stop-gate", Expected::Stopped("invalid opcode, no handler")),
    ("stop-handler", Expected::Stopped("fault while delivering a fault")),
    ("stop-iret", Expected::Stopped("iret from a stack that is not accessible")),
    ("stop-root", Expected::Stopped("double-fault stack not accessible")),
    ("stop-area", Expected::Stopped("fault while delivering a fault")),
];

/// What the hypervisor prints when it failed itself.
const DEFECTS: [&str; 2] = ["hypervisor fault", "hypervisor panic"];

// covers: ERR-003, LAY-003, SEC-001
/// All of them.
pub fn cases() -> Vec<Case> {
    let table = Case::boot("hostile guest: the table of attacks is this one", table);
    let attacks = ATTACKS.into_iter().map(|(attack, expected)| {
        Case::boot(format!("hostile guest: {attack}"), move |context, limit| {
            let ended = boot(context, attack, limit)?;
            match expected {
                Expected::Survives => {
                    expect_status(&ended, 0)?;
                    expect_text(&ended, &format!("attack: {attack} survived"))
                }
                Expected::Stopped(cause) => {
                    expect_status(&ended, ExitStatus::DOMAIN_CRASHED.code())?;
                    expect_text(&ended, &format!("attack: {attack} begins"))?;
                    expect_text(&ended, &format!("crashed: {cause}"))
                }
            }
        })
    });
    std::iter::once(table).chain(attacks).collect()
}

/// Boots the guest with one attack; the hypervisor must not have failed, whatever came of it.
fn boot(context: &Context, attack: &str, limit: Duration) -> Result<Ended, Failure> {
    let cmdline = format!("attack={attack}");
    let ended = context.run_guest(World::Hypervisor, &context.kernels()?.hostile, &cmdline, limit)?;
    for defect in DEFECTS {
        ensure(
            !ended.console.contains(defect),
            format_args!("the console shows {defect:?}{}", last_lines(&ended.console)),
        )?;
    }
    Ok(ended)
}

fn table(context: &Context, limit: Duration) -> Result<(), Failure> {
    let ended = boot(context, "list", limit)?;
    expect_status(&ended, 0)?;
    let console = without_escapes(&ended.console);
    let listed: Vec<&str> = console
        .lines()
        .filter_map(|line| line.strip_prefix("attack: ")?.split_once(':'))
        .map(|(row, _)| row)
        .collect();
    let expected = ATTACKS.map(|(attack, expected)| {
        let outcome = if expected == Expected::Survives { "survives" } else { "stopped" };
        format!("{attack} expected {outcome}")
    });
    ensure(listed == expected, format_args!("the guest lists {listed:?}, not {expected:?}"))
}
