//! The operations that have call sites, and how many bytes a site of each has.
//!
//! A site has room for the call that it is at first, and for a longer sequence where that costs the bare machine no
//! more than one instruction of padding. Saving and restoring the interrupt flag make up most of what a kernel
//! executes of all this: with room for a guest's sequences (18 and 24 bytes) their padding alone was 4.9 % of the
//! demo kernel's work, so that a guest calls a stub instead, which is two instructions more.
//! The lengths are part of no ABI: site and patcher are always of one build.

/// An operation whose call sites are rewritten.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[repr(u8)]
#[allow(missing_docs, reason = "each is the function of that name in `ops`")]
pub enum Operation {
    IrqDisable = 1,
    IrqEnable = 2,
    IrqSaveAndDisable = 3,
    IrqRestore = 4,
    IrqAreEnabled = 5,
    IrqEnableAndWait = 6,
    CpuCurrent = 7,
    CpuBlock = 8,
    CpuSpinHint = 9,
    CpuUserAccessBegin = 10,
    CpuUserAccessEnd = 11,
    MmuLoadRoot = 12,
    MmuFlushPage = 13,
    TimeNow = 14,
}

/// Bytes of the longest site.
pub const MAX_SITE_BYTES: usize = 31;
/// Bytes of a direct call, which every site begins with until it is patched.
pub(crate) const CALL_BYTES: usize = 5;

impl Operation {
    /// All of them.
    pub const ALL: [Self; 14] = [
        Self::IrqDisable,
        Self::IrqEnable,
        Self::IrqSaveAndDisable,
        Self::IrqRestore,
        Self::IrqAreEnabled,
        Self::IrqEnableAndWait,
        Self::CpuCurrent,
        Self::CpuBlock,
        Self::CpuSpinHint,
        Self::CpuUserAccessBegin,
        Self::CpuUserAccessEnd,
        Self::MmuLoadRoot,
        Self::MmuFlushPage,
        Self::TimeNow,
    ];

    /// Bytes of its sites.
    #[must_use]
    pub const fn site_bytes(self) -> usize {
        match self {
            // A store of an immediate byte through GS has 9 bytes, a load into `eax` 8 or 9.
            Self::IrqDisable | Self::CpuBlock => 9,
            Self::IrqAreEnabled | Self::CpuCurrent => 8,
            // Store, comparison, a jump over a call.
            Self::IrqEnable => 9 + 9 + 2 + CALL_BYTES,
            // The hottest of all: the bare machine's instructions fill them without a NOP.
            Self::IrqSaveAndDisable
            | Self::IrqRestore
            | Self::IrqEnableAndWait
            | Self::CpuSpinHint
            | Self::CpuUserAccessBegin
            | Self::CpuUserAccessEnd
            | Self::MmuLoadRoot
            | Self::MmuFlushPage => CALL_BYTES,
            // The counter, read and scaled.
            Self::TimeNow => MAX_SITE_BYTES,
        }
    }

    /// The operation of that number.
    #[must_use]
    pub fn from_raw(raw: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|operation| *operation as u8 == raw)
    }

    /// A name for people: `irq.disable`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::IrqDisable => "irq.disable",
            Self::IrqEnable => "irq.enable",
            Self::IrqSaveAndDisable => "irq.save_and_disable",
            Self::IrqRestore => "irq.restore",
            Self::IrqAreEnabled => "irq.are_enabled",
            Self::IrqEnableAndWait => "irq.enable_and_wait",
            Self::CpuCurrent => "cpu.current",
            Self::CpuBlock => "cpu.block",
            Self::CpuSpinHint => "cpu.spin_hint",
            Self::CpuUserAccessBegin => "cpu.user_access_begin",
            Self::CpuUserAccessEnd => "cpu.user_access_end",
            Self::MmuLoadRoot => "mmu.load_root",
            Self::MmuFlushPage => "mmu.flush_page",
            Self::TimeNow => "time.now_ns",
        }
    }
}

const _: () = {
    let mut index = 0;
    while index < Operation::ALL.len() {
        let operation = Operation::ALL[index];
        // `ALL` has each once, in order, and a call fits into every site.
        assert!(operation as usize == index + 1);
        assert!(operation.site_bytes() >= CALL_BYTES && operation.site_bytes() <= MAX_SITE_BYTES);
        index += 1;
    }
};
