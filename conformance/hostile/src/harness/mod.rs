//! What attacks stand on: memory, tables, attempts, events, and the count of answers that were wrong.

pub(crate) mod attempt;
pub(crate) mod events;
pub(crate) mod tables;
pub(crate) mod world;

use core::fmt;
use core::sync::atomic::{AtomicU64, Ordering};
use pvops_abi::call::CallId;
use pvops_abi::hyper::{self, Reply};
use pvops_abi::layout::TrapFrame;
use pvops_abi::ops::{self, time};

/// Prints a line.
macro_rules! println {
    ($($argument:tt)*) => {{
        use core::fmt::Write as _;
        _ = writeln!(pvops_abi::ops::console::Writer, $($argument)*);
    }};
}
pub(crate) use println;

/// Wrong answers that are printed; all are counted.
const SHOWN: u64 = 12;

static CHECKS: AtomicU64 = AtomicU64::new(0);
static WRONG: AtomicU64 = AtomicU64::new(0);

/// Makes what all attacks need.
pub(crate) fn prepare() {
    ops::irq::disable();
    time::set_deadline(None);
    tables::prepare();
    attempt::prepare();
    events::prepare();
}

/// Makes the call `id`; missing arguments are zero.
pub(crate) fn call(id: CallId, arguments: &[u64]) -> Reply {
    let mut all = [0; 6];
    all[..arguments.len()].copy_from_slice(arguments);
    hyper::call(id, all)
}

/// A number from the command line, decimal or after `0x`.
pub(crate) fn option(key: &str, default: u64) -> u64 {
    let Some(text) = world::boot().option(key) else { return default };
    let parsed = match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16),
        None => text.parse(),
    };
    parsed.unwrap_or(default)
}

/// Registers area, trap table, entries, stack and GS base again. Under the ABI `start_cpu` is nothing but that.
pub(crate) fn register_again() {
    ops::cpu::start_cpu(0, &world::BLOCK, crate::guest::HANDLERS);
}

/// The answer must be right.
pub(crate) fn check(holds: bool, what: fmt::Arguments<'_>) {
    CHECKS.fetch_add(1, Ordering::Relaxed);
    if !holds && WRONG.fetch_add(1, Ordering::Relaxed) < SHOWN {
        println!("wrong: {what}");
    }
}

/// The attempt must have ended with this vector and error code.
pub(crate) fn check_trap(trap: &TrapFrame, vector: u64, error: u64, what: fmt::Arguments<'_>) {
    check(
        trap.vector == vector && trap.error_code == error,
        format_args!("{what}: {} instead of vector {vector} error {error:#x}", Shown(trap)),
    );
}

/// As [`check_trap`], for a locked instruction: some report its fault as the read's, some as the write's.
pub(crate) fn check_locked(trap: &TrapFrame, error: u64, what: fmt::Arguments<'_>) {
    check_trap(&TrapFrame { error_code: trap.error_code | 2, ..*trap }, 14, error | 2, what);
}

/// The attempt must have ended with one of these vectors.
pub(crate) fn check_vector(trap: &TrapFrame, vectors: &[u64], what: fmt::Arguments<'_>) {
    check(vectors.contains(&trap.vector), format_args!("{what}: {} instead of {vectors:?}", Shown(trap)));
}

/// A call's status must be one that the specification knows.
pub(crate) fn check_status(status: i64, what: fmt::Arguments<'_>) {
    check((-8..=0).contains(&status), format_args!("{what}: status {status}"));
}

/// Checks so far, and how many went wrong.
pub(crate) fn totals() -> (u64, u64) {
    (CHECKS.load(Ordering::Relaxed), WRONG.load(Ordering::Relaxed))
}

/// A trap in words.
pub(crate) struct Shown<'a>(pub(crate) &'a TrapFrame);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let TrapFrame { vector, error_code, rip, fault_address, .. } = self.0;
        write!(f, "vector {vector} error {error_code:#x} rip {rip:#x} address {fault_address:#x}")
    }
}
