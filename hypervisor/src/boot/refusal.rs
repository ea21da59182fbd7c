//! Why a guest is refused: one clear line each.

/// See the module.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs, reason = "`message` says it")]
pub enum Refusal {
    NotElf,
    Truncated,
    WrongMachine,
    NotExecutable,
    NoSegments,
    TooManySegments,
    TooManyHeaders,
    Overlap,
    SegmentOutOfRange,
    WritableCode,
    EntryOutside,
    NoNotes,
    MalformedNotes,
    AbiVersion,
    ExecutionMode,
    ExtensionAbsent,
    BadRelocation,
    BadLoadAddress,
    RangeClash,
    TooLarge,
    TooManyVcpus,
    NoSuchCpu,
    NoMemory,
    RegistersAreMemory,
    RegistersOutOfReach,
    MachineDevice,
    NoSuchInterrupt,
    TooManyInterrupts,
}

impl Refusal {
    /// The line's reason.
    #[must_use]
    pub const fn message(self) -> &'static str {
        match self {
            Self::NotElf => "not an ELF file, or its headers are damaged",
            Self::Truncated => "the file ends before a segment does (truncated)",
            Self::WrongMachine => "not for x86_64 (wrong machine or class)",
            Self::NotExecutable => "neither an executable nor a position-independent executable",
            Self::NoSegments => "no loadable segment",
            Self::TooManySegments => "more than 16 loadable segments",
            Self::TooManyHeaders => "more than 64 program headers",
            Self::Overlap => "segments overlap or share a page",
            Self::SegmentOutOfRange => "a segment is out of range",
            Self::WritableCode => "a segment is both writable and executable",
            Self::EntryOutside => "the entry of the PVOPS note is outside the image's code",
            Self::NoNotes => "no PVOPS notes: this kernel does not speak the ABI",
            Self::MalformedNotes => "the PVOPS notes are malformed or incomplete",
            Self::AbiVersion => "it needs another version of the ABI than 0.1",
            Self::ExecutionMode => "it does not run in deprivileged mode",
            Self::ExtensionAbsent => "an extension that it requires is absent",
            Self::BadRelocation => "a relocation is not relative, or is outside the image",
            Self::BadLoadAddress => "the load address of its note is misaligned or too low",
            Self::RangeClash => "it needs addresses that are reserved or used",
            Self::TooLarge => "it is larger than its memory",
            Self::TooManyVcpus => "more vCPUs than this version runs in a domain (1)",
            Self::NoSuchCpu => "it is placed on a CPU that this machine does not have",
            Self::NoMemory => "the machine has no free range of its memory size",
            Self::RegistersAreMemory => {
                "registers of its devices are memory, or what the firmware keeps for itself"
            }
            Self::RegistersOutOfReach => {
                "registers of its devices lie beyond this machine's physical addresses"
            }
            Self::MachineDevice => "a device of its is part of the machine itself: ACPI, interrupts, console",
            Self::NoSuchInterrupt => {
                "this machine has no such interrupt as its devices', or it cannot reach its CPU"
            }
            Self::TooManyInterrupts => "more interrupts of devices than this version has vectors for (15)",
        }
    }
}
