//! Who is in the registry, and where: written once.

use super::{DOMAINS, ENTRIES, Entry, NOWHERE, RUNNING, entry, wake};
use crate::arch::x86_64::cpu;
use crate::sched::{Seat, VcpuId};
use core::sync::atomic::Ordering;

/// Adds a domain with one vCPU.
pub fn add(id: VcpuId, cpu: u32, priority: u8, root: u64) {
    let entry = entry(id);
    entry.number.store(id.vcpu as u8, Ordering::Relaxed);
    entry.cpu.store(cpu, Ordering::Relaxed);
    entry.priority.store(priority, Ordering::Relaxed);
    entry.root.store(root, Ordering::Relaxed);
    entry.stopped.store(false, Ordering::Release);
    DOMAINS.fetch_add(1, Ordering::Relaxed);
    RUNNING.fetch_add(1, Ordering::Relaxed);
}

/// Gives each vCPU its place in the queue of its CPU, when all are there and no CPU has begun.
pub fn seat_all() {
    let all = || ENTRIES.iter().filter(|entry| entry.cpu() != NOWHERE);
    for (position, entry) in all().enumerate() {
        let is_beside = |other: &&Entry| other.cpu() == entry.cpu();
        let number = all().take(position).filter(is_beside).count();
        // Equals have the same number above them.
        let rank = all().filter(is_beside).filter(|other| other.priority() > entry.priority()).count();
        entry.seat.store(Seat::new(rank, number).to_bits(), Ordering::Relaxed);
    }
}

/// Takes this CPU's vCPUs, once, when boot is over, and makes them ready.
pub fn begin() {
    let this = cpu();
    for entry in ENTRIES.iter().filter(|entry| entry.cpu() == this.number.get()) {
        this.members[entry.seat().number()].set(Some(entry));
        wake(entry);
    }
}
