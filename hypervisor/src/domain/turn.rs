//! Whose turn it is on this CPU: between entry and exit, the current vCPU may become another one.
//!
//! A CPU keeps running its current vCPU until something asks to look again (`PerCpu::reschedule`): it blocked or
//! yielded, mail came, its slice ended, or it stopped. So an ordinary exit costs one look at a flag.

use super::lifecycle::{self, Chore};
use super::registry::{self, MAIL_CONSOLE, MAIL_DEVICES, MAIL_DEVICES_SHIFT, MAIL_DOORBELLS, MAIL_TIMER};
use super::vcpu::Vcpu;
use super::{Domain, console, devices, events};
use crate::arch::x86_64::guest::{domain, running_domain};
use crate::arch::x86_64::{Frame, apic, cpu, switch, time};
use crate::sched::{Policy, VcpuId};
use pvops_abi::layout::PortKind;

/// How long a vCPU runs while others of its priority are ready.
const SLICE_NS: u64 = 5_000_000;

/// Makes the vCPU current that is to run now, its registers in `frame`. Idles while there is none.
pub fn choose(frame: &mut Frame) {
    let this = cpu();
    loop {
        if let Some(domain) = running_domain() {
            let vcpu = domain.current_vcpu();
            collect(domain, vcpu);
            settle(domain, vcpu);
        }
        this.reschedule.set(false);
        let next = this.ready.borrow().next();
        match next {
            Some(id) if Some(id) == current() => {
                let (domain, vcpu) = (domain(), domain().current_vcpu());
                vcpu.ensure_root(domain);
                if domain.chore.get() == Chore::None {
                    arm_timer();
                    return;
                }
                lifecycle::step(domain, vcpu, frame);
                arm_timer();
                crate::arch::x86_64::cpu::take_interrupts();
            }
            Some(id) => {
                switch::to(id, frame);
                this.slice_end_ns.set(time::now_ns() + SLICE_NS);
                // Round again: what waits for the new one decides whether it really runs.
            }
            None => idle(),
        }
    }
}

/// The vCPU whose registers and address space this CPU has, if any.
#[must_use]
pub fn current() -> Option<VcpuId> {
    running_domain().map(|domain| domain.vcpu_id(domain.current_vcpu()))
}

/// Turns the current vCPU's mail into ports.
fn collect(domain: &Domain, vcpu: &Vcpu) {
    let mail = registry::entry(domain.vcpu_id(vcpu)).collect();
    lifecycle::collect(domain, mail);
    if domain.chore.get().replaces_memory() {
        // Nobody is left whom it could reach, and the memory in which ports are pending is being cleaned.
        return;
    }
    if mail & MAIL_TIMER != 0 {
        events::raise_timer(domain, vcpu.number);
    }
    if mail & MAIL_CONSOLE != 0 {
        events::raise_source(domain, PortKind::Console, 0);
    }
    devices::collect(domain, (mail & MAIL_DEVICES) >> MAIL_DEVICES_SHIFT);
    let mut rung = mail & MAIL_DOORBELLS;
    while rung != 0 {
        events::raise_source(domain, PortKind::Doorbell, rung.trailing_zeros());
        rung &= rung - 1;
    }
}

/// Ready or not: one with a chore is, a paused one is not; a blocked vCPU with an event goes on, one without leaves the queue.
fn settle(domain: &Domain, vcpu: &Vcpu) {
    let id = domain.vcpu_id(vcpu);
    if domain.chore.get() != Chore::None {
        cpu().ready.borrow_mut().make_ready(id, vcpu.priority);
        return;
    }
    if registry::entry(id).is_paused() {
        cpu().ready.borrow_mut().remove(id);
        return;
    }
    if !vcpu.blocked.get() {
        return;
    }
    if vcpu.has_pending_event() {
        vcpu.blocked.set(false);
        cpu().ready.borrow_mut().make_ready(id, vcpu.priority);
    } else {
        cpu().ready.borrow_mut().remove(id);
    }
}

/// Nobody is ready. Idle time goes into zeroing dropped tables.
fn idle() {
    arm_timer();
    let has_work = running_domain().is_some_and(|domain| domain.mmu.lock().reclaim_one());
    if has_work {
        crate::arch::x86_64::cpu::take_interrupts();
    } else {
        crate::arch::x86_64::cpu::wait_for_interrupt();
    }
}

/// Arms this CPU's timer for the next deadline of its vCPUs, for the end of the slice if somebody waits for it, and for
/// mail that has to wait, and for the console if CPU 0 is to send.
pub fn arm_timer() {
    let this = cpu();
    let mut next = registry::NEVER;
    for entry in registry::of_this_cpu() {
        next = next.min(entry.deadline_ns());
    }
    if this.ready.borrow().has_rivals() {
        next = next.min(this.slice_end_ns.get());
    }
    if this.number.get() == 0 {
        next = next.min(console::next_ns());
    }
    if this.look_ns.get() != 0 {
        next = next.min(this.look_ns.get());
    }
    apic::arm_timer(next);
}

/// This CPU's timer fired: deadlines that are reached become mail, an ended slice a change of turn. The timer is armed
/// here, or by who looks at whose turn it is.
pub fn timer_expired() {
    let this = cpu();
    let now = time::now_ns();
    for entry in registry::of_this_cpu() {
        if entry.deadline_ns() <= now {
            entry.set_deadline_ns(registry::NEVER);
            registry::post(entry.id(), MAIL_TIMER);
        }
    }
    if this.number.get() == 0 && console::next_ns() <= now {
        console::send();
    }
    if this.look_ns.get() != 0 && this.look_ns.get() <= now {
        this.look_ns.set(0);
        registry::look_for_mail();
    }
    if this.slice_end_ns.get() <= now {
        this.slice_end_ns.set(now + SLICE_NS);
        if let Some(id) = current() {
            this.ready.borrow_mut().yield_to_others(id);
            this.reschedule.set(true);
        }
    }
    if !this.reschedule.get() {
        arm_timer();
    }
}

/// A vCPU of this CPU has a deadline. One that is later than before leaves the timer where it is: it fires, and is
/// armed anew.
pub fn note_deadline(deadline_ns: u64) {
    if deadline_ns < cpu().timer_armed.get() {
        apic::arm_timer(deadline_ns);
    }
}

/// The current vCPU gives way to others of its priority.
pub fn yield_now() {
    if cpu().ready.borrow().is_alone() {
        return;
    }
    let domain = domain();
    cpu().ready.borrow_mut().yield_to_others(domain.vcpu_id(domain.current_vcpu()));
    cpu().reschedule.set(true);
}
