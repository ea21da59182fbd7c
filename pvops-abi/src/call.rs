//! Call numbers: `rax = extension << 16 | function`.
//!
//! Every number is an explicit discriminant, here and nowhere else. The calls' arguments, results and errors
//! are in the chapter of `spec/` with the extension's name.

/// An extension: a group of calls that is present or absent as a whole and can be probed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u16)]
pub enum Extension {
    /// Version, implementation, probe, batch. Mandatory.
    Base = 0x01,
    /// Trap table, stacks, entries, segment bases, iret, cpuid, XCR0. Mandatory in deprivileged mode.
    Cpu = 0x02,
    /// Event ports. Mandatory.
    Event = 0x03,
    /// Roots and flushes. Mandatory in deprivileged mode.
    Mmu = 0x04,
    /// Clock, wall clock, deadline. Mandatory.
    Time = 0x05,
    /// Console bytes. Mandatory.
    Console = 0x06,
    /// Yield, block, shutdown. Mandatory.
    Sched = 0x07,
    /// Further vCPUs. May be absent.
    Smp = 0x08,
    /// Port I/O and interrupts of assigned devices. Number kept.
    Device = 0x09,
    /// Shared memory and grants. Number kept.
    SharedMemory = 0x10,
    /// Virtio transport and bus addresses. Number kept.
    Virtio = 0x11,
    /// Resource shares. Number kept.
    Resources = 0x12,
    /// Partition management. Number kept.
    Partition = 0x13,
    /// Tracing. Number kept.
    Trace = 0x14,
    /// Debugging. Number kept.
    Debug = 0x15,
    /// Trap-and-emulate profile. Number kept.
    TrapAndEmulate = 0x16,
}

impl Extension {
    /// Every extension, by number.
    pub const ALL: [Self; 16] = [
        Self::Base,
        Self::Cpu,
        Self::Event,
        Self::Mmu,
        Self::Time,
        Self::Console,
        Self::Sched,
        Self::Smp,
        Self::Device,
        Self::SharedMemory,
        Self::Virtio,
        Self::Resources,
        Self::Partition,
        Self::Trace,
        Self::Debug,
        Self::TrapAndEmulate,
    ];

    /// The short name by which the specification and the C header call it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Base => "BASE",
            Self::Cpu => "CPU",
            Self::Event => "EVT",
            Self::Mmu => "MMU",
            Self::Time => "TIME",
            Self::Console => "CONS",
            Self::Sched => "SCHED",
            Self::Smp => "SMP",
            Self::Device => "DEV",
            Self::SharedMemory => "SHM",
            Self::Virtio => "VIO",
            Self::Resources => "RES",
            Self::Partition => "PART",
            Self::Trace => "TRACE",
            Self::Debug => "DBG",
            Self::TrapAndEmulate => "TRAP",
        }
    }
}

/// Offset in the hypercall page of the stub for all calls but CPU.iret: reached by `call`, uses eight bytes of
/// the caller's stack (the return address) and nothing beyond.
pub const CALL_STUB_OFFSET: u64 = 0;
/// Offset of the stub for CPU.iret: reached by `jmp` with `rsp` at the [`crate::layout::IretFrame`].
pub const IRET_STUB_OFFSET: u64 = 64;

/// What `rax` holds at a call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(transparent)]
pub struct CallId(pub u64);

impl CallId {
    /// The id of `function` in `extension`.
    #[must_use]
    pub const fn new(extension: Extension, function: u16) -> Self {
        Self(((extension as u64) << 16) | function as u64)
    }
}

