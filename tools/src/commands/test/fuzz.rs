//! Hostile input, the same in every run: what `cargo pv fuzz` does for long, for some seconds.

use std::time::Duration;

use super::cargo_checks::succeed;
use super::case::{Case, Context, Needs};

/// Inputs for each target; their costs differ.
const ROUNDS: [(&str, u32); 7] = [
    ("boot", 40_000),
    ("image", 20_000),
    ("calls", 200_000),
    ("batch", 20_000),
    ("shadow", 8_000),
    ("model", 1_000),
    ("firmware", 100_000),
];
/// The build, on two slow CPUs, takes most of it.
const LIMIT: Duration = Duration::from_secs(10 * 60);

/// A case for each target.
pub fn cases() -> Vec<Case> {
    ROUNDS
        .into_iter()
        .map(|(target, rounds)| {
            let run = move |context: &Context, limit| {
                let mut command = context.workspace.cargo();
                command.args(["run", "--quiet", "--profile", "fuzz", "--package", "hypervisor-fuzz"]);
                command.args(["--bin", "hypervisor-fuzz", "--", "--target", target, "--seed", "1"]);
                succeed(command.args(["--rounds", &rounds.to_string()]), limit)
            };
            let name = format!("fuzz: {target}, {rounds} inputs");
            Case { name, limit: LIMIT, needs: Needs::AllCpus, run: Ok(Box::new(run)) }
        })
        .collect()
}
