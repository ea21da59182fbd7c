//! What a hypervisor that was built with the feature `trace` notes in memory: a ring of records for each CPU.
//!
//! A CPU alone writes its ring and no other, so nothing is locked. When the ring is full, the oldest record gives way. The
//! hypervisor stores numbers only; what they mean in words is the reader's business ([`Ring::read`]), who gets the
//! ring as bytes of the machine's memory and believes none of them. The numbers are no part of the ABI: hypervisor and
//! tools come from the same commit.
#![no_std]

mod read;
#[cfg(test)]
mod tests;

pub use read::{Damage, Entry, Ring};

/// Begins a ring's first page.
pub const MAGIC: u64 = u64::from_le_bytes(*b"pvtrace\x01");
/// Bytes of the page in which the [`Header`] stands; the records follow.
pub const HEADER_BYTES: usize = 4096;
/// Records in a ring.
pub const CAPACITY: usize = 1 << 16;
/// Bytes of a ring, header included.
pub const RING_BYTES: usize = HEADER_BYTES + CAPACITY * size_of::<Record>();
/// [`Record::domain`] where no domain is loaded.
pub const NO_DOMAIN: u16 = u16::MAX;

/// Vectors of the hypervisor's interrupts.
pub mod vector {
    /// First of the IOAPIC's lines.
    pub const LINES: u8 = 0xe0;
    /// The CPU's timer.
    pub const TIMER: u8 = 0xf0;
    /// Another CPU wants attention.
    pub const KICK: u8 = 0xf1;
}

/// What stands before a ring's records.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Header {
    /// [`MAGIC`].
    pub magic: u64,
    /// Number of the CPU.
    pub cpu: u64,
    /// How many records there is room for.
    pub capacity: u64,
    /// Ticks of the time-stamp counter per second.
    pub ticks_per_second: u64,
    /// The counter when the hypervisor's clock began, at 0.
    pub first_tick: u64,
    /// Records written since then; those beyond `capacity` have overwritten others.
    pub written: u64,
}

/// One thing that happened.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(C)]
pub struct Record {
    /// Time-stamp counter.
    pub timestamp: u64,
    /// A [`Kind`].
    pub kind: u16,
    /// The domain that was loaded on the CPU, or [`NO_DOMAIN`].
    pub domain: u16,
    /// Its vCPU.
    pub vcpu: u16,
    /// 0.
    pub reserved: u16,
    /// See [`Kind`].
    pub first: u64,
    /// See [`Kind`].
    pub second: u64,
}

const _: () = assert!(size_of::<Record>() == 32 && size_of::<Header>() <= HEADER_BYTES - 8);
const _: () = assert!(CAPACITY.is_power_of_two());

macro_rules! kinds {
    ($($(#[$doc:meta])* $name:ident = $number:literal,)*) => {
        /// Kinds of records, with the meaning of their two words.
        #[derive(Clone, Copy, PartialEq, Eq, Debug, PartialOrd, Ord)]
        #[repr(u16)]
        pub enum Kind { $($(#[$doc])* $name = $number,)* }

        impl Kind {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// The kind of this number.
            #[must_use]
            pub const fn from_number(number: u16) -> Option<Self> {
                match number {
                    $($number => Some(Self::$name),)*
                    _ => None,
                }
            }
        }
    };
}

kinds! {
    /// Into the hypervisor: a call of a guest kernel. Its id; its first argument.
    Call = 1,
    /// Into the hypervisor: a system call of a guest's program. `rax`; the address behind the instruction.
    SystemCall = 2,
    /// Into the hypervisor: an exception in a guest. Vector and, from bit 32 on, the processor's error code; the
    /// address of the access for a page fault, else of the instruction.
    Exception = 3,
    /// Into the hypervisor, or while it idled: an interrupt. Vector.
    Interrupt = 4,
    /// Out to the guest. 0: its kernel, 1: a program; `rax`, which is the status if a call just ended.
    Leave = 5,
    /// Another vCPU has the CPU: the one that the record names.
    Switch = 6,
    /// Nobody is ready; the CPU waits for an interrupt.
    Idle = 7,
    /// A call within a batch. Its id; its first argument.
    BatchedCall = 8,
    /// A translation was loaded and the guest does not notice. Address.
    HiddenFault = 9,
    /// The guest kernel gets a trap. Vector and, from bit 32 on, the error code; the address of the access for a page fault.
    Trap = 10,
    /// The guest kernel gets the event upcall.
    Upcall = 11,
    /// A port became pending. Its number; what it is bound to: the kind's number plus 1 from bit 32 on, argument below; 0: not known.
    Port = 12,
    /// A domain rang another. The other's number; the number of the channel there.
    Doorbell = 13,
    /// This CPU's timer was set. For this tick of the counter, or all ones: off.
    TimerSet = 14,
    /// A vCPU's deadline was reached. Its domain, and from bit 16 on its number; the deadline's tick of the counter.
    Deadline = 15,
    /// The domain crashed. Address, if that says something.
    Crash = 16,
    /// The domain stopped. Exit status.
    Stop = 17,
}
