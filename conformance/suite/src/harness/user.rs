//! Programs in user mode: a few instructions, entered with all registers as the test wants them, and ended by a trap.
//!
//! Every program ends with [`DONE`], a software interrupt that is open to user mode, so each run comes back with a trap
//! that says how far it came. Its frame is kept, and the kernel goes on at the landing, on the stack as it was there.

use super::{tables, world};
use core::arch::{asm, naked_asm};
use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicU64, Ordering};
use pvops_abi::addr::{PAGE_SIZE, PhysAddr, VirtAddr};
use pvops_abi::layout::TrapFrame;
use pvops_abi::ops::mmu::{PageFlags, Retain, Slot};
use pvops_abi::ops::{cpu, irq};

/// Vector of the interrupt that ends a program: overflow, which user mode may raise and no instruction does.
pub(crate) const DONE: u64 = 4;
/// Bytes copied of a program.
const PROGRAM_BYTES: usize = 64;
/// Bytes of the stack for entries from user mode.
const ENTRY_STACK_BYTES: u64 = 4 * PAGE_SIZE;

/// Stack pointer at the landing; 0: no program is running.
static LANDING_RSP: AtomicU64 = AtomicU64::new(0);
/// What the handler of the last trap from user mode found.
static HANDLER_FLAGS: AtomicU64 = AtomicU64::new(0);
static HANDLER_STACK: AtomicU64 = AtomicU64::new(0);
static HANDLER_ENABLED: AtomicU64 = AtomicU64::new(0);

/// The frame to enter with, and the one that came back.
struct Frames(UnsafeCell<[TrapFrame; 2]>);
// SAFETY: the suite has one CPU, and handlers touch the frames only while `run` waits for them.
unsafe impl Sync for Frames {}
static FRAMES: Frames = Frames(UnsafeCell::new([NO_FRAME; 2]));

const NO_FRAME: TrapFrame = TrapFrame {
    r15: 0,
    r14: 0,
    r13: 0,
    r12: 0,
    rbp: 0,
    rbx: 0,
    r10: 0,
    r9: 0,
    r8: 0,
    rdx: 0,
    rsi: 0,
    rdi: 0,
    vector: 0,
    fault_address: 0,
    reserved: 0,
    rax: 0,
    rcx: 0,
    r11: 0,
    error_code: 0,
    rip: 0,
    cs: 0,
    rflags: 0,
    rsp: 0,
    ss: 0,
};

/// Pages of a program: code, data and stack, in a root of its own that also has all that the boot root maps.
pub(crate) struct Program {
    /// The root.
    pub(crate) root: PhysAddr,
    /// First page, with the code; data is behind it.
    pub(crate) code: VirtAddr,
    code_frame: PhysAddr,
    /// The frame of the data page, and where its entry stands.
    pub(crate) data_frame: PhysAddr,
    pub(crate) data_slot: Slot,
    /// The top of the stack for entries from user mode.
    pub(crate) entry_stack: VirtAddr,
}

/// The address of position-independent code, given as instructions; the final interrupt is added.
macro_rules! program {
    ($($text:literal),* $(,)?) => {{
        #[unsafe(naked)]
        unsafe extern "C" fn code() {
            core::arch::naked_asm!($($text,)* "int 4", ".balign 64, 0xcc")
        }
        code as *const () as u64
    }};
}
pub(crate) use program;

impl Program {
    /// A program without code; its root is loaded, events are masked.
    pub(crate) fn new() -> Self {
        const USER_DATA: PageFlags = tables::DATA.union(PageFlags::USER);
        irq::disable();
        let (root, code) = (tables::new_root(), tables::window());
        let (code_frame, data_frame) = (world::frame(), world::frame());
        tables::map(root, code, code_frame, PageFlags::PRESENT | PageFlags::USER);
        let data_slot = tables::map(root, tables::page(code, 1), data_frame, USER_DATA);
        tables::map(root, tables::page(code, 3), world::frame(), USER_DATA);
        let stack = world::frames(ENTRY_STACK_BYTES, PAGE_SIZE).expect("memory for a stack");
        let entry_stack = VirtAddr(world::phys_to_virt(stack).0 + ENTRY_STACK_BYTES);
        cpu::set_kernel_stack(entry_stack);
        tables::load(root, Retain::Drop);
        Self { root, code, code_frame, data_frame, data_slot, entry_stack }
    }

