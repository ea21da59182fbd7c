//! Hardware in miniature, for tests and fuzzing: what stands around the software TLB on a real machine.
//!
//! [`guest`] is guest memory with a walker of its own, [`hardware`] a CPU that walks shadow tables and caches
//! what it found as a CPU may. [`Machine`] puts both around the code under test and does what the trap path
//! does: access, fault, fill, again. [`model`] judges long histories of operations.

pub mod guest;
pub mod hardware;
pub mod model;

use super::pool::{PageInfo, Pool};
use super::shadow::{Failure, LoadedRoot, Shadow};
use super::walk::Access;
use guest::Guest;
use hardware::Pages;
use std::cell::RefCell;
use std::collections::VecDeque;

/// A guest, its shadow tables and the CPU that runs it.
pub struct Machine {
    /// The guest's memory.
    pub guest: Guest,
    /// The code under test.
    pub shadow: Shadow<Pages>,
    /// The root that is loaded.
    pub root: LoadedRoot,
    /// Faults served behind the guest's back.
    pub hidden_faults: u64,
}

impl Machine {
    /// Memory of `bytes` at `host`, a pool of `tables`, and a first root that is loaded.
    pub fn new(bytes: u64, host: u64, tables: u32) -> Self {
        let guest = Guest::new(bytes, host);
        let shadow = Shadow::new(Pages::new(tables), Pool::new(page_info(tables as usize)));
        let nowhere = LoadedRoot { number: usize::MAX, kernel: 0, user: 0, guest: 0 };
        let mut machine = Self { guest, shadow, root: nowhere, hidden_faults: 0 };
        let root = machine.guest.new_table();
        machine.load_root(root, true).expect("a pool for one root");
        machine
    }

    /// The guest root that is loaded.
    pub fn guest_root(&self) -> u64 {
        self.shadow.guest_root_of(self.root.number)
    }

    /// MMU.load_root: afterwards the CPU is in the kernel view of `root`.
    ///
    /// # Errors
    /// As [`Shadow::load_root`].
    pub fn load_root(&mut self, root: u64, keep: bool) -> Result<(), Failure> {
        // As the call does it: the short way first.
        let cached = if keep { self.shadow.load_cached_root(root, 0) } else { None };
        self.root = match cached {
            Some(loaded) => loaded,
            None => self.shadow.load_root(root, 0, keep)?,
        };
        self.shadow.tables().load_root(self.root.kernel);
        Ok(())
    }

    /// What the guest sees of an access: the host address, or the error code of its page fault.
    ///
    /// # Errors
    /// The error code.
    pub fn access(&mut self, address: u64, access: Access) -> Result<u64, u64> {
        self.try_access(address, access).unwrap_or_else(|failure| match failure {
            Failure::Fault(code) => Err(code),
            Failure::PoolExhausted => panic!("the pool is exhausted"),
        })
    }

    /// As [`Self::access`], where the pool may be too small.
    ///
    /// # Errors
    /// As [`Shadow::fault`].
    pub fn try_access(&mut self, address: u64, access: Access) -> Result<Result<u64, u64>, Failure> {
        let view = if access.is_user() { self.root.user } else { self.root.kernel };
        self.shadow.tables().load_root(view);
        for _ in 0..4 {
            let Err(code) = self.shadow.tables().access(address, access) else {
                return Ok(self.shadow.tables().access(address, access));
            };
            let seen = Access::from_error_code(code, access.is_user());
            assert_eq!(seen, access, "the error code tells the access");
            self.shadow.fault(&self.guest, self.root.number, address, seen)?;
            self.hidden_faults += 1;
        }
        panic!("{access:?} at {address:#x} is allowed, but never loaded: the guest would hang");
    }

    /// Whether the hardware allows the access without any fault.
    pub fn is_cached(&self, address: u64, access: Access) -> bool {
        let view = if access.is_user() { self.root.user } else { self.root.kernel };
        self.shadow.tables().load_root(view);
        self.shadow.tables().access(address, access).is_ok()
    }

    /// MMU.flush_page.
    pub fn flush_page(&mut self, address: u64) {
        self.shadow.flush_page(self.root.number, address);
    }

    /// Panics when the tables are not as they must always be.
    pub fn audit(&self) {
        let memory = self.guest.host..self.guest.host + self.guest.bytes;
        self.shadow.audit(memory, &self.guest.registers);
    }
}

thread_local! {
    /// Page information of earlier machines: a pool keeps it for ever, and fuzzing makes millions of machines.
    static USED: RefCell<Vec<&'static mut [PageInfo]>> = RefCell::default();
}

impl Drop for Machine {
    fn drop(&mut self) {
        USED.with_borrow_mut(|used| used.push(self.shadow.take_page_info()));
    }
}

fn page_info(tables: usize) -> &'static mut [PageInfo] {
    let used = USED.with_borrow_mut(|used| {
        let place = used.iter().position(|info| info.len() == tables)?;
        Some(used.swap_remove(place))
    });
    let info = used.unwrap_or_else(|| Box::leak(vec![PageInfo::default(); tables].into_boxed_slice()));
    info.fill(PageInfo::default());
    info
}

/// Choices: pseudo-random and the same in every run (Marsaglia's xorshift), or those of a fuzzer.
pub struct Random {
    state: u64,
    /// What a fuzzer chose, two bytes a choice; the state counts behind its end.
    chosen: VecDeque<u8>,
}

impl Random {
    /// Choices by `seed`, which is not 0.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self { state: seed, chosen: VecDeque::new() }
    }

    /// The choices in `bytes`.
    #[must_use]
    pub fn chosen(bytes: &[u8]) -> Self {
        Self { state: 1, chosen: bytes.iter().copied().collect() }
    }

    /// Choices of the fuzzer that are left.
    #[must_use]
    pub fn left(&self) -> usize {
        self.chosen.len() / 2
    }

    fn next(&mut self) -> u64 {
        if let (Some(low), Some(high)) = (self.chosen.pop_front(), self.chosen.pop_front()) {
            return u64::from(u16::from_le_bytes([low, high]));
        }
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        self.state >> 11
    }

    /// Any 64 bits.
    pub fn word(&mut self) -> u64 {
        (0..4).fold(0, |word, _| word << 16 ^ self.next())
    }

    /// A number below `bound`.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    /// True once in `bound` times.
    pub fn one_in(&mut self, bound: u64) -> bool {
        self.below(bound) == 0
    }

    /// One of several.
    pub fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len() as u64) as usize]
    }
}
