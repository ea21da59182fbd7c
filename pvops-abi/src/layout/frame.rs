//! Trap gates and the frames that traps, events and system calls leave on a kernel stack.
//!
//! The hypervisor delivers [`DeliveredFrame`]: the `iretq` layout with an error code (always), below it the
//! guest's `r11` and `rcx` so that the entry may be by `sysret`. The library's stubs, native and virtual, push
//! the rest and so converge on [`TrapFrame`]. Leaving pops all but the tail, which is an [`IretFrame`].

use super::assert_layout;

/// One entry of the trap table (CPU.set_trap_table); index = vector.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(C)]
pub struct TrapGate {
    /// Virtual address of the handler; 0: none (the trap then stops the domain).
    pub entry: u64,
    /// Bits 1..0: the least privileged virtual level (0 or 3) that may reach this gate by `int n`, `int3`.
    /// Bit 2: mask events on entry. Others: zero.
    pub flags: u64,
}
assert_layout!(TrapGate, 16, { entry: 0, flags: 8 });

impl TrapGate {
    /// Flag: user mode may raise this vector by an instruction.
    pub const USER: u64 = 3;
    /// Flag: events are masked on entry.
    pub const MASK_EVENTS: u64 = 4;
}

/// What lies at `rsp` when a trap or event handler of the guest kernel starts; `rsp` is 16-byte aligned.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(C)]
pub struct DeliveredFrame {
    /// The interrupted `rcx`.
    pub rcx: u64,
    /// The interrupted `r11`.
    pub r11: u64,
    /// Error code of the vector, 0 where there is none.
    pub error_code: u64,
    /// Where to go on.
    pub rip: u64,
    /// Bits 1..0: virtual privilege (0 kernel, 3 user). The rest: a selector from `StartInfo`.
    pub cs: u64,
    /// Flags with the virtual interrupt flag in bit 9.
    pub rflags: u64,
    /// The interrupted stack pointer.
    pub rsp: u64,
    /// A selector from `StartInfo`.
    pub ss: u64,
}
assert_layout!(DeliveredFrame, 64, { rcx: 0, r11: 8, error_code: 16, rip: 24, cs: 32, rflags: 40, rsp: 48, ss: 56 });

/// What CPU.iret reads at `rsp`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(C)]
pub struct IretFrame {
    /// `rax` after the return.
    pub rax: u64,
    /// `rcx` after the return.
    pub rcx: u64,
    /// `r11` after the return.
    pub r11: u64,
    /// Ignored, so that a [`DeliveredFrame`] with `rax` below it is a valid frame.
    pub error_code: u64,
    /// Where to go on; canonical.
    pub rip: u64,
    /// As in [`DeliveredFrame::cs`].
    pub cs: u64,
    /// As in [`DeliveredFrame::rflags`]; IOPL, NT, VM, VIF and VIP are ignored.
    pub rflags: u64,
    /// Stack pointer after the return.
    pub rsp: u64,
    /// Ignored.
    pub ss: u64,
}
assert_layout!(IretFrame, 72, { rax: 0, rcx: 8, r11: 16, error_code: 24, rip: 32, cs: 40, rflags: 48, rsp: 56, ss: 64 });

/// The state that a handler sees and may change, the same in every world.
///
/// It is the library's, not the ABI's: only its tail ([`IretFrame`]) is known to a hypervisor.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(C)]
#[allow(missing_docs, reason = "registers are named as the manual names them")]
pub struct TrapFrame {
    pub r15: u64,
    pub r14: u64,
    pub r13: u64,
    pub r12: u64,
    pub rbp: u64,
    pub rbx: u64,
    pub r10: u64,
    pub r9: u64,
    pub r8: u64,
    pub rdx: u64,
    pub rsi: u64,
    pub rdi: u64,
    /// Vector of the trap; [`TrapFrame::EVENT`] or [`TrapFrame::SYSTEM_CALL`] for the others.
    pub vector: u64,
    /// For vector 14 the address whose access faulted, else 0.
    pub fault_address: u64,
    /// Zero; keeps the stack aligned.
    pub reserved: u64,
    pub rax: u64,
    pub rcx: u64,
    pub r11: u64,
    pub error_code: u64,
    pub rip: u64,
    pub cs: u64,
    pub rflags: u64,
    pub rsp: u64,
    pub ss: u64,
}
assert_layout!(TrapFrame, 192, {
    r15: 0, rdi: 88, vector: 96, fault_address: 104, reserved: 112, rax: 120, rcx: 128, r11: 136,
    error_code: 144, rip: 152, cs: 160, rflags: 168, rsp: 176, ss: 184,
});

/// RFLAGS.IF: in frames the virtual interrupt flag.
pub const RFLAGS_IF: u64 = 1 << 9;

impl TrapFrame {
    /// [`TrapFrame::vector`] of an event (an interrupt, on the metal).
    pub const EVENT: u64 = 0x100;
    /// [`TrapFrame::vector`] of a system call by the `syscall` instruction.
    pub const SYSTEM_CALL: u64 = 0x101;

    /// Whether user mode was interrupted.
    #[must_use]
    pub const fn is_user(&self) -> bool {
        self.cs & 3 == 3
    }
    /// Whether events (interrupts) were enabled where the frame was taken.
    #[must_use]
    pub const fn interrupts_enabled(&self) -> bool {
        self.rflags & RFLAGS_IF != 0
    }
}

/// Selectors for frames that a kernel makes itself (a new thread, a new program).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(C)]
pub struct Selectors {
    /// `cs` of kernel mode.
    pub kernel_cs: u16,
    /// `ss` of kernel mode.
    pub kernel_ss: u16,
    /// `cs` of user mode.
    pub user_cs: u16,
    /// `ss` of user mode.
    pub user_ss: u16,
}
assert_layout!(Selectors, 8, { kernel_cs: 0, kernel_ss: 2, user_cs: 4, user_ss: 6 });
