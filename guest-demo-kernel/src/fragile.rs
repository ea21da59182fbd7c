//! `run=fragile`: a kernel that breaks, for those who want to see what comes after. It counts the words that its free
//! memory holds from before, fills that memory, works for a while and crashes.
//!
//! `crash=` is the kind of crash (those of the shell's command), `reboot` for a wish to be started anew, or `none`;
//! `after_ms=` when it comes.

use crate::arch::raw;
use crate::console::println;
use crate::memory::frames;
use crate::options::{self, Refused};
use crate::report::Report;
use crate::shell;
use crate::threads;
use pvops_abi::addr::{PAGE_SIZE, PhysAddr};
use pvops_abi::boot::option_of;
use pvops_abi::ops::sched::{self, ShutdownReason};
use pvops_abi::ops::time;

/// What memory is filled with.
const FILLING: [u8; PAGE_SIZE as usize] = [0xa5; PAGE_SIZE as usize];
/// Frames that are taken at once.
const RUN_FRAMES: usize = 16;
const NS_PER_MS: u64 = 1_000_000;

/// Runs as the command line says; returns the status to end with, if it does not crash.
pub(crate) fn run(command_line: &str) -> Result<u8, Refused> {
    let after_ms = options::number(command_line, "after_ms", 0..=1_000_000)?.unwrap_or(20);
    let kind = option_of(command_line, "crash").unwrap_or("ud");
    let mut report = Report::new();
    let (looked_at, dirty) = fill_free_memory();
    report.check("memory is left to look at", looked_at > 0);
    report.measured("fragile_frames", looked_at, "frames");
    report.measured("fragile_dirty", dirty, "words");
    report.measured("fragile_clock", time::now_ns() / NS_PER_MS, "ms");
    threads::sleep(after_ms * NS_PER_MS);
    match kind {
        "none" => {}
        "reboot" => sched::shutdown(ShutdownReason::Reboot, 0),
        kind if shell::crash::crash(kind) => println!("still here: {kind} broke nothing"),
        kind => {
            let wanted = "a kind of crash, reboot or none".into();
            return Err(Refused { option: "crash", value: kind.into(), wanted });
        }
    }
    Ok(report.conclude())
}

/// Takes all frames that are free in rows, looks at them, fills them. How many, and how many words were not zero.
fn fill_free_memory() -> (u64, u64) {
    let (mut looked_at, mut dirty, mut last) = (0, 0, None);
    while let Some(first) = frames::allocate_run(RUN_FRAMES) {
        for number in 0..RUN_FRAMES as u64 {
            let frame = PhysAddr(first.0 + number * PAGE_SIZE);
            dirty += (0..512).filter(|word| raw::word_of_frame(frame, *word) != 0).count() as u64;
            raw::write_frame(frame, 0, &FILLING);
            looked_at += 1;
        }
        last = Some(first);
    }
    // The kernel needs a few itself.
    if let Some(first) = last {
        (0..RUN_FRAMES as u64).for_each(|number| frames::release(PhysAddr(first.0 + number * PAGE_SIZE)));
    }
    (looked_at, dirty)
}