    /// Its data page.
    pub(crate) fn data(&self) -> VirtAddr {
        tables::page(self.code, 1)
    }

    /// The top of its stack.
    pub(crate) fn stack(&self) -> u64 {
        tables::page(self.code, 4).0 - 64
    }

    /// The state that starts it: `rdi` at the data, all else zero.
    pub(crate) fn state(&self) -> TrapFrame {
        let selectors = cpu::selectors();
        TrapFrame {
            rip: self.code.0,
            cs: selectors.user_cs.into(),
            ss: selectors.user_ss.into(),
            rflags: 0x202,
            rsp: self.stack(),
            rdi: self.data().0,
            ..NO_FRAME
        }
    }

    /// Puts code of [`program!`] into it.
    pub(crate) fn put(&self, code: u64) {
        for offset in (0..PROGRAM_BYTES as u64).step_by(8) {
            // SAFETY: the image's code, whose functions are that long by their alignment.
            let word = unsafe { ((code + offset) as *const u64).read_unaligned() };
            world::word(PhysAddr(self.code_frame.0 + offset)).store(word, Ordering::Relaxed);
        }
    }

    /// Runs `code` from `state`; the trap that ended it.
    pub(crate) fn run_from(&self, code: u64, state: &TrapFrame) -> TrapFrame {
        self.put(code);
        run(state)
    }

    /// Runs `code` with `rdi` given, all else as [`Self::state`] has it.
    pub(crate) fn run(&self, code: u64, rdi: u64) -> TrapFrame {
        self.run_from(code, &TrapFrame { rdi, ..self.state() })
    }

    /// Stack pointer of the handler that the last trap or system call of a program started, as a distance from the top.
    pub(crate) fn handler_depth(&self) -> u64 {
        self.entry_stack.0.wrapping_sub(HANDLER_STACK.load(Ordering::Relaxed))
    }
}

/// Flags of the processor in the handler of the last trap from user mode.
pub(crate) fn handler_flags() -> u64 {
    HANDLER_FLAGS.load(Ordering::Relaxed)
}

/// Whether that handler ran with interrupts enabled.
pub(crate) fn handler_was_enabled() -> bool {
    HANDLER_ENABLED.load(Ordering::Relaxed) != 0
}

/// Enters `state` and returns the frame of the trap by which it came back. Events are masked then.
pub(crate) fn run(state: &TrapFrame) -> TrapFrame {
    irq::disable();
    // SAFETY: see `Frames`; `enter` saves what Rust needs, and comes back on the same stack.
    let trap = unsafe {
        (*FRAMES.0.get())[0] = *state;
        enter(FRAMES.0.get().cast(), LANDING_RSP.as_ptr());
        (*FRAMES.0.get())[1]
    };
    irq::disable();
    trap
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
    // SAFETY: a program's state, with user mode's selectors; each way it can end is a trap that lands.
    unsafe { cpu::resume(frame) }
}

#[unsafe(naked)]
unsafe extern "C" fn landing() {
    naked_asm!("cld", "add rsp, 8", "pop r15", "pop r14", "pop r13", "pop r12", "pop rbx", "pop rbp", "ret")
}

/// Takes a trap, or system call, that belongs to a program; true if it was one.
pub(crate) fn on_trap(frame: &mut TrapFrame) -> bool {
    if LANDING_RSP.load(Ordering::Relaxed) == 0 || !frame.is_user() {
        return false;
    }
    let flags: u64;
    // SAFETY: reads the flags.
    unsafe { asm!("pushfq", "pop {0}", out(reg) flags) };
    HANDLER_FLAGS.store(flags, Ordering::Relaxed);
    HANDLER_STACK.store((&raw const *frame) as u64, Ordering::Relaxed);
    HANDLER_ENABLED.store(irq::are_enabled().into(), Ordering::Relaxed);
    // SAFETY: see `Frames`.
    unsafe { (*FRAMES.0.get())[1] = *frame };
    let selectors = cpu::selectors();
    *frame = TrapFrame {
        rip: landing as *const () as u64,
        cs: selectors.kernel_cs.into(),
        ss: selectors.kernel_ss.into(),
        rflags: 2,
        rsp: LANDING_RSP.swap(0, Ordering::Relaxed),
        ..*frame
    };
    true
}
