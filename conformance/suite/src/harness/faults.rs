//! Faults are recorded, not fatal.
//!
//! [`catch`] runs some code behind a landing: a fault inside is recorded and execution goes on at the landing, on
//! the stack as it was there, so the code may fault anywhere and leave registers as it likes. A table of
//! instruction addresses would do for single instructions only; the tests also provoke faults in calls and jumps
//! to nowhere. Traps that report a completed instruction (`int3`, `int n`) are recorded and resumed.

use super::user;
use core::arch::naked_asm;
use core::fmt;
use core::sync::atomic::{AtomicU64, Ordering};
use pvops_abi::addr::VirtAddr;
use pvops_abi::layout::TrapFrame;
use pvops_abi::ops;
use spin::Mutex;

/// Vectors.
pub(crate) const DIVIDE_ERROR: u64 = 0;
pub(crate) const BREAKPOINT: u64 = 3;
pub(crate) const OVERFLOW: u64 = 4;
pub(crate) const INVALID_OPCODE: u64 = 6;
pub(crate) const GENERAL_PROTECTION: u64 = 13;
pub(crate) const PAGE_FAULT: u64 = 14;
/// The first vector that no exception has.
const FIRST_FREE_VECTOR: u64 = 32;

/// Page-fault error code bits (Intel SDM volume 3, 4.7).
pub(crate) const PRESENT: u64 = 1;
pub(crate) const WRITE: u64 = 1 << 1;
pub(crate) const USER: u64 = 1 << 2;
pub(crate) const RESERVED: u64 = 1 << 3;
pub(crate) const FETCH: u64 = 1 << 4;

/// A trap as it was delivered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Fault {
    pub(crate) vector: u64,
    pub(crate) error_code: u64,
    /// For page faults.
    pub(crate) address: u64,
    pub(crate) rip: u64,
    /// Of kernel mode, as frames of the suite's own code must be.
    pub(crate) from_kernel: bool,
    /// The interrupt flag in the frame.
    pub(crate) interrupts_enabled: bool,
    /// Whether the handler ran with interrupts enabled.
    pub(crate) handler_enabled: bool,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "vector {}, error {:#x}, rip {:#x}", self.vector, self.error_code, self.rip)?;
        if self.vector == PAGE_FAULT { write!(f, ", address {:#x}", self.address) } else { Ok(()) }
    }
}

/// Stack pointer at the innermost landing; 0: there is none.
static LANDING_RSP: AtomicU64 = AtomicU64::new(0);
static FAULT: Mutex<Option<Fault>> = Mutex::new(None);
/// The last trap that was resumed.
static RESUMED: Mutex<Option<Fault>> = Mutex::new(None);

/// Runs `work` up to its first fault. The interrupt flag is afterwards as it was before.
pub(crate) fn catch<R>(work: impl FnOnce() -> R) -> Result<R, Fault> {
    struct Job<F, R> {
        work: Option<F>,
        result: Option<R>,
    }
    extern "C" fn perform<F: FnOnce() -> R, R>(job: *mut Job<F, R>) {
        // SAFETY: `catch` passes its own job and does not touch it before this is over.
        let job = unsafe { &mut *job };
        job.result = job.work.take().map(|work| work());
    }
    fn erase<F: FnOnce() -> R, R>(_: &F) -> extern "C" fn(*mut Job<F, R>) {
        perform::<F, R>
    }
    let perform = erase(&work);
    let mut job = Job { work: Some(work), result: None };
    let outer = LANDING_RSP.load(Ordering::Relaxed);
    let state = ops::irq::save_and_disable();
    ops::irq::restore(state);
    // SAFETY: `perform` takes a job of this very type; a fault abandons its frames, which own nothing that must
    // be dropped (tests hold no resources: see `harness::restore`).
    unsafe { run_behind_landing(LANDING_RSP.as_ptr(), perform as *const (), (&raw mut job).cast()) };
    LANDING_RSP.store(outer, Ordering::Relaxed);
    ops::irq::restore(state);
    match FAULT.lock().take() {
        Some(fault) => Err(fault),
        None => Ok(job.result.expect("no fault, so the work was done")),
    }
}

/// Calls `work(argument)` with the stack pointer stored in `landing_rsp`. Comes back by the call's return, or by
/// the trap handler setting `rsp` to that value and `rip` to [`landing`].
#[unsafe(naked)]
unsafe extern "C" fn run_behind_landing(landing_rsp: *mut u64, work: *const (), argument: *mut ()) {
    naked_asm!(
        "push rbp", "push rbx", "push r12", "push r13", "push r14", "push r15",
        "sub rsp, 8",
        "mov [rdi], rsp",
        "mov rdi, rdx",
        "call rsi",
        "jmp {landing}",
        landing = sym landing,
    )
}

/// See [`run_behind_landing`].
#[unsafe(naked)]
unsafe extern "C" fn landing() {
    naked_asm!("cld", "add rsp, 8", "pop r15", "pop r14", "pop r13", "pop r12", "pop rbx", "pop rbp", "ret",)
}

/// The trap entry.
pub(crate) fn on_trap(frame: &mut TrapFrame) {
    if user::on_trap(frame) {
        return;
    }
    let fault = Fault {
        vector: frame.vector,
        error_code: frame.error_code,
        address: frame.fault_address,
        rip: frame.rip,
        from_kernel: !frame.is_user(),
        interrupts_enabled: frame.interrupts_enabled(),
        handler_enabled: ops::irq::are_enabled(),
    };
    if matches!(frame.vector, BREAKPOINT | OVERFLOW | FIRST_FREE_VECTOR..) {
        ops::irq::without(|| *RESUMED.lock() = Some(fault));
        return;
    }
    let rsp = LANDING_RSP.load(Ordering::Relaxed);
    assert!(rsp != 0, "a fault of the suite's own: {fault}");
    *FAULT.lock() = Some(fault);
    frame.rip = landing as *const () as u64;
    frame.rsp = rsp;
}

/// The system-call entry.
pub(crate) fn on_system_call(frame: &mut TrapFrame) {
    assert!(user::on_trap(frame), "a system call of the kernel's own, from {:#x}", frame.rip);
}

/// Takes the last trap that was resumed.
pub(crate) fn take_resumed() -> Option<Fault> {
    ops::irq::without(|| RESUMED.lock().take())
}

/// Reads the word at `address`.
pub(crate) fn read(address: VirtAddr) -> Result<u64, Fault> {
    // SAFETY: a fault is caught; callers name memory of the tests, or none.
    catch(|| unsafe { (address.0 as *const u64).read_volatile() })
}

/// Writes the word at `address`.
pub(crate) fn write(address: VirtAddr, value: u64) -> Result<(), Fault> {
    // SAFETY: as in `read`; the page is the test's own.
    catch(|| unsafe { (address.0 as *mut u64).write_volatile(value) })
}

/// Calls `address`, where a `ret` is, or nothing.
pub(crate) fn execute(address: VirtAddr) -> Result<(), Fault> {
    // SAFETY: as in `read`; a page that is executable begins with `ret`.
    catch(|| unsafe { core::arch::asm!("call {0}", in(reg) address.0, clobber_abi("C")) })
}
