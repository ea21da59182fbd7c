//! Process-context identifiers: a few per CPU, each lent to a root (Intel SDM volume 3, 4.10.1).
//!
//! PCID 0 is left to the boot tables. When all are lent, they are taken back in turn. What a flush cannot reach
//! in other PCIDs is dropped when their root is loaded next, which is the earliest it could be used.

use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use pvops_abi::addr::PhysAddr;
use pvops_abi::ops::mmu::Retain;

use crate::MAX_CPUS;

/// PCIDs lent, 1 to this.
const COUNT: usize = 15;
/// Nobody's: no root lies at physical address 0.
const FREE: u64 = 0;
/// CR3 bit 63: keep what is cached for the PCID.
const KEEP: u64 = 1 << 63;

/// The PCIDs of one CPU.
struct Lent {
    /// Root that has PCID `index + 1`.
    roots: [AtomicU64; COUNT],
    /// Bit per index: its translations may be stale.
    stale: AtomicU64,
    /// Index taken back next.
    next: AtomicUsize,
}

static LENT: [Lent; MAX_CPUS] = [const {
    Lent {
        roots: [const { AtomicU64::new(FREE) }; COUNT],
        stale: AtomicU64::new(0),
        next: AtomicUsize::new(0),
    }
}; MAX_CPUS];

/// The value of CR3 that loads `root` on `cpu`, the calling one, interrupts masked.
pub(super) fn root_value(cpu: usize, root: PhysAddr, retain: Retain) -> u64 {
    let lent = &LENT[cpu];
    let known = lent.roots.iter().position(|other| other.load(Ordering::Relaxed) == root.0);
    let index = known.unwrap_or_else(|| take_back(lent, root));
    let was_stale = lent.stale.fetch_and(!(1 << index), Ordering::Relaxed) & 1 << index != 0;
    let keep = known.is_some() && !was_stale && retain == Retain::Keep;
    root.0 | (index as u64 + 1) | if keep { KEEP } else { 0 }
}

/// Lends the PCID whose turn it is to `root`; what it has cached is dropped by the load that follows.
fn take_back(lent: &Lent, root: PhysAddr) -> usize {
    let index = lent.next.fetch_add(1, Ordering::Relaxed) % COUNT;
    lent.roots[index].store(root.0, Ordering::Relaxed);
    index
}

/// `root` is no table any more: its frame may become the root of something else.
pub(super) fn forget(root: PhysAddr) {
    for other in LENT.iter().flat_map(|lent| &lent.roots) {
        let _ = other.compare_exchange(root.0, FREE, Ordering::Relaxed, Ordering::Relaxed);
    }
}

/// A translation shared by all roots was flushed in the current one on `cpu`: the others drop theirs when they
/// are loaded.
pub(super) fn drop_others(cpu: usize) {
    let current = x86_64::registers::control::Cr3::read_raw().1 & 0xfff;
    let others = match usize::from(current) {
        0 => u64::MAX,
        pcid => !(1 << (pcid - 1)),
    };
    LENT[cpu].stale.fetch_or(others, Ordering::Relaxed);
}
