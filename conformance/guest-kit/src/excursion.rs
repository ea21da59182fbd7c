//! Excursions: a state of all registers is entered as a return from a trap, in kernel or user mode, and comes back by one.
//!
//! Whoever handles traps calls [`land`] with the frame of the one that ends an excursion. Its frame is kept, and the kernel
//! goes on where [`run`] was called, on the stack as it was there: the code that ran may leave registers and stack as it
//! likes. [`program!`](crate::program) makes code that ends with [`DONE`], a software interrupt that is open to user
//! mode, so that the trap tells how far it came.

use core::arch::naked_asm;
use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicU64, Ordering};
use pvops_abi::layout::TrapFrame;
use pvops_abi::ops::cpu;

/// Vector of the interrupt that ends a program: overflow, which user mode may raise and no instruction does.
pub const DONE: u64 = 4;
/// The instruction.
pub const DONE_BYTES: [u8; 2] = [0xcd, DONE as u8];
/// Bytes that a program may take, and that [`program_words`] gives.
pub const PROGRAM_BYTES: usize = 64;

/// Stack pointer at the landing; 0: no excursion is under way. For entry code that lands by itself.
pub static LANDING_RSP: AtomicU64 = AtomicU64::new(0);

/// The frame to enter with, and the one that came back.
struct Frames(UnsafeCell<[TrapFrame; 2]>);
// SAFETY: there is one CPU, and handlers touch the frames only while `run` waits for them.
unsafe impl Sync for Frames {}
// SAFETY: integers only.
static FRAMES: Frames = Frames(UnsafeCell::new(unsafe { core::mem::zeroed() }));

/// The address of position-independent code, given as instructions; the final interrupt is added.
#[macro_export]
macro_rules! program {
    ($($text:literal),* $(,)?) => {{
        #[unsafe(naked)]
        unsafe extern "C" fn code() {
            core::arch::naked_asm!($($text,)* "int 4", ".balign 64, 0xcc")
        }
        code as *const () as u64
    }};
}

/// The code of [`program!`](crate::program) that begins at `code`.
pub fn program_words(code: u64) -> impl Iterator<Item = u64> {
    // SAFETY: the image's code, whose programs are that long by their alignment.
    (code..code + PROGRAM_BYTES as u64).step_by(8).map(|at| unsafe { (at as *const u64).read_unaligned() })
}

/// Enters `state` and returns the frame of the trap by which it came back.
pub fn run(state: &TrapFrame) -> TrapFrame {
    // SAFETY: see `Frames`; `enter` saves what Rust needs, and comes back on the same stack.
    unsafe {
        (*FRAMES.0.get())[0] = *state;
        enter(FRAMES.0.get().cast(), LANDING_RSP.as_ptr());
        (*FRAMES.0.get())[1]
    }
}

/// Whether there is an excursion that a trap could end.
#[must_use]
pub fn is_under_way() -> bool {
    LANDING_RSP.load(Ordering::Relaxed) != 0
}

/// Ends the excursion: keeps `frame` for [`run`], and makes it that of the landing. False, and nothing done, if there is
/// none.
#[must_use]
pub fn land(frame: &mut TrapFrame) -> bool {
    let rsp = LANDING_RSP.swap(0, Ordering::Relaxed);
    if rsp == 0 {
        return false;
    }
    // SAFETY: see `Frames`.
    unsafe { (*FRAMES.0.get())[1] = *frame };
    let selectors = cpu::selectors();
    *frame = TrapFrame {
        rip: landing as *const () as u64,
        cs: selectors.kernel_cs.into(),
        ss: selectors.kernel_ss.into(),
        rflags: 2,
        rsp,
        ..*frame
    };
    true
}

#[unsafe(naked)]
unsafe extern "C" fn enter(frame: *const TrapFrame, landing_rsp: *mut u64) {
    naked_asm!(
        "push rbp", "push rbx", "push r12", "push r13", "push r14", "push r15",
        "sub rsp, 8",
        "mov [rsi], rsp",
        // The state goes below all that is needed: a trap of the return itself is delivered right under it.
        "mov rsi, rdi",
        "sub rsp, {bytes}",
        "mov rdi, rsp",
        "mov ecx, {bytes} / 8",
        "cld",
        "rep movsq",
        "mov rdi, rsp",
        "call {resume}",
        bytes = const size_of::<TrapFrame>(),
        resume = sym resume,
    )
}

extern "C" fn resume(frame: *const TrapFrame) -> ! {
    // SAFETY: the caller's state; whatever it does is caught by a trap that lands, or ends this domain.
    unsafe { cpu::resume(frame) }
}

/// Where an excursion ends, with `rsp` as it was kept in [`LANDING_RSP`].
///
/// # Safety
/// Jumped to by entry code only, with that `rsp`.
#[unsafe(naked)]
pub unsafe extern "C" fn landing() {
    naked_asm!("cld", "add rsp, 8", "pop r15", "pop r14", "pop r13", "pop r12", "pop rbx", "pop rbp", "ret")
}
