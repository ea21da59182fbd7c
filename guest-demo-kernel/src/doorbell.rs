//! `run=doorbell`: two domains ring each other over a channel, and the one that begins measures the way there and back.
//!
//! `channel=0` names this end of the channel, `begin=1` the side that begins, `rounds=` how often it rings. The other
//! side answers every ring until none has come for a while.

use crate::events;
use crate::options::{self, Refused};
use crate::report::Report;
use crate::sync::WaitQueue;
use crate::threads::{self, Builder};
use core::sync::atomic::{AtomicU64, Ordering};
use demo_logic::histogram::Histogram;
use pvops_abi::ops::event::{self, EventSource, Port};
use pvops_abi::ops::time;

const DEFAULT_ROUNDS: u64 = 1000;
/// How long the side that begins waits before it rings again a peer that may not listen yet.
const PATIENCE_NS: u64 = 1_000_000;
/// Without a ring for so long, the side that answers is done.
const SILENCE_NS: u64 = 300_000_000;

/// Rings that arrived.
static RUNG: AtomicU64 = AtomicU64::new(0);
static WAITING: WaitQueue = WaitQueue::new();
static LATENCIES: Histogram = Histogram::new();

/// Plays the part that the command line asks for; returns the status to end with.
pub(crate) fn run(command_line: &str) -> Result<u8, Refused> {
    let channel = options::number(command_line, "channel", 0..=u64::from(u32::MAX))?.unwrap_or(0) as u32;
    let rounds = options::number(command_line, "rounds", 1..=1_000_000_000)?.unwrap_or(DEFAULT_ROUNDS);
    let begins = options::flag(command_line, "begin")?;
    let mut report = Report::new();
    match events::bind(EventSource::Doorbell { channel }, on_ring) {
        Ok(port) if begins => ring_and_measure(port, rounds, &mut report),
        Ok(port) => answer(port, &mut report),
        Err(_) => report.check("the channel exists", false),
    }
    Ok(report.conclude())
}

fn on_ring(_: Port) {
    RUNG.fetch_add(1, Ordering::Relaxed);
    WAITING.wake_all();
}

/// Waits for a ring beyond the first `seen`; how many there were.
fn wait_beyond(seen: u64) -> u64 {
    WAITING.wait_until(|| Some(RUNG.load(Ordering::Relaxed)).filter(|rung| *rung > seen))
}

/// Exercises `event::send`.
fn ring_and_measure(port: Port, rounds: u64, report: &mut Report) {
    while RUNG.load(Ordering::Relaxed) == 0 {
        event::send(port);
        threads::sleep(PATIENCE_NS);
    }
    let mut seen = RUNG.load(Ordering::Relaxed);
    for _ in 0..rounds {
        let start = time::now_ns();
        event::send(port);
        seen = wait_beyond(seen);
        LATENCIES.add(time::now_ns() - start);
    }
    report.count("doorbell_rounds", rounds);
    report.measured("doorbell_round_trip_median", LATENCIES.percentile(50), "ns");
    report.measured("doorbell_round_trip_max", LATENCIES.max(), "ns");
}

fn answer(port: Port, report: &mut Report) {
    let clock = Builder::new("clock", threads::HIGH).build(watch_the_clock).expect("memory for a thread");
    threads::launch(&clock);
    let mut answered = 0;
    let mut end_ns = u64::MAX;
    loop {
        let rung = WAITING.wait_until(|| {
            let rung = RUNG.load(Ordering::Relaxed);
            (rung > answered || time::now_ns() >= end_ns).then_some(rung)
        });
        if rung == answered {
            break;
        }
        answered = rung;
        event::send(port);
        end_ns = time::now_ns() + SILENCE_NS;
    }
    report.measured("doorbell_answers", answered, "rings");
}

/// Has waiting threads look at the clock now and then.
fn watch_the_clock() {
    loop {
        threads::sleep(SILENCE_NS / 10);
        WAITING.wake_all();
    }
}