/// Defines the functions of one extension and the constants that name their ids.
macro_rules! functions {
    ($(#[$meta:meta])* $name:ident of $extension:ident { $($(#[$doc:meta])* $function:ident = $number:literal,)* }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        #[repr(u16)]
        pub enum $name { $($(#[$doc])* $function = $number,)* }

        impl $name {
            /// The call id that goes into `rax`.
            #[must_use]
            pub const fn id(self) -> CallId {
                CallId::new(Extension::$extension, self as u16)
            }
        }

        impl TryFrom<u16> for $name {
            type Error = crate::error::Error;
            fn try_from(number: u16) -> Result<Self, crate::error::Error> {
                match number {
                    $($number => Ok(Self::$function),)*
                    _ => Err(crate::error::Error::NotSupported),
                }
            }
        }
    };
}

functions! {
    /// Functions of BASE.
    Base of Base {
        /// The ABI version: major in bits 31..16, minor in bits 15..0.
        Version = 0,
        /// The implementation's id, from the list of [`crate::layout::start_info::implementation`].
        Implementation = 1,
        /// The implementation's own version, in its own encoding.
        ImplementationVersion = 2,
        /// `rdi`: an extension number. Value: 0 absent, else the extension's version.
        Probe = 3,
        /// `rdi`: address of [`crate::layout::BatchEntry`]s, `rsi`: how many (≤ [`crate::layout::MAX_BATCH`]).
        /// Value: entries done.
        Batch = 4,
    }
}
functions! {
    /// Functions of CPU.
    Cpu of Cpu {
        /// `rdi`: address of the vCPU area of the calling vCPU ([`crate::layout::VcpuArea`]).
        RegisterArea = 0,
        /// `rdi`: address of a table of [`crate::layout::TrapGate`]s, `rsi`: entries (32..=256).
        SetTrapTable = 1,
        /// `rdi`: entry for events, `rsi`: entry for system calls (virtual addresses).
        SetEntries = 2,
        /// `rdi`: top of the stack for faults during delivery (virtual address; 0: none).
        SetDoubleFaultStack = 3,
        /// Leaves to the [`crate::layout::IretFrame`] at `rsp`. Does not return.
        Iret = 4,
        /// `rdi`: a [`SegmentBase`], `rsi`: the base.
        SetSegmentBase = 5,
        /// `rdi`: leaf, `rsi`: subleaf, `rdx`: address of a [`crate::layout::CpuidResult`].
        Cpuid = 6,
        /// `rdi`: the new XCR0.
        SetXcr0 = 7,
        /// Value: bytes that `xsave` needs for the enabled components.
        FpuAreaSize = 8,
    }
}
functions! {
    /// Functions of EVT.
    Event of Event {
        /// `rdi`: address of the domain's [`crate::layout::EventPage`].
        RegisterPage = 0,
        /// `rdi`: a [`crate::layout::PortKind`], `rsi`: its argument, `rdx`: vCPU that receives. Value: the port.
        Bind = 1,
        /// `rdi`: a port.
        Unbind = 2,
        /// `rdi`: a port of a kind that can be sent (IPI, doorbell).
        Send = 3,
        /// `rdi`: a port. Clears its mask bit and delivers what waited.
        Unmask = 4,
        /// `rdi`: a port of a level-triggered source whose cause is handled.
        Eoi = 5,
        /// Delivers pending events to the caller, if it enabled them, before the call returns.
        Deliver = 6,
    }
}
functions! {
    /// Functions of MMU.
    Mmu of Mmu {
        /// `rdi`: root, `rsi`: [`crate::layout::LoadRootFlags`], `rdx`: user root (reserved, zero).
        LoadRoot = 0,
        /// `rdi`: virtual address, `rsi`: vCPU mask, `rdx`: number of the mask's lowest vCPU (all ones: every vCPU).
        FlushPage = 1,
        /// `rdi`: virtual address, `rsi`: bytes, `rdx`, `r10`: vCPU set as for `FlushPage`.
        FlushRange = 2,
        /// `rdi`, `rsi`: vCPU set, `rdx`: [`crate::layout::FlushAllFlags`].
        FlushAll = 3,
        /// `rdi`: virtual address, `rsi`: pages. A hint: load these translations now. Value: pages loaded.
        Populate = 4,
        /// `rdi`: a root that will not be loaded again before it is rebuilt.
        ReleaseRoot = 5,
        /// `rdi`: address of a 64-byte bitmap of PML4 slots whose entries are equal in all roots.
        SetCommonSlots = 6,
    }
}
functions! {
    /// Functions of TIME.
    Time of Time {
        /// Value: nanoseconds since some instant at or before the domain's start, monotonic.
        Clock = 0,
        /// Value: nanoseconds since 1970-01-01T00:00:00Z.
        WallClock = 1,
        /// `rdi`: clock value at which the timer port becomes pending; all ones disarms.
        SetDeadline = 2,
    }
}
functions! {
    /// Functions of CONS.
    Console of Console {
        /// `rdi`: address, `rsi`: bytes. Value: bytes accepted, possibly fewer.
        Write = 0,
        /// `rdi`: address, `rsi`: room in bytes. Value: bytes stored, possibly none.
        Read = 1,
    }
}
functions! {
    /// Functions of SCHED.
    Sched of Sched {
        /// Lets vCPUs of the same or a higher priority run.
        Yield = 0,
        /// Enables events and sleeps until one is pending, atomically.
        Block = 1,
        /// `rdi`: a [`crate::layout::ShutdownReason`], `rsi`: a code. Does not return.
        Shutdown = 2,
    }
}

/// Which base CPU.set_segment_base sets.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u64)]
pub enum SegmentBase {
    /// FS base, shared by both privileges.
    Fs = 0,
    /// GS base of the guest kernel, effective at once.
    KernelGs = 1,
    /// GS base of the guest's user mode, effective at the next entry into it.
    UserGs = 2,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_combine_extension_and_function() {
        assert_eq!(Cpu::Iret.id(), CallId(0x2_0004));
        assert_eq!(Event::try_from(6), Ok(Event::Deliver));
        assert!(Time::try_from(3).is_err());
    }
}
