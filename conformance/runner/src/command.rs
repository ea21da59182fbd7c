//! The command: options, what it prints, the files that it writes.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::Args;
use sha2::{Digest, Sha256};

use crate::failure::{Failure, Kind};
use crate::progress::Display;
use crate::report::{Outcome, Report};
use crate::run::{self, Host, Request};
use crate::spec::{self, Specification};
use crate::target::Target;
use crate::verdict::Verdict;

/// The exit codes, for `--help`.
pub const EXIT_CODES: &str = "\
Exit codes:
  0    pass     every test passed, or was skipped while others passed
  110  fail     the target broke a promise
  111  error    the suite or the target file is at fault, or nothing was heard of the suite
  112  skip     no test applied
  113  crash    the target went down during a test
  114  timeout  the target was silent for too long
  2    wrong usage
  100  a file could not be read or written
  103  something that the target needs is not there
  106  the target file was refused
  130  ended by Ctrl-C
The worst verdict wins, in the order pass, skip, error, fail, crash, timeout.";

/// Options.
#[derive(Clone, Debug, Args)]
pub struct Options {
    /// A shipped target by its name, or a target file
    #[arg(long, value_name = "NAME|FILE.toml")]
    pub target: String,
    /// Number of CPUs of the machine
    #[arg(long = "smp", value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=64))]
    pub cpus: u32,
    /// Run only the tests whose names begin so, such as `mmu.`
    #[arg(long, value_name = "PREFIX", default_value = "", value_parser = prefix)]
    pub filter: String,
    /// Write reports into this folder: HTML, JUnit XML, TAP, JSON and the console
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
}

/// Names have no white space, and the guest's command line is split at it.
fn prefix(text: &str) -> Result<String, String> {
    let fits = text.chars().all(|character| character.is_ascii_alphanumeric() || "._".contains(character));
    if fits { Ok(text.to_owned()) } else { Err("test names are letters, digits, `_` and one dot".into()) }
}

/// Where things are.
pub struct Paths {
    /// The suite's ELF.
    pub guest: PathBuf,
    /// The folder of the shipped targets.
    pub targets: PathBuf,
    /// The folder of the specification.
    pub specification: PathBuf,
}

/// Finds and reads the target.
pub fn target(name: &str, folder: &Path) -> Result<Target, Failure> {
    if name.ends_with(".toml") || name.contains('/') {
        return Target::read(Path::new(name));
    }
    let path = folder.join(format!("{name}.toml"));
    if path.is_file() {
        return Target::read(&path);
    }
    let mut names: Vec<String> = fs::read_dir(folder)
        .map(|entries| entries.filter_map(Result::ok).map(|entry| entry.path()).collect())
        .unwrap_or_else(|_| Vec::<PathBuf>::new())
        .iter()
        .filter(|path| path.extension().is_some_and(|extension| extension == "toml"))
        .filter_map(|path| Some(path.file_stem()?.to_string_lossy().into_owned()))
        .collect();
    names.sort();
    let failure = Failure::new(Kind::Target, format!("there is no target {name}"));
    Err(failure.hint(format!("name a file, or one of {}", names.join(", "))))
}

/// Runs the suite, prints what came of it, writes the reports.
pub fn execute(
    options: &Options,
    target: Target,
    paths: &Paths,
    host: &dyn Host,
) -> Result<Verdict, Failure> {
    // First of all: nobody should wait for a run to learn that its reports cannot be written.
    let specification = Specification::read(&paths.specification)?;
    let untestable = spec::untestable(&paths.specification)?;
    if let Some(folder) = &options.out {
        fs::create_dir_all(folder).map_err(|error| Failure::file("create", folder, &error))?;
    }
    let guest = fs::read(&paths.guest).map_err(|error| Failure::file("read", &paths.guest, &error))?;
    let request = Request {
        target,
        guest: paths.guest.clone(),
        cpus: options.cpus,
        filter: options.filter.clone(),
        lists_only: false,
    };
    let started = chrono::Local::now();
    let clock = Instant::now();
    // Only once there is something to show: before that, the host may have a display of its own.
    let mut display = None;
    let outcome = run::run(&request, host, &mut |progress| {
        display.get_or_insert_with(|| Display::new(&request.target.name)).show(progress);
    });
    drop(display);
    let outcome = outcome?;
    let sha256: String = Sha256::digest(&guest).iter().map(|byte| format!("{byte:02x}")).collect();
    let report = Report {
        target: &request.target.name,
        description: &request.target.description,
        cpus: request.cpus,
        filter: &request.filter,
        suite_sha256: &sha256,
        started: started.format("%Y-%m-%d %H:%M:%S %:z").to_string(),
        seconds: clock.elapsed().as_secs_f64(),
        outcome: &outcome,
        specification: &specification,
        untestable: &untestable,
    };
    print(&report);
    if let Some(folder) = &options.out {
        for path in report.write(folder)? {
            println!("wrote {}", path.display());
        }
    }
    println!("verdict: {}", outcome.verdict());
    Ok(outcome.verdict())
}

fn print(report: &Report<'_>) {
    let Outcome { suite, tests, problems, starts, .. } = report.outcome;
    println!("target {}: {}", report.target, report.description);
    if let Some(suite) = suite {
        println!("suite {}, backend {}, ring {}", suite.version, suite.backend, suite.ring);
    }
    for test in tests.iter().filter(|test| test.verdict.is_bad()) {
        println!("{:<8}{} {}  {}", test.verdict, test.name, test.requirements.join(" "), test.detail);
        // The suite's own text says it all for a failure; for a crash the console does.
        if test.verdict > Verdict::Fail {
            indented(&test.log);
        }
    }
    for problem in problems {
        println!("{:<8}{}", problem.verdict, problem.text);
        indented(&problem.log);
    }
    let again = if *starts > 1 { format!(", {starts} starts") } else { String::new() };
    println!("{} tests in {:.1} s: {}{again}", tests.len(), report.seconds, report.outcome.counts());
}

/// The end of a log.
fn indented(log: &[String]) {
    const SHOWN_LINES: usize = 12;
    for line in &log[log.len().saturating_sub(SHOWN_LINES)..] {
        println!("        | {line}");
    }
}
