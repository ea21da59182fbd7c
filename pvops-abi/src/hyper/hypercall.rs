//! Calls through the hypercall page.

use crate::addr::VirtAddr;
use crate::call::{CALL_STUB_OFFSET, CallId, IRET_STUB_OFFSET};
use crate::error::Error;
use core::sync::atomic::{AtomicU64, Ordering};

/// Address of the stub for calls; used by `call` below and by the stubs of patched sites.
pub(super) static CALL_STUB: AtomicU64 = AtomicU64::new(0);
/// Address of the stub for CPU.iret; jumped to by the entry stubs.
pub(super) static IRET_STUB: AtomicU64 = AtomicU64::new(0);

/// Remembers where the hypercall page is mapped, in this and every later root.
pub(super) fn use_page(page: VirtAddr) {
    CALL_STUB.store(page.0 + CALL_STUB_OFFSET, Ordering::Relaxed);
    IRET_STUB.store(page.0 + IRET_STUB_OFFSET, Ordering::Relaxed);
}

/// What a call returned.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Reply {
    /// `rax`: 0 or an error.
    pub status: i64,
    /// `rdx`: the value, meaningful when the status is 0.
    pub value: u64,
}

impl Reply {
    /// The value, or the error.
    ///
    /// # Errors
    /// As the call's chapter lists them.
    pub fn result(self) -> Result<u64, Error> {
        Error::check(self.status).map(|()| self.value)
    }
}

/// Makes the call `id` with up to six arguments (`rdi rsi rdx r10 r8 r9`).
///
/// Works once [`super::BACKEND`] was started. Memory that the hypervisor reads or writes for the call must be
/// the caller's to give: the call is safe because a hypervisor touches nothing else on its behalf, and it is a
/// compiler barrier for memory.
pub fn call(id: CallId, arguments: [u64; 6]) -> Reply {
    let status: i64;
    let value: u64;
    // SAFETY: the stub was set from StartInfo by `start`, which precedes every use; the ABI says that it
    // preserves all registers but rax, rdx, rcx and r11 and uses eight bytes of stack (no red zone here).
    unsafe {
        core::arch::asm!(
            "call [rip + {stub}]",
            stub = sym CALL_STUB,
            inlateout("rax") id.0 => status,
            in("rdi") arguments[0],
            in("rsi") arguments[1],
            inlateout("rdx") arguments[2] => value,
            in("r10") arguments[3],
            in("r8") arguments[4],
            in("r9") arguments[5],
            out("rcx") _,
            out("r11") _,
        );
    }
    Reply { status, value }
}

/// [`call`] with two arguments.
pub(super) fn call2(id: CallId, first: u64, second: u64) -> Reply {
    call(id, [first, second, 0, 0, 0, 0])
}

/// [`call`] without arguments.
pub(super) fn call0(id: CallId) -> Reply {
    call(id, [0; 6])
}
