//! Sessions at the demo kernel's shell: commands typed with mistakes and corrections, and every way to crash.

use std::time::Duration;

use system_image::ExitStatus;

use super::case::{Case, Context, ensure, expect_status, expect_text};
use crate::boot::World;
use crate::failure::{Failure, Kind};
use crate::machine::Machine;
use crate::session::{Ended, Session, without_escapes};

/// What the shell prints when it waits for a command.
const PROMPT: &str = "pvops> ";
/// How soon the kernel is up, and how soon a command answers.
const ANSWER_LIMIT: Duration = Duration::from_secs(60);
/// The session's own shutdown code, unlike any other status.
const EXIT_CODE: u8 = 7;

/// What is typed, and what the answer must have.
const COMMANDS: [(&str, &str); 6] = [
    // "hexp", two backspaces, "lp".
    ("hexp\x7f\x7flp", "kinds: help crash"),
    ("ps", "priority"),
    ("mem", "frames"),
    ("uptime", "Unix time"),
    ("backend", "code segment"),
    ("cpuid", "vendor"),
];

/// All of them.
pub fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for (world, name) in [(World::Native, "native"), (World::Hypervisor, "hypervisor")] {
        cases.push(Case::boot(format!("shell: commands and line editing, {name}"), move |context, limit| {
            commands(context, world, limit)
        }));
    }
    cases.push(Case::boot("shell: each crash is reported with its registers", |context, limit| {
        let kinds = crash_kinds(context, limit)?;
        kinds.iter().try_for_each(|kind| crash(context, kind, limit))
    }));
    cases
}

fn start(context: &Context, world: World, limit: Duration) -> Result<Session, Failure> {
    let kernels = context.kernels()?;
    let contents = world.contents(&kernels.demo, &kernels.hypervisor, "")?;
    let mut session = context.start(&contents, &Machine::default(), limit)?;
    session.wait_for(PROMPT, ANSWER_LIMIT)?;
    Ok(session)
}

/// Types a command and waits until the shell waits again.
fn command(session: &mut Session, typed: &str, answer: &str) -> Result<(), Failure> {
    session.send(format!("{typed}\r").as_bytes());
    session.wait_for(answer, ANSWER_LIMIT)?;
    session.wait_for(PROMPT, ANSWER_LIMIT)
}

fn exit(mut session: Session, code: u8) -> Result<Ended, Failure> {
    session.send(format!("exit {code}\r").as_bytes());
    let ended = session.finish()?;
    expect_status(&ended, code)?;
    Ok(ended)
}

// covers: CONS-003, OPS-016
fn commands(context: &Context, world: World, limit: Duration) -> Result<(), Failure> {
    let mut session = start(context, world, limit)?;
    for (typed, answer) in COMMANDS {
        command(&mut session, typed, answer)?;
    }
    exit(session, EXIT_CODE).map(|_| ())
}

/// What `help crash` lists: the first word of each indented line.
fn crash_kinds(context: &Context, limit: Duration) -> Result<Vec<String>, Failure> {
    let mut session = start(context, World::Hypervisor, limit)?;
    command(&mut session, "help crash", "\n")?;
    let ended = exit(session, EXIT_CODE)?;
    let console = without_escapes(&ended.console);
    let listing = console.split("help crash").nth(1).unwrap_or_default();
    let kinds: Vec<String> = listing
        .lines()
        .take_while(|line| !line.starts_with(PROMPT))
        .filter(|line| line.starts_with("  "))
        .filter_map(|line| line.split_whitespace().next().map(str::to_owned))
        .collect();
    ensure(kinds.len() > 1, format_args!("`help crash` lists no kinds:\n{listing}"))?;
    Ok(kinds)
}

// covers: OPS-016
fn crash(context: &Context, kind: &str, limit: Duration) -> Result<(), Failure> {
    let check = || {
        let mut session = start(context, World::Hypervisor, limit)?;
        session.send(format!("crash {kind}\r").as_bytes());
        let ended = session.finish()?;
        expect_status(&ended, ExitStatus::DOMAIN_CRASHED.code())?;
        ["crashed: ", "rip", "rsp", "rax", "r15", "fault address"]
            .iter()
            .try_for_each(|register| expect_text(&ended, register))
    };
    check().map_err(|failure| Failure::new(Kind::CheckFailed, format!("crash {kind}: {failure}")))
}
