//! `cargo pv book`: the specification as a book of HTML pages.

use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::time::Duration;

use crate::failure::{Failure, Kind};
use crate::process;
use crate::progress::Step;
use crate::workspace::Workspace;

/// The version that is installed where none is.
const VERSION: &str = "0.5.4";
/// It is compiled from source.
const INSTALL_LIMIT: Duration = Duration::from_secs(20 * 60);
const BUILD_LIMIT: Duration = Duration::from_secs(60);

/// Runs the command.
pub fn execute(workspace: &Workspace) -> Result<ExitCode, Failure> {
    let program = match installed(workspace) {
        Some(program) => program,
        None => install(workspace)?,
    };
    println!("{}", build(workspace, &program)?.join("index.html").display());
    Ok(ExitCode::SUCCESS)
}

/// mdbook, if this command has installed it before.
pub fn installed(workspace: &Workspace) -> Option<PathBuf> {
    Some(folder(workspace).join("bin/mdbook")).filter(|program| program.is_file())
}

/// Builds the book and returns its folder. What mdbook warns of is a failure.
pub fn build(workspace: &Workspace, program: &PathBuf) -> Result<PathBuf, Failure> {
    let book = workspace.target.join("pv/book");
    let mut command = Command::new(program);
    command.arg("build").arg(workspace.specification()).arg("--dest-dir").arg(&book);
    let finished = process::run(&mut command, BUILD_LIMIT, |_| ())?;
    let complains = ["WARN", "ERROR"].iter().any(|word| finished.stderr.contains(word));
    if finished.status.success() && !complains {
        return Ok(book);
    }
    Err(Failure::new(Kind::Build, format!("{command:?} failed:\n{}", finished.stderr.trim())))
}

fn folder(workspace: &Workspace) -> PathBuf {
    workspace.target.join("pv/mdbook")
}

fn install(workspace: &Workspace) -> Result<PathBuf, Failure> {
    let mut command = workspace.cargo();
    command.args(["install", "mdbook", "--version", VERSION, "--locked"]);
    command.args(["--no-default-features", "--features", "search", "--root"]).arg(folder(workspace));
    let step = Step::start("installing mdbook (minutes the first time)");
    let finished = process::run(&mut command, INSTALL_LIMIT, |line| step.note(line))?;
    if finished.status.success() {
        step.done("done");
        return Ok(folder(workspace).join("bin/mdbook"));
    }
    drop(step);
    eprint!("{}", finished.stderr);
    Err(Failure::new(Kind::ToolMissing, "installing mdbook failed, see above".to_owned()))
}
