//! `run=ops`: what each operation costs in ticks of the time-stamp counter, which counts instructions under
//! `--icount`. Operations stand one behind the other, so that nothing but them is counted.

use crate::arch;
use crate::cpu;
use crate::events;
use crate::report::Report;
use core::hint::black_box;
use pvops_abi::addr::VirtAddr;
use pvops_abi::ops::event::{self, EventSource, Port};
use pvops_abi::ops::mmu::{Retain, mmu};
use pvops_abi::ops::{self, irq, time};

/// Operations between two looks at the counter.
const TIMES: u64 = 16;
/// What is measured is the least of so many, so that the first faults on code and data do not count.
const ROUNDS: usize = 5;

/// Ticks of one operation.
macro_rules! cost {
    ($operation:expr) => {{
        let rounds = [(); ROUNDS].map(|()| {
            let start = arch::ticks();
            cost!(@four cost!(@four $operation));
            arch::ticks() - start
        });
        (least(rounds) - overhead()) / TIMES
    }};
    (@four $operation:expr) => {{
        $operation;
        $operation;
        $operation;
        $operation;
    }};
}

/// Measures everything; returns the status to end with.
pub(crate) fn run() -> u8 {
    let report = Report::new();
    flags(&report);
    irq::disable();
    cpu_and_time(&report);
    translations(&report);
    irq::enable();
    waiting(&report);
    report.conclude()
}

fn flags(report: &Report) {
    report.measured("op_irq_enable", cost!(irq::enable()), "ticks");
    report.measured("op_irq_are_enabled", cost!(_ = irq::are_enabled()), "ticks");
    let pair = cost!(irq::restore(irq::save_and_disable()));
    report.measured("op_irq_save_and_restore", pair, "ticks");
    report.measured("op_irq_disable", cost!(irq::disable()), "ticks");
    report.measured("op_irq_save_and_disable", cost!(_ = irq::save_and_disable()), "ticks");
    irq::enable();
}

fn cpu_and_time(report: &Report) {
    report.measured("op_cpu_current", cost!(_ = ops::cpu::current()), "ticks");
    report.measured("op_cpu_block", cost!(_ = ops::cpu::block()), "ticks");
    report.measured("op_cpu_spin_hint", cost!(ops::cpu::spin_hint()), "ticks");
    report.measured("op_cpu_user_access", cost!(ops::cpu::with_user_access(|| ())), "ticks");
    report.measured("op_time_now_ns", cost!(_ = time::now_ns()), "ticks");
}

fn translations(report: &Report) {
    // In registers, as in a kernel that has just computed them.
    let (root, retain) = black_box((mmu().current_root(), Retain::Keep));
    report.measured("op_mmu_load_root", cost!(arch::load_root(root, retain)), "ticks");
    let (page, cpus) = black_box((VirtAddr(core::ptr::from_ref(&TIMES) as u64), cpu::online()));
    report.measured("op_mmu_flush_page", cost!(mmu().flush_page(page, cpus)), "ticks");
}

/// Waits for an event that is pending already: with its delivery, which is the larger part.
fn waiting(report: &Report) {
    let port = events::bind(EventSource::Ipi { cpu: 0 }, ignore).expect("an inter-processor port");
    let rounds = [(); ROUNDS].map(|()| {
        irq::disable();
        event::send(port);
        let start = arch::ticks();
        irq::enable_and_wait();
        arch::ticks() - start
    });
    events::unbind(port);
    report.measured("op_irq_wait_with_event", least(rounds) - overhead(), "ticks");
}

fn ignore(_: Port) {}

/// Ticks between two looks at the counter with nothing between.
fn overhead() -> u64 {
    least([(); ROUNDS].map(|()| {
        let start = arch::ticks();
        arch::ticks() - start
    }))
}

fn least(rounds: [u64; ROUNDS]) -> u64 {
    rounds.into_iter().fold(u64::MAX, u64::min)
}
