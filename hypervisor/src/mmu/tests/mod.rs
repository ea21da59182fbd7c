//! Tests of the software TLB against hardware in miniature.
//!
//! [`guest`] is guest memory with a walker of its own, [`hardware`] a CPU that walks shadow tables and caches
//! what it found as a CPU may. [`Machine`] puts both around the code under test and does what the trap path
//! does: access, fault, fill, again.

mod fills;
mod flushes;
mod guest;
mod hardware;
mod model;
mod pools;
mod registers;
mod views;
mod walks;

use super::pool::{PageInfo, Pool};
use super::shadow::{Failure, LoadedRoot, Shadow};
use super::walk::{Access, error};
use guest::Guest;
use hardware::Pages;

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
/// An address for user pages, one for kernel pages, in slots of their own.
const USER_ADDRESS: u64 = 0x40_0000_0000;
const KERNEL_ADDRESS: u64 = 0xffff_ffff_8000_0000;

const USER_READ: Access = Access { write: false, user: true, execute: false };
const USER_WRITE: Access = Access { write: true, user: true, execute: false };
const USER_FETCH: Access = Access { write: false, user: true, execute: true };
const KERNEL_FETCH: Access = Access { write: false, user: false, execute: true };

/// A guest, its shadow tables and the CPU that runs it.
struct Machine {
    guest: Guest,
    shadow: Shadow<Pages>,
    root: LoadedRoot,
    /// Faults served behind the guest's back.
    hidden_faults: u64,
}

impl Machine {
    /// Memory of `bytes` at `host`, a pool of `tables`, and a first root that is loaded.
    fn new(bytes: u64, host: u64, tables: u32) -> Self {
        let guest = Guest::new(bytes, host);
        let info = Box::leak(vec![PageInfo::default(); tables as usize].into_boxed_slice());
        let shadow = Shadow::new(Pages::new(tables), Pool::new(info));
        let nowhere = LoadedRoot { number: usize::MAX, kernel: 0, user: 0 };
        let mut machine = Self { guest, shadow, root: nowhere, hidden_faults: 0 };
        let root = machine.guest.new_table();
        machine.load_root(root, true).expect("a pool for one root");
        machine
    }

    /// A machine on which large pages stay large, with a generous pool.
    fn usual() -> Self {
        Self::new(4 * GIB, 8 * GIB, if cfg!(miri) { 32 } else { 256 })
    }

    /// The guest root that is loaded.
    fn guest_root(&self) -> u64 {
        self.shadow.guest_root_of(self.root.number)
    }

    /// MMU.load_root: afterwards the CPU is in the kernel view of `root`.
    fn load_root(&mut self, root: u64, keep: bool) -> Result<(), Failure> {
        self.root = self.shadow.load_root(root, 0, keep)?;
        self.shadow.tables().load_root(self.root.kernel);
        Ok(())
    }

    /// What the guest sees of an access: the host address, or the error code of its page fault.
    fn access(&mut self, address: u64, access: Access) -> Result<u64, u64> {
        self.try_access(address, access).unwrap_or_else(|failure| match failure {
            Failure::Fault(code) => Err(code),
            Failure::PoolExhausted => panic!("the pool is exhausted"),
        })
    }

    fn try_access(&mut self, address: u64, access: Access) -> Result<Result<u64, u64>, Failure> {
        let view = if access.user { self.root.user } else { self.root.kernel };
        self.shadow.tables().load_root(view);
        for _ in 0..4 {
            let Err(code) = self.shadow.tables().access(address, access) else {
                return Ok(self.shadow.tables().access(address, access));
            };
            let seen = Access::from_error_code(code, access.user);
            assert_eq!(seen, access, "the error code tells the access");
            self.shadow.fault(&self.guest, self.root.number, address, seen)?;
            self.hidden_faults += 1;
        }
        panic!("{access:?} at {address:#x} is allowed, but never loaded: the guest would hang");
    }

    /// Whether the hardware allows the access without any fault.
    fn is_cached(&self, address: u64, access: Access) -> bool {
        let view = if access.user { self.root.user } else { self.root.kernel };
        self.shadow.tables().load_root(view);
        self.shadow.tables().access(address, access).is_ok()
    }

    fn flush_page(&mut self, address: u64) {
        self.shadow.flush_page(self.root.number, address);
    }

    /// Panics when the tables are not as they must always be.
    fn audit(&self) {
        let memory = self.guest.host..self.guest.host + self.guest.bytes;
        self.shadow.audit(memory, &self.guest.registers);
    }
}

/// Pseudo-random numbers, the same in every run (Marsaglia's xorshift).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, bound: u64) -> u64 {
        (self.next() >> 11) % bound
    }

    fn one_in(&mut self, bound: u64) -> bool {
        self.below(bound) == 0
    }

    fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len() as u64) as usize]
    }
}

/// Fewer rounds under Miri, which is some hundred times slower.
const fn rounds(native: u64) -> u64 {
    if cfg!(miri) { native / 100 + 1 } else { native }
}
