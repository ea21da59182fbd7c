//! What tests stand on: the table they are entered in, the report, and one file per thing that they touch.
//!
//! * [`world`]: who started us, frames, per-CPU data.
//! * [`report`]: checks, and the line that they come to.
//! * [`faults`]: faults are recorded, not fatal.
//! * [`events`]: ports, and how often each was delivered.
//! * [`tables`]: page tables of the tests' own.
//! * [`user`]: programs in user mode, which end with a trap.
//! * [`entry`]: what was there at the entry.
//! * [`peer`]: the other domain, and how the two talk.
//! * [`provoked`]: which errors of which calls were seen.
//! * [`abi`]: raw calls and arguments that must be refused.

pub(crate) mod abi;
pub(crate) mod entry;
pub(crate) mod events;
pub(crate) mod faults;
pub(crate) mod peer;
pub(crate) mod provoked;
pub(crate) mod report;
pub(crate) mod tables;
pub(crate) mod user;
pub(crate) mod world;

use crate::tests;
use crate::verdict::{Totals, Verdict};
use core::fmt::Write;
use pvops_abi::boot::BootContext;
use pvops_abi::ops::console::Writer;
use pvops_abi::ops::{self, cpu};
pub(crate) use report::Report;

/// Prints a line.
macro_rules! println {
    ($($argument:tt)*) => {{
        use core::fmt::Write as _;
        _ = writeln!(pvops_abi::ops::console::Writer, $($argument)*);
    }};
}
pub(crate) use println;

/// The version of the lines that are printed, described in `spec/conformance.md`.
const FORMAT: u32 = 2;

/// What a test needs.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Needs {
    /// A hypervisor that speaks the ABI: the test makes raw calls, or is about deprivileged mode.
    Abi,
    /// The operations only: it runs in every world, and the bare machine is the oracle.
    Ops,
    /// As `Abi`, and a second domain that plays the other part.
    Peer,
}

impl Needs {
    /// The word in the plan.
    const fn word(self) -> &'static str {
        match self {
            Self::Abi | Self::Peer => "abi",
            Self::Ops => "ops",
        }
    }
}

/// An entry of a group's table.
pub(crate) struct Test {
    /// `<group>.<name>`.
    pub(crate) name: &'static str,
    /// The requirements in `spec/` that it covers.
    pub(crate) requirement_ids: &'static [&'static str],
    /// Where it can run.
    pub(crate) needs: Needs,
    /// The test.
    pub(crate) run: fn(&mut Report),
}

/// Runs the tests that the command line selects, or only lists them. True: none failed.
pub(crate) fn run(boot: &BootContext) -> bool {
    let selection = Selection::from(boot);
    print_plan(&selection);
    if boot.option("list") == Some("1") {
        println!("suite: listed");
        return true;
    }
    let mut totals = Totals::default();
    selection.tests().for_each(|test| totals.add(run_one(test)));
    provoked::print();
    let Totals { passed, failed, errors, skipped } = totals;
    println!("suite: {passed} passed, {failed} failed, {errors} errors, {skipped} skipped");
    totals.is_success()
}

/// What the command line selects.
struct Selection<'a> {
    only: &'a str,
    skipped: &'a str,
    after: Option<&'a str>,
}

impl<'a> Selection<'a> {
    fn from(boot: &'a BootContext) -> Self {
        Self {
            only: boot.option("only").unwrap_or(""),
            skipped: boot.option("skip").unwrap_or(""),
            after: boot.option("after"),
        }
    }

    fn tests(&self) -> impl Iterator<Item = &'static Test> {
        let begin = match self.after {
            None => 0,
            Some(name) => tests::all().position(|test| test.name == name).map_or(usize::MAX, |at| at + 1),
        };
        tests::all()
            .skip(begin)
            .filter(|test| test.name.starts_with(self.only))
            .filter(|test| !self.skipped.split(',').any(|name| name == test.name))
    }
}

/// Tells what will run, so that whoever reads the rest knows what is missing from it.
fn print_plan(selection: &Selection<'_>) {
    println!(
        "suite: format {FORMAT}, version {}, {} tests, backend {}, ring {}",
        env!("CARGO_PKG_VERSION"),
        selection.tests().count(),
        ops::ops().backend_name,
        cpu::code_segment() & 3
    );
    for test in selection.tests() {
        _ = write!(Writer, "plan: {} {}", test.name, test.needs.word());
        for id in test.requirement_ids {
            _ = write!(Writer, " {id}");
        }
        println!();
    }
}

/// Runs one test. Its name is printed before it starts: a line without a verdict names the test that took the
/// subject down.
fn run_one(test: &Test) -> Verdict {
    _ = write!(Writer, "test: {} ", test.name);
    let mut report = Report::new();
    if test.needs != Needs::Ops && world::start_info().is_none() {
        report.skip("needs a hypervisor");
    } else if test.needs == Needs::Peer && !peer::exists() {
        report.skip("this target starts no second domain");
    } else if let Err(fault) = faults::catch(|| (test.run)(&mut report)) {
        report.unexpected(fault);
    }
    restore();
    println!("{report}");
    report.verdict()
}

/// Puts back what a test may have left behind.
fn restore() {
    ops::irq::disable();
    ops::time::set_deadline(None);
    events::unbind_all();
    tables::load_base_root();
}
