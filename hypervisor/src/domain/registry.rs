//! What the whole machine knows of each vCPU, whichever domain's address space is loaded: where it runs, what
//! waits for it, when its deadline is. Everything else is the domain's own and mapped nowhere else.
//!
//! *Mail* is how anybody makes something happen in a domain: a bit per cause, set by an exchange. The CPU that the
//! vCPU is placed on collects it when the vCPU is current, and turns bits into event ports. So no CPU ever
//! touches the state of a domain that it does not run.

pub mod boot;

use super::{MAX_VCPUS, console, turn};
use crate::arch::x86_64::{apic, cpu, machine, time};
use crate::sched::{MAX_READY, Policy, Seat, VcpuId};
use core::cell::Cell;
use core::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering};
use system_image::{ExitStatus, limits};

const _: () = assert!(MAX_DOMAINS <= MAX_READY, "one vCPU per domain: all fit on one CPU");

/// Domains that this hypervisor runs.
pub const MAX_DOMAINS: usize = limits::MAX_DOMAINS;

/// Mail: the deadline was reached.
pub const MAIL_TIMER: u32 = 1 << 31;
/// Mail: console input is there.
pub const MAIL_CONSOLE: u32 = 1 << 30;
/// Mail: the domain is to start anew.
pub const MAIL_RESTART: u32 = 1 << 29;
/// Mail: the domain is to print its dump.
pub const MAIL_DUMP: u32 = 1 << 28;
/// Mail: the domain is not paused any more. Says nothing more; whoever collects it looks at everything.
const MAIL_RESUMED: u32 = 1 << 27;
/// Mail that concerns a paused domain too.
const MAIL_OF_OPERATOR: u32 = MAIL_RESTART | MAIL_DUMP;
/// Mail of which its CPU is told even if there is other mail: that may wait for a paused domain, or be left by a stopped one.
const MAIL_HEARD: u32 = MAIL_OF_OPERATOR | MAIL_RESUMED;
/// Mail: the other ends of the domain's channels were rung, a bit per channel.
pub const MAIL_DOORBELLS: u32 = (1 << system_image::layout::MAX_CHANNELS) - 1;

/// Mail: devices of the domain interrupted; the bit of device 0, the others follow.
pub const MAIL_DEVICES_SHIFT: u32 = system_image::layout::MAX_CHANNELS as u32;
/// See [`MAIL_DEVICES_SHIFT`].
pub const MAIL_DEVICES: u32 = ((1 << system_image::layout::MAX_DEVICES) - 1) << MAIL_DEVICES_SHIFT;

const _: () = assert!(MAIL_DEVICES < MAIL_RESUMED, "each bit is one cause's");

/// Kicks of other CPUs that one CPU looks at within [`KICKS_NS`].
const MOST_KICKS: u32 = 8;
const KICKS_NS: u32 = 128_000;

/// No deadline: a tick that never comes, and what guests say for it.
pub const NEVER: u64 = u64::MAX;

/// A vCPU, as everybody may know it.
#[derive(Debug)]
pub struct Entry {
    /// So are those that do not exist.
    stopped: AtomicBool,
    paused: AtomicBool,
    /// Its number in its domain.
    number: AtomicU8,
    /// Where it is placed; [`NOWHERE`]: it does not exist.
    cpu: AtomicU32,
    priority: AtomicU8,
    /// Its place in the queue of its CPU, which boot sets.
    seat: AtomicU8,
    mail: AtomicU32,
    /// In ticks.
    deadline: AtomicU64,
    /// The tick since which it waits for its CPU, if it does.
    waits_since: AtomicU64,
    /// A root of the CPU that carries the domain's window.
    root: AtomicU64,
}

/// [`Entry::cpu`] of none.
const NOWHERE: u32 = u32::MAX;

