//! The console that domains share: their lines arrive whole and in order however much one of them writes, and the
//! operator's menu answers.

use std::time::Duration;

use system_image::ExitStatus;

use super::case::{BOOT_LIMIT, Case, Context, ensure, expect_status};
use super::domains::{Placed, contents, start};
use crate::failure::{Failure, Kind};
use crate::machine::Machine;
use crate::results;
use crate::session::{Session, without_escapes};

const ANSWER_LIMIT: Duration = Duration::from_secs(60);
/// Looks at a domain's state are this far apart, and so many.
const LOOK_LIMIT: Duration = Duration::from_secs(2);
const LOOKS: u32 = 20;

/// Lines of the domain that floods, and of its neighbour, which has other things to do between them.
const FLOOD: u32 = 2000;
const QUIET: u32 = 25;
/// Lines of the flood between two of the neighbour, on one CPU: about what it writes in its slice of 5 ms, during which
/// the neighbour's pause ends.
const MOST_BETWEEN: usize = 150;

/// All of them.
pub fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for cpus in [1, 2] {
        cases.push(Case::boot(
            format!("console: a flood and a quiet neighbour, {cpus} CPU(s)"),
            move |context, limit| {
                flood(context, ["quiet", "noisy"], cpus, limit)?;
                flood(context, ["noisy", "quiet"], cpus, limit)
            },
        ));
    }
    // Two boots each, one pair of them instruction by instruction.
    cases.iter_mut().for_each(|case| case.limit = 2 * BOOT_LIMIT);
    cases.push(Case::boot("console: a machine without one ends as others do", silent));
    cases.push(Case::boot("console: a shell answers beside a flood", answers));
    cases.push(Case::boot("console: the operator's menu", menu));
    cases.push(Case::boot("console: the menu pauses, dumps and starts anew", |context, limit| {
        orders(context, 1, limit)?;
        orders(context, 2, limit)
    }));
    cases.push(Case::boot("console: the menu with one domain", one_domain));
    cases.push(Case::boot("console: what is typed ahead is kept, up to 256 bytes", typed_ahead));
    cases
}

fn lines_of(domain: &str) -> u32 {
    if domain == "noisy" { FLOOD } else { QUIET }
}

