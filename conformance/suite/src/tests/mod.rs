//! The tests, a file per group. To add one: write `fn(&mut Report)` in the group's file and enter it in the
//! table there.

mod base;
mod batch;
mod console;
mod cpu_registration;
mod cpu_state;
mod entry_state;
mod event_calls;
mod event_delivery;
mod event_page;
mod instructions;
mod iret;
mod mmu_calls;
mod mmu_faults;
mod mmu_roots;
mod mmu_translations;
mod peers;
mod registers;
mod sched;
mod start;
mod time;
mod transport;
mod traps;
mod user;
mod user_abi;

use crate::harness::Test;

/// All tests, in the order in which they run. `event_page` comes last: a subject that accepts a bad page there
/// can deliver no events any more.
const GROUPS: [&[Test]; 24] = [
    start::TESTS,
    entry_state::TESTS,
    transport::TESTS,
    base::TESTS,
    batch::TESTS,
    registers::TESTS,
    traps::TESTS,
    instructions::TESTS,
    cpu_state::TESTS,
    cpu_registration::TESTS,
    iret::TESTS,
    user::TESTS,
    user_abi::TESTS,
    event_delivery::TESTS,
    event_calls::TESTS,
    mmu_translations::TESTS,
    mmu_faults::TESTS,
    mmu_roots::TESTS,
    mmu_calls::TESTS,
    time::TESTS,
    console::TESTS,
    sched::TESTS,
    peers::TESTS,
    event_page::TESTS,
];

/// See [`GROUPS`].
pub(crate) fn all() -> impl Iterator<Item = &'static Test> {
    GROUPS.into_iter().flatten()
}