static ENTRIES: [Entry; MAX_DOMAINS * MAX_VCPUS] = [const {
    Entry {
        stopped: AtomicBool::new(true),
        paused: AtomicBool::new(false),
        number: AtomicU8::new(0),
        cpu: AtomicU32::new(NOWHERE),
        priority: AtomicU8::new(0),
        seat: AtomicU8::new(Seat::NONE.to_bits()),
        mail: AtomicU32::new(0),
        deadline: AtomicU64::new(NEVER),
        waits_since: AtomicU64::new(0),
        root: AtomicU64::new(0),
    }
}; MAX_DOMAINS * MAX_VCPUS];

static DOMAINS: AtomicU32 = AtomicU32::new(0);
static RUNNING: AtomicU32 = AtomicU32::new(0);
/// Status of the system: the first that is not success.
static STATUS: AtomicU8 = AtomicU8::new(0);

/// The entry of `id`.
#[must_use]
pub fn entry(id: VcpuId) -> &'static Entry {
    let vcpu = usize::from(id.vcpu);
    let first = usize::from(id.domain) % MAX_DOMAINS * MAX_VCPUS;
    &ENTRIES[if vcpu < MAX_VCPUS { first + vcpu } else { first }]
}

/// The vCPUs placed on this CPU, stopped ones included: they have no deadline.
#[inline]
pub fn of_this_cpu() -> impl Iterator<Item = &'static Entry> {
    cpu().members.iter().map_while(Cell::get)
}

/// The vCPU of this CPU that has `seat`, which is somebody's.
#[must_use]
pub fn at(seat: Seat) -> &'static Entry {
    cpu().members[seat.number()].get().unwrap_or(&ENTRIES[0])
}

/// Domains of this system.
#[must_use]
pub fn domain_count() -> u32 {
    DOMAINS.load(Ordering::Relaxed)
}

/// A vCPU stopped. When it was the last, or if `ends_system`, the machine ends.
pub fn stop(entry: &Entry, status: ExitStatus, ends_system: bool) {
    let _ = STATUS.compare_exchange(0, status.code(), Ordering::AcqRel, Ordering::Relaxed);
    entry.stopped.store(true, Ordering::Release);
    entry.set_deadline(NEVER);
    cpu().ready.remove(entry.seat());
    if RUNNING.fetch_sub(1, Ordering::AcqRel) == 1 || ends_system {
        console::drain();
        let code = STATUS.load(Ordering::Acquire);
        machine::power_off(ExitStatus::from_code(code).unwrap_or(status));
    }
}

/// A vCPU is to run again: not paused, and if it had stopped, with a start anew to follow.
pub fn revive(id: VcpuId) {
    let entry = entry(id);
    entry.paused.store(false, Ordering::Release);
    if entry.cpu() != NOWHERE && entry.stopped.swap(false, Ordering::AcqRel) {
        RUNNING.fetch_add(1, Ordering::AcqRel);
    }
}

/// Keeps a vCPU from running; its CPU finds out when it looks at it next, which is soon.
pub fn pause(id: VcpuId) {
    let entry = entry(id);
    if !entry.is_stopped() {
        entry.paused.store(true, Ordering::Release);
        knock(entry);
    }
}

/// Undoes [`pause`].
pub fn resume(id: VcpuId) {
    if entry(id).paused.swap(false, Ordering::AcqRel) {
        post(id, MAIL_RESUMED);
    }
}

/// Has the CPU of a vCPU look at who runs.
fn knock(entry: &Entry) {
    let target = entry.cpu();
    if target == cpu().number.get() {
        cpu().reschedule.set(true);
    } else {
        apic::kick(target);
    }
}

/// Leaves mail for a vCPU and sees to it that its CPU collects it.
#[inline(never)]
pub fn post(id: VcpuId, mail: u32) {
    entry(id).post(mail);
}

/// Makes a vCPU of this CPU ready; who runs is looked at again before the CPU goes back to a guest.
fn wake(entry: &Entry) {
    if entry.is_paused() && entry.mail.load(Ordering::SeqCst) & MAIL_OF_OPERATOR == 0 {
        return;
    }
    let this = cpu();
    if this.ready.make_ready(entry.seat()) {
        entry.begin_to_wait(time::now());
    }
    this.reschedule.set(true);
}

