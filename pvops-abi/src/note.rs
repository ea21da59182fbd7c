//! ELF notes by which a kernel says that it speaks the ABI. Owner `PVOPS`, section `.note.pvops`.
//!
//! A native boot loader enters at the ELF entry and never looks at them, so one ELF serves both worlds.
//! Note header and alignment as in the gABI: name and descriptor padded to 4 bytes.

/// Owner name, with its terminating zero.
pub const OWNER: &[u8; 6] = b"PVOPS\0";

/// Note types and the descriptor of each (all little-endian `u64`, [`NoteType::Requires`] and
/// [`NoteType::Wants`] a list of `u64` extension numbers, [`NoteType::Range`] two `u64`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u32)]
pub enum NoteType {
    /// Signed distance from this note's descriptor (its address in memory) to the entry. Required, once.
    Entry = 1,
    /// Lowest ABI version that the kernel needs, as in BASE.version. Required, once.
    AbiVersion = 2,
    /// Bit mask of execution modes, `1 << ExecutionMode`. Required, once.
    ExecutionModes = 3,
    /// Extensions without which the kernel does not run.
    Requires = 4,
    /// Extensions that it uses when present.
    Wants = 5,
    /// Guest-physical load address, for ET_EXEC.
    LoadAddress = 6,
    /// Virtual range `start, last` that the kernel needs for itself; a clash with a reserved range is refused.
    Range = 7,
}

impl TryFrom<u32> for NoteType {
    type Error = crate::error::Error;
    fn try_from(value: u32) -> Result<Self, crate::error::Error> {
        Ok(match value {
            1 => Self::Entry,
            2 => Self::AbiVersion,
            3 => Self::ExecutionModes,
            4 => Self::Requires,
            5 => Self::Wants,
            6 => Self::LoadAddress,
            7 => Self::Range,
            _ => return Err(crate::error::Error::NotSupported),
        })
    }
}

/// Emits the three required notes of a kernel whose ABI entry is the function `$entry`, and a
/// [`NoteType::Requires`] note with the given extensions.
///
/// The entry's descriptor is a distance that the linker resolves, so the notes need no relocation and a loader
/// can read them from the file.
#[macro_export]
macro_rules! notes {
    (entry: $entry:path, version: $version:expr, modes: $modes:expr, requires: [$($extension:expr),* $(,)?]) => {
        ::core::arch::global_asm!(
            ".pushsection .note.pvops, \"a\", @note",
            ".balign 4",
            ".long 6, 8, {entry_type}", ".asciz \"PVOPS\"", ".balign 4", ".quad {entry} - .",
            ".long 6, 8, {version_type}", ".asciz \"PVOPS\"", ".balign 4", ".quad {version}",
            ".long 6, 8, {modes_type}", ".asciz \"PVOPS\"", ".balign 4", ".quad {modes}",
            ".long 6, 2f - 1f, {requires_type}", ".asciz \"PVOPS\"", ".balign 4",
            "1:",
            $($crate::notes!(@word $extension),)*
            "2:",
            ".popsection",
            entry = sym $entry,
            entry_type = const $crate::note::NoteType::Entry as u32,
            version_type = const $crate::note::NoteType::AbiVersion as u32,
            version = const $crate::version::AbiVersion::to_bits($version),
            modes_type = const $crate::note::NoteType::ExecutionModes as u32,
            modes = const $modes,
            requires_type = const $crate::note::NoteType::Requires as u32,
        );
    };
    (@word $extension:literal) => { concat!(".quad ", $extension) };
}
