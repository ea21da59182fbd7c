//! Runs the targets by mutation: `cargo pv fuzz` and `cargo pv test` call this.
//!
//! Prints a line for each target. A finding is written to a file and ends the program with status 1.

use clap::Parser;
use hypervisor_fuzz::campaign::{self, HANG_LIMIT, Running, Until};
use hypervisor_fuzz::{TARGETS, Target, target};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

/// What to run.
#[derive(Parser)]
struct Arguments {
    /// Only this target
    #[arg(long, value_parser = known)]
    target: Option<String>,
    /// Where the inputs begin; the same seed and number of rounds give the same inputs
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Seconds for each target
    #[arg(long, default_value_t = 5, conflicts_with = "rounds")]
    seconds: u64,
    /// Inputs for each target, instead of a time
    #[arg(long)]
    rounds: Option<u64>,
    /// Run just this file
    #[arg(long, requires = "target")]
    input: Option<PathBuf>,
    /// Where findings are written
    #[arg(long, default_value = "target/pv/findings")]
    out: PathBuf,
}

fn known(name: &str) -> Result<String, String> {
    let names: Vec<&str> = TARGETS.iter().map(|target| target.name).collect();
    if names.contains(&name) { Ok(name.to_owned()) } else { Err(format!("there are {}", names.join(", "))) }
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let chosen = arguments.target.as_deref().and_then(target);
    if let (Some(target), Some(path)) = (chosen, &arguments.input) {
        return replay(target, path, &arguments.out);
    }
    let until = match arguments.rounds {
        Some(rounds) => Until::Rounds(rounds),
        None => Until::Time(Duration::from_secs(arguments.seconds)),
    };
    // Shrinking panics thousands of times; what the last one said is in the report.
    std::panic::set_hook(Box::new(|_| ()));
    let mut code = ExitCode::SUCCESS;
    for target in TARGETS.iter().filter(|target| chosen.is_none_or(|chosen| chosen.name == target.name)) {
        let running = Running::default();
        watch(target, &running, &arguments.out);
        let report = campaign::run(target, arguments.seed, until, &running);
        let (rounds, outcomes, seed) = (report.rounds, report.outcomes, arguments.seed);
        println!("{}: {rounds} inputs, {outcomes} outcomes, seed {seed}", target.name);
        if let Some((input, message)) = report.finding {
            let path = keep(target, &input, &arguments.out);
            println!("{}: FOUND {message}\n{}: input in {}", target.name, target.name, path.display());
            code = ExitCode::FAILURE;
        }
    }
    code
}

/// One file again, with a panic's own words and place.
fn replay(target: &'static Target, path: &Path, out: &Path) -> ExitCode {
    let input = match fs::read(path) {
        Ok(input) => input,
        Err(error) => {
            eprintln!("{}: {error}", path.display());
            return ExitCode::FAILURE;
        }
    };
    let running = Running::default();
    watch(target, &running, out);
    match campaign::attempt(target, &input, &running) {
        Ok(outcome) => {
            println!("{}: outcome {outcome:#x}", target.name);
            ExitCode::SUCCESS
        }
        Err(message) => {
            println!("{}: FOUND {message}", target.name);
            ExitCode::FAILURE
        }
    }
}

/// Ends the program when an input hangs, after keeping it.
fn watch(target: &'static Target, running: &Running, out: &Path) {
    let (running, out) = (Running::clone(running), out.to_path_buf());
    thread::spawn(move || {
        loop {
            thread::sleep(Duration::from_secs(1));
            let state: &Mutex<_> = &running;
            let hanging = state.lock().unwrap_or_else(PoisonError::into_inner).clone();
            if let Some((input, since)) = hanging
                && since.elapsed() > HANG_LIMIT
            {
                let path = keep(target, &input, &out);
                println!("{}: FOUND an input that hangs, in {}", target.name, path.display());
                std::process::exit(1);
            }
        }
    });
}

fn keep(target: &Target, input: &[u8], out: &Path) -> PathBuf {
    let sum = input
        .iter()
        .fold(0xcbf2_9ce4_8422_2325u64, |sum, byte| (sum ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3));
    let path = out.join(format!("{}-{sum:016x}", target.name));
    if let Err(error) = fs::create_dir_all(out).and_then(|()| fs::write(&path, input)) {
        println!("{}: {error}; the input is {input:02x?}", path.display());
    }
    path
}
