//! Why a guest is refused: one clear line each.

use system_image::boot_text;

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
            Self::NotElf => boot_text!("not an ELF file, or its headers are damaged"),
            Self::Truncated => boot_text!("the file ends before a segment does (truncated)"),
            Self::WrongMachine => boot_text!("not for x86_64 (wrong machine or class)"),
            Self::NotExecutable => boot_text!("neither an executable nor a position-independent executable"),
            Self::NoSegments => boot_text!("no loadable segment"),
            Self::TooManySegments => boot_text!("more than 16 loadable segments"),
            Self::TooManyHeaders => boot_text!("more than 64 program headers"),
            Self::Overlap => boot_text!("segments overlap or share a page"),
            Self::SegmentOutOfRange => boot_text!("a segment is out of range"),
            Self::WritableCode => boot_text!("a segment is both writable and executable"),
            Self::EntryOutside => boot_text!("the entry of the PVOPS note is outside the image's code"),
            Self::NoNotes => boot_text!("no PVOPS notes: this kernel does not speak the ABI"),
            Self::MalformedNotes => boot_text!("the PVOPS notes are malformed or incomplete"),
            Self::AbiVersion => boot_text!("it needs another version of the ABI than 0.1"),
            Self::ExecutionMode => boot_text!("it does not run in deprivileged mode"),
            Self::ExtensionAbsent => boot_text!("an extension that it requires is absent"),
            Self::BadRelocation => boot_text!("a relocation is not relative, or is outside the image"),
            Self::BadLoadAddress => boot_text!("the load address of its note is misaligned or too low"),
            Self::RangeClash => boot_text!("it needs addresses that are reserved or used"),
            Self::TooLarge => boot_text!("it is larger than its memory"),
            Self::TooManyVcpus => boot_text!("more vCPUs than this version runs in a domain (1)"),
            Self::NoSuchCpu => boot_text!("it is placed on a CPU that this machine does not have"),
            Self::NoMemory => boot_text!("the machine has no free range of its memory size"),
            Self::RegistersAreMemory => {
                boot_text!("registers of its devices are memory, or what the firmware keeps for itself")
            }
            Self::RegistersOutOfReach => {
                boot_text!("registers of its devices lie beyond this machine's physical addresses")
            }
            Self::MachineDevice => {
                boot_text!("a device of its is part of the machine itself: ACPI, interrupts, console")
            }
            Self::NoSuchInterrupt => {
                boot_text!("this machine has no such interrupt as its devices', or it cannot reach its CPU")
            }
            Self::TooManyInterrupts => {
                boot_text!("more interrupts of devices than this version has vectors for (15)")
            }
        }
    }
}
