//! From one domain to another on the same CPU: two domains yield to each other all the time.

use super::Mark;
use crate::measure::{self, SAMPLES, Span, figure, println, timed};
use crate::world;
use core::sync::atomic::Ordering;
use pvops_abi::call::{Sched, Time};
use pvops_abi::hyper;

/// Yields of the partner: more than there are samples, so that it is there until the last one.
const PARTNERS_YIELDS: u64 = SAMPLES as u64 + 500;

/// Measures: a sample is the way to the partner and back, two switches and the two instructions of its loop.
pub(crate) fn run() {
    measure::calibrate();
    // The partner boots first.
    (0..10).for_each(|_| _ = super::call(Sched::Yield.id(), &[]));
    let began = stolen_and_clock();
    let arguments = [0, 0, 0, 0, 0, Sched::Yield.id().0, world::call_stub(), 0, 0];
    figure("switch.domain", Mark::Switch as u16, Span::Whole, 2, |_| {
        // SAFETY: the call changes nothing but the registers of a call.
        unsafe { timed!(Mark::Switch, arguments, "mov eax, r14d", "call r15") }.whole()
    });
    expect_stolen(began, stolen_and_clock());
    println!("hypermark: done");
}

/// For how long this vCPU was ready while another ran, as the hypervisor says, and the clock, in nanoseconds.
fn stolen_and_clock() -> [u64; 2] {
    [world::BLOCK.area.stolen_ns.load(Ordering::Relaxed), super::call(Time::Clock.id(), &[])]
}

/// The partner had part of the time, and not all of it.
fn expect_stolen(began: [u64; 2], ended: [u64; 2]) {
    let [stolen, elapsed] = [0, 1].map(|at| ended[at] - began[at]);
    assert!(stolen > elapsed / 10 && stolen < elapsed / 2, "{stolen} ns of {elapsed} ns were the partner's");
}

/// Gives the CPU back at once, each time it gets it: a loop of as few instructions as possible.
pub(crate) fn be_partner() {
    hyper::call(Sched::Yield.id(), [0; 6]).result().expect("a call without arguments");
    // SAFETY: the call changes nothing but the registers of a call.
    unsafe {
        core::arch::asm!(
            "2:",
            "mov eax, {id}",
            "call {stub}",
            "dec {count}",
            "jnz 2b",
            id = const Sched::Yield.id().0,
            stub = in(reg) world::call_stub(),
            count = inout(reg) PARTNERS_YIELDS => _,
            out("rax") _, out("rdx") _, out("rcx") _, out("r11") _,
        );
    }
}
