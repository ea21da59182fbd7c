//! Whose turn it is on this CPU: between entry and exit, the current vCPU may become another one.
//!
//! A CPU keeps running its current vCPU until something asks to look again (`PerCpu::reschedule`): it blocked or
//! yielded, mail came, its slice ended, or it stopped. So an ordinary exit costs one look at a flag.
//!
//! The timer is armed for a tick at which something may be due, or for an earlier one: whatever becomes due sooner than
//! that arms it ([`wake_at`]), and what goes away leaves it. When it fires, what is due is done and the rest looked
//! through once for the next. Its interrupt raises the current vCPU's timer port by itself; others get mail.

use super::devices::Change;
use super::lifecycle::{self, Chore};
use super::registry::{self, MAIL_CONSOLE, MAIL_DEVICES, MAIL_DEVICES_SHIFT, MAIL_DOORBELLS, MAIL_TIMER};
use super::registry::{Entry, NEVER};
use super::vcpu::Vcpu;
use super::{Domain, console, devices, events};
use crate::arch::x86_64::cpu::{take_interrupts, wait_for_interrupt};
use crate::arch::x86_64::guest::{current_vcpu, domain, running_domain};
use crate::arch::x86_64::{Frame, apic, cpu, switch, time};
use crate::lock::lock;
use crate::sched::{Policy, Seat};
use pvops_abi::layout::PortKind;

/// How long a vCPU runs while others of its priority are ready.
const SLICE_NS: u32 = 5_000_000;

/// Makes the vCPU current that is to run now, its registers in `frame`. Idles while there is none.
#[inline(never)]
pub fn choose(frame: &mut Frame) {
    let this = cpu();
    loop {
        this.reschedule.set(false);
        if let Some(domain) = running_domain() {
            attend(domain, current_vcpu());
        }
        let next = this.ready.next();
        if next == Seat::NONE {
            idle();
        } else if next != this.seat.get() {
            switch::to(next, frame);
            this.slice_end.set(time::tick_in(SLICE_NS));
            // Round again: what waits for the new one decides whether it really runs.
        } else {
            let (domain, vcpu) = (domain(), current_vcpu());
            vcpu.ensure_root(domain);
            if this.ready.has_rivals() {
                wake_at(this.slice_end.get());
            }
            if domain.chore.get() == Chore::None {
                return;
            }
            lifecycle::step(domain, vcpu, frame);
            take_interrupts();
        }
    }
}

/// Sees to what waits for the current vCPU, and whether it is ready: one with a chore is, whatever else; a paused one is
/// not; a blocked one goes on with an event, and leaves the queue without.
fn attend(domain: &Domain, vcpu: &Vcpu) {
    let entry = vcpu.entry;
    let mail = entry.collect();
    if mail != 0 {
        open(domain, vcpu, mail);
    }
    let has_chore = domain.chore.get() != Chore::None;
    if vcpu.blocked.get() | entry.is_paused() | has_chore {
        let blocked = vcpu.blocked.get() & !vcpu.has_pending_event();
        vcpu.blocked.set(blocked);
        if (blocked | entry.is_paused()) & !has_chore {
            cpu().ready.remove(entry.seat());
        } else {
            cpu().ready.make_ready(entry.seat());
        }
    }
}

/// Turns mail into ports.
#[inline(never)]
fn open(domain: &Domain, vcpu: &Vcpu, mail: u32) {
    lifecycle::collect(domain, mail);
    if domain.chore.get().replaces_memory() {
        // Nobody is left whom it could reach, and the memory in which ports are pending is being cleaned.
        return;
    }
    if mail & MAIL_TIMER != 0 {
        events::raise_timer(domain, vcpu);
    }
    if mail & MAIL_CONSOLE != 0 {
        events::raise_source(domain, PortKind::Console, 0);
    }
    let mut left = mail & (MAIL_DOORBELLS | MAIL_DEVICES);
    while left != 0 {
        let bit = left.trailing_zeros();
        left &= left - 1;
        let (mut kind, mut number) = (PortKind::Doorbell, bit);
        if bit >= MAIL_DEVICES_SHIFT {
            (kind, number) = (PortKind::Device, bit - MAIL_DEVICES_SHIFT);
            devices::note(domain.number, number, Change::Looked);
        }
        events::raise_source(domain, kind, number);
    }
}

/// Nobody is ready. Idle time goes into zeroing dropped tables, one at a time, unless the timer is about to fire.
#[inline(never)]
fn idle() {
    /// More than one table needs.
    const ONE_TABLE_NS: u32 = 3_000;
    let has_time = || time::tick_in(ONE_TABLE_NS) < cpu().timer_armed.get();
    if running_domain().is_some_and(|domain| has_time() && lock(&domain.mmu).reclaim_one()) {
        take_interrupts();
    } else {
        trace!(Idle);
        wait_for_interrupt();
    }
}

/// Something is due on this CPU at `tick`.
#[inline(never)]
pub fn wake_at(tick: u64) {
    if tick < cpu().timer_armed.get() {
        apic::arm_timer(tick);
    }
}

/// This CPU's timer fired: does what is due, and arms it for what is next.
pub fn timer_expired() {
    let this = cpu();
    this.timer_armed.set(NEVER);
    let now = time::now();
    let mut next = NEVER;
    let mut is_due = |tick: u64| {
        if tick > now {
            next = next.min(tick);
        }
        tick <= now
    };
    for entry in registry::of_this_cpu() {
        if is_due(entry.deadline()) {
            expire(entry);
        }
    }
    if is_due(this.look.get()) {
        this.look.set(NEVER);
        registry::look_for_mail();
    }
    if this.ready.has_rivals() && is_due(this.slice_end.get()) {
        yield_now();
    }
    if this.number.get() == 0 && is_due(console::next_tick()) {
        console::send();
    }
    wake_at(next);
}

/// The deadline of a vCPU is reached.
#[inline]
fn expire(entry: &Entry) {
    trace!(Deadline, crate::arch::x86_64::trace::word_of(entry.id()), entry.deadline());
    entry.set_deadline(NEVER);
    if entry.seat() == cpu().seat.get() && domain().chore.get() == Chore::None {
        // It runs, and gets the event on the way back; or it is what this CPU idles for.
        events::raise_timer(domain(), current_vcpu());
    } else {
        entry.post(MAIL_TIMER);
    }
}

/// The current vCPU gives way to others of its priority.
#[inline(never)]
pub fn yield_now() {
    let this = cpu();
    if this.ready.has_rivals() {
        this.ready.yield_to_others(this.seat.get());
        this.reschedule.set(true);
    }
}
