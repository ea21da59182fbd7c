//! What happens to a whole domain: pause, dump, crash, a new start.
//!
//! Anybody may ask, on any CPU; the domain's own CPU does it, in steps, as *chores* at the domain's own priority with
//! interrupts let in between. So cleaning 64 MiB or printing a dump over a slow line delays no neighbour that may
//! run before this domain, and equals get their turns.
//!
//! The alternative, doing it at once in the CPU that asks, would hold up that CPU's guests, and would need another
//! domain's state mapped there.

use super::crash::{self, Cause};
use super::registry::{self, MAIL_DUMP, MAIL_RESTART};
use super::vcpu::Vcpu;
use super::{Domain, console, devices};
use crate::arch::x86_64::guest::current_vcpu;
use crate::arch::x86_64::paging::{self, PoolTables};
use crate::arch::x86_64::{Frame, start, switch, time};
use crate::lock::lock;
use crate::mmu::shadow::{LoadedRoot, Shadow};
use crate::sched::VcpuId;
use spin::Mutex;
use system_image::{CrashPolicy, ExitStatus};

/// Pages made as they were at first in one step: some microseconds.
const PAGES_PER_STEP: u64 = 8;
const PAGE: u64 = 4096;

/// What a domain does instead of running its guest.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Chore {
    /// Nothing: the guest runs.
    #[default]
    None,
    /// Prints its dump.
    Dump {
        /// Where the next line begins.
        at: usize,
    },
    /// Gives up its cached translations.
    ForgetTranslations,
    /// Makes its memory what it was at first; this page is next.
    CleanMemory {
        /// Guest-physical address.
        page: u64,
    },
}

impl Chore {
    /// Whether the guest's memory is not the guest's any more, so that none of its roots may be loaded.
    #[must_use]
    pub fn replaces_memory(self) -> bool {
        matches!(self, Self::ForgetTranslations | Self::CleanMemory { .. })
    }
}

/// What an operator can see of a domain.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum State {
    /// It runs, or waits for something.
    Running,
    /// An operator paused it.
    Paused,
    /// It ended.
    Stopped,
}

const fn first_vcpu(domain: u16) -> VcpuId {
    VcpuId { domain, vcpu: 0 }
}

/// The state of a domain.
#[must_use]
pub fn state(domain: u16) -> State {
    let entry = registry::entry(first_vcpu(domain));
    match () {
        () if entry.is_stopped() => State::Stopped,
        () if entry.is_paused() => State::Paused,
        () => State::Running,
    }
}

/// Stops giving the domain the CPU. What happens meanwhile waits for it.
pub fn pause(domain: u16) {
    registry::pause(first_vcpu(domain));
}

/// Undoes [`pause`].
pub fn resume(domain: u16) {
    registry::resume(first_vcpu(domain));
}

/// Starts the domain anew, whatever it does; also one that is paused or has ended.
pub fn restart(domain: u16) {
    registry::revive(first_vcpu(domain));
    registry::post(first_vcpu(domain), MAIL_RESTART);
}

/// Has the domain print its registers, stack and last calls, and go on.
pub fn dump(domain: u16) {
    registry::post(first_vcpu(domain), MAIL_DUMP);
}

/// The guest faulted beyond repair, or says so: its dump, then what its policy says. No lock may be held. The frame at
/// the top of this CPU's stack keeps the guest's registers.
pub fn crash(domain: &Domain, cause: &'static str, address: u64) -> ! {
    trace!(Crash, address);
    domain.crash.set(Cause { text: cause, address });
    domain.chore.set(Chore::Dump { at: 0 });
    start::serve_on_fresh_stack()
}

/// The guest wants to be started anew.
pub fn reboot(domain: &Domain) -> ! {
    domain.chore.set(Chore::ForgetTranslations);
    start::serve_on_fresh_stack()
}

/// Takes what an operator asked for out of a domain's mail.
pub fn collect(domain: &Domain, mail: u32) {
    if mail & MAIL_RESTART != 0 {
        domain.chore.set(Chore::ForgetTranslations);
    } else if mail & MAIL_DUMP != 0 && domain.chore.get() == Chore::None {
        domain.crash.set(Cause::ASKED);
        domain.chore.set(Chore::Dump { at: 0 });
    }
}

/// Does a bounded part of the current domain's chore. `frame`: its vCPU's registers.
#[inline(never)]
pub fn step(domain: &Domain, vcpu: &Vcpu, frame: &Frame) {
    // The compiler knows where a domain's vCPU is, and would name some of its fields by addresses of ten bytes each.
    let vcpu = core::hint::black_box(vcpu);
    match domain.chore.get() {
        Chore::None => {}
        // Without room for it, the line comes again.
        Chore::Dump { at } => match crash::show_line(domain, vcpu, frame, at) {
            Some(at) => domain.chore.set(Chore::Dump { at }),
            None => after_dump(domain),
        },
        Chore::ForgetTranslations => {
            forget_root(vcpu);
            if !forget_translations(&domain.mmu) {
                domain.chore.set(Chore::CleanMemory { page: PAGE });
            }
        }
        Chore::CleanMemory { page } => clean(domain, vcpu, page),
    }
}

fn after_dump(domain: &Domain) {
    let next = if !domain.crash.get().is_crash() {
        Chore::None
    } else if domain.restarts.allow(domain.crash_policy, time::now_ns_by_call()) {
        Chore::ForgetTranslations
    } else {
        domain.stop(ExitStatus::DOMAIN_CRASHED)
    };
    domain.chore.set(next);
}

/// Leaves the root that is about to be forgotten for one without guest memory. The area goes with it: times of waiting
/// are noted there, and its page is going to be cleaned.
fn forget_root(vcpu: &Vcpu) {
    vcpu.set_area(None);
    vcpu.root.set(LoadedRoot::NONE);
    vcpu.entry.set_root(vcpu.window_root);
    paging::load_view(vcpu.window_root);
}

/// As [`Shadow::forget_one`]. Inlined, it reaches everything by a longer way.
#[inline(never)]
fn forget_translations(mmu: &Mutex<Shadow<PoolTables>>) -> bool {
    lock(mmu).forget_one()
}

fn clean(domain: &Domain, vcpu: &Vcpu, first: u64) {
    let end = domain.memory.bytes();
    let mut page = first;
    for _ in 0..PAGES_PER_STEP {
        if !mutant!(RestartKeepsMemory) || page + (1 << 20) < end {
            // Behind the end of memory, nothing is done.
            let _ = domain.pristine.restore_page(&domain.memory, page);
        }
        page += PAGE;
    }
    domain.chore.set(Chore::CleanMemory { page });
    // Without room for the line, a step behind the end comes.
    if page < end
        || !console::say(domain.number.into(), domain.number, b"pvops: domain '@' starts anew", &[], "")
    {
        return;
    }
    domain.forget_registrations();
    vcpu.entry.forget();
    vcpu.forget_registrations();
    domain.chore.set(Chore::None);
    switch::begin_anew(&vcpu.saved, vcpu.first_frame);
}

impl Domain {
    /// Ends the domain; this CPU goes on with others. With the last domain the machine ends. No lock may be held.
    pub fn stop(&self, status: ExitStatus) -> ! {
        trace!(Stop, status.code().into());
        let ends_system =
            self.crash_policy == CrashPolicy::HaltSystem && status == ExitStatus::DOMAIN_CRASHED;
        self.chore.set(Chore::None);
        devices::silence(self.number);
        registry::stop(current_vcpu().entry, status, ends_system);
        switch::abandon()
    }
}
