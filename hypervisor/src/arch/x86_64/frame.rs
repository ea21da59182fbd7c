//! The guest's registers as the entry code stores them.

/// In the order of the pushes in `entry`; `vector` and `error` below the hardware's frame.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
#[allow(missing_docs, reason = "registers are named as the manual names them")]
pub struct Frame {
    pub r15: u64,
    pub r14: u64,
    pub r13: u64,
    pub r12: u64,
    pub rbp: u64,
    pub rbx: u64,
    pub r11: u64,
    pub r10: u64,
    pub r9: u64,
    pub r8: u64,
    pub rax: u64,
    pub rcx: u64,
    pub rdx: u64,
    pub rsi: u64,
    pub rdi: u64,
    /// What the long way is to see to: the vector of the entry, as a byte with its sign, or one of those below.
    pub vector: u64,
    /// The hardware's error code, at exceptions that have one.
    pub error: u64,
    pub rip: u64,
    pub cs: u64,
    pub rflags: u64,
    pub rsp: u64,
    pub ss: u64,
}

/// [`Frame::vector`] of an entry by `syscall`. Like the next ones behind the exceptions' and far below the interrupts'.
pub const SYSTEM_CALL_VECTOR: u64 = 0x20;
/// [`Frame::vector`] when what the guest wanted is done, and only what happened meanwhile is to be seen to.
pub const LEAVING_VECTOR: u64 = 0x21;
/// [`Frame::vector`] when an event is to be delivered, which the guest accepts.
pub const EVENT_VECTOR: u64 = 0x22;

impl Frame {
    /// All of it, in the order above.
    #[must_use]
    pub fn words(&self) -> &[u64] {
        // SAFETY: the structure is made of such words and nothing else, see its layout.
        unsafe { &*core::ptr::from_ref(self).cast::<[u64; size_of::<Self>() / 8]>() }
    }
}

const _: () = assert!(size_of::<Frame>() == 176 && size_of::<Frame>().is_multiple_of(16));
