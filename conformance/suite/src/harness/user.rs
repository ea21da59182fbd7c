//! Programs in user mode: a few instructions, entered with all registers as the test wants them, and ended by a trap.
//!
//! Every program ends with [`DONE`], a software interrupt that is open to user mode, so each run comes back with a trap
//! that says how far it came. Its frame is kept, and the kernel goes on at the landing, on the stack as it was there.

use super::{tables, world};
use core::arch::asm;
use core::sync::atomic::{AtomicU64, Ordering};
use guest_kit::excursion;
pub(crate) use guest_kit::excursion::DONE;
use pvops_abi::addr::{PAGE_SIZE, PhysAddr, VirtAddr};
use pvops_abi::layout::TrapFrame;
use pvops_abi::ops::mmu::{PageFlags, Retain, Slot};
use pvops_abi::ops::{cpu, irq};

/// Bytes of the stack for entries from user mode.
const ENTRY_STACK_BYTES: u64 = 4 * PAGE_SIZE;

/// What the handler of the last trap from user mode found.
static HANDLER_FLAGS: AtomicU64 = AtomicU64::new(0);
static HANDLER_STACK: AtomicU64 = AtomicU64::new(0);
static HANDLER_ENABLED: AtomicU64 = AtomicU64::new(0);

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

pub(crate) use guest_kit::program;

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
            ..TrapFrame::default()
        }
    }

    /// Puts code of [`program!`] into it.
    pub(crate) fn put(&self, code: u64) {
        for (place, word) in (self.code_frame.0..).step_by(8).zip(excursion::program_words(code)) {
            world::word(PhysAddr(place)).store(word, Ordering::Relaxed);
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
    let trap = excursion::run(state);
    irq::disable();
    trap
}

/// Takes a trap, or system call, that belongs to a program; true if it was one.
pub(crate) fn on_trap(frame: &mut TrapFrame) -> bool {
    if !excursion::is_under_way() || !frame.is_user() {
        return false;
    }
    let flags: u64;
    // SAFETY: reads the flags.
    unsafe { asm!("pushfq", "pop {0}", out(reg) flags) };
    HANDLER_FLAGS.store(flags, Ordering::Relaxed);
    HANDLER_STACK.store((&raw const *frame) as u64, Ordering::Relaxed);
    HANDLER_ENABLED.store(irq::are_enabled().into(), Ordering::Relaxed);
    excursion::land(frame)
}