/// Another CPU left mail here, or paused somebody. A peer that does nothing but ring could keep a CPU of others busy
/// with that, so behind [`MOST_KICKS`] the mail waits for the end of [`KICKS_NS`]; as long as it is not collected, nobody
/// kicks on its account.
pub fn kicked() {
    let this = cpu();
    if this.kicks_end.get() <= time::now() {
        this.kicks_end.set(time::tick_in(KICKS_NS));
        this.kicks.set(0);
    }
    if this.kicks.get() == MOST_KICKS {
        this.look.set(this.kicks_end.get());
        turn::wake_at(this.kicks_end.get());
    } else {
        this.kicks.set(this.kicks.get() + 1);
        look_for_mail();
    }
}

/// Finds those of this CPU who have mail.
pub fn look_for_mail() {
    cpu().reschedule.set(true);
    for entry in of_this_cpu() {
        if entry.mail.load(Ordering::SeqCst) != 0 && !entry.is_stopped() {
            wake(entry);
        }
    }
}

impl Entry {
    /// See [`post`].
    pub fn post(&self, mail: u32) {
        if self.is_stopped() {
            return;
        }
        let before = self.mail.fetch_or(mail, Ordering::SeqCst);
        let target = self.cpu();
        if target == cpu().number.get() {
            wake(self);
        } else if (before == 0 || mail & MAIL_HEARD != 0) && !mutant!(IpiSkipped) {
            apic::kick(target);
        }
    }

    /// Its number in its domain.
    #[must_use]
    pub fn number(&self) -> usize {
        self.number.load(Ordering::Relaxed).into()
    }

    /// Whose it is, for a record.
    #[cfg(feature = "trace")]
    #[must_use]
    pub fn id(&self) -> VcpuId {
        let index = (core::ptr::from_ref(self) as usize - ENTRIES.as_ptr() as usize) / size_of::<Self>();
        VcpuId { domain: (index / MAX_VCPUS) as u16, vcpu: self.number() as u16 }
    }

    fn cpu(&self) -> u32 {
        self.cpu.load(Ordering::Relaxed)
    }

    /// Whether it has stopped.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Acquire)
    }

    /// Whether it is kept from running.
    #[must_use]
    pub fn is_paused(&self) -> bool {
        self.paused.load(Ordering::Acquire)
    }

    /// What waits for it concerns it no more: it starts anew.
    pub fn forget(&self) {
        self.set_deadline(NEVER);
        self.begin_to_wait(time::now());
        self.mail.store(0, Ordering::SeqCst);
    }

    /// Its place in the queue of its CPU.
    #[must_use]
    pub fn seat(&self) -> Seat {
        Seat::from_bits(self.seat.load(Ordering::Relaxed))
    }

    /// Takes the mail.
    pub fn collect(&self) -> u32 {
        if self.mail.load(Ordering::Relaxed) == 0 { 0 } else { self.mail.swap(0, Ordering::SeqCst) }
    }

    /// Its priority.
    pub fn priority(&self) -> u8 {
        self.priority.load(Ordering::Relaxed)
    }

    /// The root by which its domain is reached.
    pub fn root(&self) -> u64 {
        self.root.load(Ordering::Relaxed)
    }

    /// Sets that root.
    pub fn set_root(&self, root: u64) {
        self.root.store(root, Ordering::Relaxed);
    }

    /// From `tick` on it is kept from running by others, if it is ready.
    pub fn begin_to_wait(&self, tick: u64) {
        self.waits_since.store(tick, Ordering::Relaxed);
    }

    /// The tick since which it waits, if it does.
    pub fn waits_since(&self) -> u64 {
        self.waits_since.load(Ordering::Relaxed)
    }

    /// The tick of its deadline, or [`NEVER`].
    pub fn deadline(&self) -> u64 {
        self.deadline.load(Ordering::Relaxed)
    }

    /// Sets the deadline.
    pub fn set_deadline(&self, tick: u64) {
        self.deadline.store(tick, Ordering::Relaxed);
    }
}
