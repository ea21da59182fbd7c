//! What the demo kernel and its user programs agree on: system calls, programs, statuses.
//!
//! A system call: number in `rax`, arguments in `rdi rsi rdx`, result in `rax`; `rcx` and `r11` are lost. A
//! program is entered with its number in `rdi` and an argument in `rsi`.
#![no_std]
#![deny(unsafe_code)]

/// Declares an enumeration that also decodes itself from its number.
macro_rules! numbered {
    ($(#[$meta:meta])* $name:ident { $($(#[$item_meta:meta])* $item:ident = $value:literal,)* }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        #[repr(u64)]
        pub enum $name { $($(#[$item_meta])* $item = $value,)* }

        impl $name {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$item,)*];

            /// The one of this number.
            #[must_use]
            pub fn from_number(number: u64) -> Option<Self> {
                Self::ALL.iter().copied().find(|item| *item as u64 == number)
            }
        }
    };
}

numbered! {
    /// Numbers of system calls.
    SystemCall {
        /// `(status) -> !`
        Exit = 0,
        /// `(address, bytes) -> bytes`: to the console.
        Write = 1,
        /// `(address, bytes) -> bytes`: from the console; waits for at least one.
        Read = 2,
        /// `() -> process`
        GetProcess = 3,
        /// `()`: lets others of the same priority run.
        Yield = 4,
        /// `(nanoseconds)`
        Sleep = 5,
        /// `() -> nanoseconds`
        Clock = 6,
        /// `() -> process`, 0 in the child.
        Fork = 7,
        /// `(process) -> status`: of a child, when it has ended.
        Wait = 8,
        /// `(program, argument) -> process`
        Spawn = 9,
        /// `(bytes) -> address` of so much more zeroed memory.
        Grow = 10,
        /// `(address)`: where to go on after a fault of this process, instead of ending it. 0: end it.
        OnFault = 11,
        /// `(index) -> address`: kernel addresses that no program may read; [`FAILED`] behind the last.
        KernelAddress = 12,
        /// `(which) -> value`: a [`Statistic`].
        Statistic = 13,
        /// `(address, bytes)`: into the pipe, at most [`MESSAGE_BYTES`]; waits for room.
        Send = 14,
        /// `(address, bytes)`: out of the pipe, likewise; waits for so many.
        Receive = 15,
    }
}

numbered! {
    /// The programs.
    Program {
        /// Prints a line; starts another one while the argument is not 0; status: how many there were.
        Hello = 0,
        /// Measures a system call; status: ticks per round trip.
        SystemCalls = 1,
        /// Keeps values derived from the argument in vector registers; status: their checksum.
        Vectors = 2,
        /// Forks and writes on both sides; status: checksums, parent's in the upper half.
        Fork = 3,
        /// Touches new memory; status: page faults taken.
        Demand = 4,
        /// Tries to read every kernel address; status: tried in the upper half, read in the lower.
        Intruder = 5,
        /// Yields many times; status: hidden faults that the CPU counted meanwhile.
        Yielder = 6,
        /// Does what its argument says and must not: a [`Misdeed`].
        Misbehave = 7,
        /// Computes for as many milliseconds as the argument says.
        Spin = 8,
        /// Prints lines read from the console until one is empty.
        Echo = 9,
        /// Sleeps and checks the clock; status: microseconds overslept, [`FAILED`] when it woke early.
        Sleeper = 10,
        /// Sorts numbers; the argument says how often. This and all below are for workloads.
        Compute = 11,
        /// Makes as many system calls.
        CallMany = 12,
        /// Yields as often.
        YieldMany = 13,
        /// Touches as many new pages.
        TouchMany = 14,
        /// Forks as many children, one after the other.
        ForkMany = 15,
        /// Sends as many messages through the pipe.
        SendMany = 16,
        /// Receives as many.
        ReceiveMany = 17,
        /// Sleeps as often.
        SleepMany = 18,
        /// Prints as many lines.
        PrintMany = 19,
        /// As [`Self::Compute`], with a yield after each round: whoever wakes up need not wait for long.
        ComputeAndYield = 20,
    }
}

impl Program {
    /// A name, for people.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Hello => "hello",
            Self::SystemCalls => "system-calls",
            Self::Vectors => "vectors",
            Self::Fork => "fork",
            Self::Demand => "demand",
            Self::Intruder => "intruder",
            Self::Yielder => "yielder",
            Self::Misbehave => "misbehave",
            Self::Spin => "spin",
            Self::Echo => "echo",
            Self::Sleeper => "sleeper",
            Self::Compute => "compute",
            Self::CallMany => "call-many",
            Self::YieldMany => "yield-many",
            Self::TouchMany => "touch-many",
            Self::ForkMany => "fork-many",
            Self::SendMany => "send-many",
            Self::ReceiveMany => "receive-many",
            Self::SleepMany => "sleep-many",
            Self::PrintMany => "print-many",
            Self::ComputeAndYield => "compute-and-yield",
        }
    }
}

numbered! {
    /// What user mode must not do.
    Misdeed {
        /// Read address 0.
        Null = 0,
        /// Write the kernel's memory.
        WriteKernel = 1,
        /// Execute `hlt`.
        Privileged = 2,
        /// Write its own code.
        WriteCode = 3,
        /// Execute its own stack.
        ExecuteStack = 4,
        /// Execute an undefined instruction.
        Undefined = 5,
        /// Divide by zero.
        Divide = 6,
        /// Jump to a kernel address.
        JumpKernel = 7,
        /// Raise vector 14 by an instruction.
        RaisePageFault = 8,
        /// Hand the kernel's memory to a system call; ends with status 0 when that was refused.
        PassKernelPointer = 9,
        /// Read an I/O port: COM2's, which its kernel may have.
        ReadPort = 10,
    }
}

numbered! {
    /// Counters that programs can ask for.
    Statistic {
        /// Page faults of this process that gave it a new page.
        DemandFaults = 0,
        /// Pages of this process copied on write.
        CopiedPages = 1,
        /// Faults of this CPU that the kernel did not see.
        HiddenFaults = 2,
    }
}

/// Most bytes that are sent or received at a time.
pub const MESSAGE_BYTES: usize = 64;

/// Result of a system call that was refused.
pub const FAILED: u64 = u64::MAX;

/// Status of a process that was ended for a fault: this and the vector.
pub const KILLED: u64 = 0xffff_ffff_ffff_0000;

/// Mixes `value` into a running checksum (FNV-1a over 64-bit words): the same in kernel and programs.
#[must_use]
pub const fn checksum(sum: u64, value: u64) -> u64 {
    (sum ^ value).wrapping_mul(0x0000_0100_0000_01b3).rotate_left(23)
}

/// Where checksums start.
pub const CHECKSUM_START: u64 = 0xcbf2_9ce4_8422_2325;

/// Step of a small pseudo-random generator (xorshift).
#[must_use]
pub const fn next_random(mut state: u64) -> u64 {
    state ^= state << 13;
    state ^= state >> 7;
    state ^ state << 17
}