// covers: CONS-001, CONS-002
/// The first domain has the focus.
fn flood(context: &Context, order: [&str; 2], cpus: u32, limit: Duration) -> Result<(), Failure> {
    let cmdlines = order.map(|domain| {
        let pause = if domain == "noisy" { "" } else { " pause_us=1000" };
        format!("run=lines lines={}{pause}", lines_of(domain))
    });
    let domains: [Placed<'_>; 2] = [0, 1].map(|at| (order[at], cmdlines[at].as_str(), at as u32 % cpus, 16));
    // With one CPU, the clock counts instructions: the same lines meet on every computer.
    let machine = Machine { cpus, icount: cpus == 1, ..Machine::default() };
    let ended = context.start(&contents(context, &domains)?, &machine, limit)?.finish()?;
    expect_status(&ended, 0)?;
    order.iter().try_for_each(|domain| all_lines(&ended.console, domain))?;
    let console = without_escapes(&ended.console);
    let found = console.lines().filter(|line| line.contains("fox") || line.contains("line ")).count();
    let expected = FLOOD + QUIET;
    ensure(found == expected as usize, format_args!("{found} lines, not {expected}: some were cut"))?;
    let between = console.split("[quiet] line ").map(|part| part.matches("[noisy] line ").count());
    // The flood's start and end may be alone.
    let most = between.skip(1).take(QUIET as usize - 1).max();
    ensure(
        cpus != 1 || most <= Some(MOST_BETWEEN),
        format_args!("{most:?} lines of the flood between two others"),
    )
}

/// A domain's lines are the ones it wrote.
fn all_lines(console: &str, domain: &str) -> Result<(), Failure> {
    let text = results::lines_of(console, domain);
    let mut found = text.lines().filter(|line| line.starts_with("line "));
    let lines = lines_of(domain);
    for number in 1..=lines {
        let expected = format!("line {number} of {lines}: the quick brown fox jumps over the lazy dog");
        let line = found.next();
        ensure(line == Some(&*expected), format_args!("{domain}: {line:?}, not {expected:?}"))?;
    }
    ensure(found.next().is_none(), format_args!("{domain}: a line came twice"))
}

// covers: CONS-002
/// A domain that fills its ring, and a crash whose dump does not fit there, are over all the same.
fn silent(context: &Context, limit: Duration) -> Result<(), Failure> {
    let domains = [("noisy", "run=lines lines=100", 0, 16), ("fragile", "run=fragile", 0, 16)];
    let machine = Machine { is_silent: true, ..Machine::default() };
    let ended = context.start(&contents(context, &domains)?, &machine, limit)?.finish()?;
    expect_status(&ended, ExitStatus::DOMAIN_CRASHED.code())?;
    ensure(ended.console.is_empty(), format_args!("it has a console: {:?}", ended.console))
}

// covers: CONS-002, CONS-003
/// What is typed reaches the domain with the focus, and its answer the terminal, long before the flood ends.
fn answers(context: &Context, limit: Duration) -> Result<(), Failure> {
    let domains = [("shell", "", 0, 16), ("noisy", "run=lines lines=20000", 1, 16)];
    let mut session = start(context, &domains, 2, limit)?;
    session.wait_for("[shell] pvops> ", ANSWER_LIMIT)?;
    session.send(b"uptime\r");
    session.wait_for("Unix time", ANSWER_LIMIT)?;
    session.send(b"exit 3\r");
    let ended = session.finish()?;
    expect_status(&ended, 3)?;
    let place = |text: &str| ended.console.find(text);
    ensure(place("[shell]   up ") < place("line 20000 of 20000"), "the answer came after the flood")?;
    ensure(place("line 20000 of 20000").is_some(), "the flood came to no end")
}

/// Opens the menu and chooses.
fn choose(session: &mut Session, key: u8, answer: &str) -> Result<(), Failure> {
    session.send(b"\x14");
    session.wait_for(" | ^T next", ANSWER_LIMIT)?;
    session.send(&[key]);
    session.wait_for(answer, ANSWER_LIMIT)
}

fn menu(context: &Context, limit: Duration) -> Result<(), Failure> {
    let mut session = start(context, &[("first", "", 0, 16), ("second", "", 0, 16)], 1, limit)?;
    session.wait_for("[first] pvops> ", ANSWER_LIMIT)?;
    choose(&mut session, b'l', "pvops: 1 'first' running, has the focus")?;
    session.wait_for("pvops: 2 'second' running", ANSWER_LIMIT)?;
    choose(&mut session, b'2', "pvops: 'second' has the focus")?;
    session.wait_for("[second] pvops> ", ANSWER_LIMIT)?;
    session.send(b"uptime\r");
    session.wait_for("[second]   up ", ANSWER_LIMIT)?;
    choose(&mut session, b'7', "pvops: no domain 7 has a console")?;
    choose(&mut session, b'x', "pvops: no such key; back")?;
    choose(&mut session, 0x1b, "pvops: back to 'second'")?;
    // What the menu did not take is the domain's.
    session.send(b"exit 0\r");
    session.wait_for("exit 0", ANSWER_LIMIT)?;
    until_listed(&mut session, "pvops: 2 'second' stopped, has the focus")?;
    choose(&mut session, b'p', "pvops: 'second': pause is not for a stopped domain")?;
    choose(&mut session, 0x14, "pvops: 'first' has the focus")?;
    session.send(b"exit 6\r");
    expect_status(&session.finish()?, 6)
}

/// The second domain is paused, dumped, goes on, and is started anew: while it runs, and after it has ended.
fn orders(context: &Context, cpus: u32, limit: Duration) -> Result<(), Failure> {
    let mut session = start(context, &[("first", "", 0, 16), ("second", "", cpus - 1, 16)], cpus, limit)?;
    session.wait_for("[first] pvops> ", ANSWER_LIMIT)?;
    choose(&mut session, b'2', "pvops: 'second' has the focus")?;
    session.wait_for("[second] pvops> ", ANSWER_LIMIT)?;
    choose(&mut session, b'p', "pvops: 'second': pause")?;
    until_listed(&mut session, "pvops: 2 'second' paused, has the focus")?;
    // It waits for the domain, as everything that happens meanwhile does.
    session.send(b"uptime\r");
    choose(&mut session, b'd', "pvops: domain 'second' dump")?;
    session.wait_for("  calls\t", ANSWER_LIMIT)?;
    choose(&mut session, b'c', "pvops: 'second': continue")?;
    session.wait_for("[second]   up ", ANSWER_LIMIT)?;
    choose(&mut session, b'r', "pvops: 'second': restart")?;
    session.wait_for("pvops: domain 'second' starts anew", ANSWER_LIMIT)?;
    session.wait_for("[second] demo kernel", ANSWER_LIMIT)?;
    session.wait_for("[second] pvops> ", ANSWER_LIMIT)?;
    session.send(b"exit 0\r");
    until_listed(&mut session, "pvops: 2 'second' stopped, has the focus")?;
    choose(&mut session, b'r', "pvops: 'second': restart")?;
    session.wait_for("[second] demo kernel", ANSWER_LIMIT)?;
    session.wait_for("[second] pvops> ", ANSWER_LIMIT)?;
    session.send(b"exit 0\r");
    until_listed(&mut session, "pvops: 2 'second' stopped, has the focus")?;
    choose(&mut session, b'1', "pvops: 'first' has the focus")?;
    session.send(b"exit 9\r");
    let ended = session.finish()?;
    expect_status(&ended, 9)
}

/// Looks at the list until it shows `line`.
pub(super) fn until_listed(session: &mut Session, line: &str) -> Result<(), Failure> {
    for _ in 0..LOOKS {
        session.send(b"\x14l");
        if session.wait_for(line, LOOK_LIMIT).is_ok() {
            return Ok(());
        }
    }
    Err(Failure::new(Kind::CheckFailed, format!("the list never showed {line:?}")))
}

/// There is a menu as well, and nothing else differs: no tags, and the prompt goes on where it was.
fn one_domain(context: &Context, limit: Duration) -> Result<(), Failure> {
    let mut session = start(context, &[("only", "", 0, 16)], 1, limit)?;
    session.wait_for("\npvops> ", ANSWER_LIMIT)?;
    choose(&mut session, b'l', "pvops: 1 'only' running, has the focus")?;
    choose(&mut session, 0x14, "pvops: 'only' has the focus")?;
    // The shell has no use for a Ctrl-T.
    session.send(b"\x14texit 4\r");
    let ended = session.finish()?;
    expect_status(&ended, 4)?;
    ensure(!ended.console.contains("[only]"), "lines of a single domain are tagged")
}

/// Typed while the domain cannot read: 256 bytes are kept, and what comes behind them is lost.
// covers: CONS-004
fn typed_ahead(context: &Context, limit: Duration) -> Result<(), Failure> {
    const KEPT_BYTES: usize = 256;
    const LINE: &str = "uptime\r";
    let mut session = start(context, &[("only", "", 0, 16)], 1, limit)?;
    session.wait_for("\npvops> ", ANSWER_LIMIT)?;
    choose(&mut session, b'p', "pvops: 'only': pause")?;
    until_listed(&mut session, "pvops: 1 'only' paused, has the focus")?;
    let whole_lines = KEPT_BYTES / LINE.len();
    let filler = "?".repeat(KEPT_BYTES % LINE.len());
    session.send((LINE.repeat(whole_lines) + &filler + "exit 9\r").as_bytes());
    // The menu's answer comes behind all that was typed.
    choose(&mut session, b'c', "pvops: 'only': continue")?;
    session.wait_for(&format!("> {filler}"), ANSWER_LIMIT)?;
    session.send(b"\rexit 4\r");
    let ended = session.finish()?;
    expect_status(&ended, 4)?;
    let answers = ended.console.matches("  up ").count();
    ensure(answers == whole_lines, format_args!("{answers} answers to {whole_lines} lines typed ahead"))
}
