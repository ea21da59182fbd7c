//! Attempts: a state of all registers is entered by CPU.IRET, in kernel or user mode, and comes back by a trap.
//!
//! Every snippet ends with [`DONE`], a software interrupt that is open to both modes, so each attempt ends with a trap
//! that says how far it came. The trap handler copies the frame and goes on at the landing, on the stack as it was
//! there: the snippet may leave registers and stack as it likes. (A table of expected faults per instruction would not
//! do for jumps to nowhere.)

use super::{tables, world};
use core::arch::asm;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use guest_kit::excursion::{self, PROGRAM_BYTES};
pub(crate) use guest_kit::excursion::{DONE, DONE_BYTES, run};
pub(crate) use guest_kit::program as code;
use pvops_abi::layout::TrapFrame;

/// Bytes of the stacks below.
const STACK_BYTES: u64 = 4 * 4096;

/// The virtual privilege in which an attempt runs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Mode {
    Kernel,
    User,
}

/// Both.
pub(crate) const BOTH: [Mode; 2] = [Mode::Kernel, Mode::User];

/// Where attempts find things; the first page of the user slot, and of a kernel slot, holds the code.
pub(crate) const USER_CODE: u64 = tables::USER_SLOT * tables::SLOT_BYTES;
pub(crate) const USER_DATA: u64 = USER_CODE + 0x1000;
pub(crate) const USER_STACK: u64 = USER_CODE + 0x10_0000;
/// Kernel pages stand in a slot of their own: next to user pages they would make the slot a mixed one.
pub(crate) const KERNEL_CODE: u64 = (tables::WINDOW_SLOT + 15) * tables::SLOT_BYTES;
pub(crate) const KERNEL_DATA: u64 = KERNEL_CODE + 0x1000;
pub(crate) const KERNEL_STACK: u64 = KERNEL_CODE + 0x10_0000;
/// For entries from user mode.
pub(crate) const ENTRY_STACK: u64 = KERNEL_CODE + 0x20_0000;

static CODE_FRAMES: [AtomicU64; 2] = [const { AtomicU64::new(0) }; 2];
/// Whether an event ends the attempt, for code that may not end by itself.
static ENDS_BY_EVENT: AtomicBool = AtomicBool::new(false);
/// Flags in which the handler of the last trap ran.
static HANDLER_FLAGS: AtomicU64 = AtomicU64::new(0);

/// Maps what attempts need into the base root.
pub(crate) fn prepare() {
    let root = tables::base_root();
    for (index, (code, data, rights)) in
        [(KERNEL_CODE, KERNEL_DATA, 0), (USER_CODE, USER_DATA, tables::U)].into_iter().enumerate()
    {
        let frame = world::frame();
        CODE_FRAMES[index].store(frame, Ordering::Relaxed);
        tables::map(root, code, frame, rights | tables::W);
        tables::map(root, data, world::frame(), rights | tables::W | tables::NX);
    }
    for (top, rights) in [(KERNEL_STACK, 0), (USER_STACK, tables::U), (ENTRY_STACK, 0)] {
        for page in (top - STACK_BYTES..top).step_by(4096) {
            tables::map(root, page, world::frame(), rights | tables::W | tables::NX);
        }
    }
    set_entry_stack(ENTRY_STACK);
}

/// Sets the stack for entries from user mode.
pub(crate) fn set_entry_stack(top: u64) {
    world::BLOCK.area.kernel_stack.store(top, Ordering::Relaxed);
}

/// The frame behind the code page.
pub(crate) fn code_frame(mode: Mode) -> u64 {
    CODE_FRAMES[mode as usize].load(Ordering::Relaxed)
}

/// Start of the code page.
pub(crate) fn code_page(mode: Mode) -> u64 {
    match mode {
        Mode::Kernel => KERNEL_CODE,
        Mode::User => USER_CODE,
    }
}

/// A state that starts at the code page in `mode`, on a stack of its own, `rdi` at data, other registers zero.
pub(crate) fn state(mode: Mode) -> TrapFrame {
    let selectors = world::start_info().selectors;
    let (cs, ss, rsp, rdi) = match mode {
        Mode::Kernel => (selectors.kernel_cs, selectors.kernel_ss, KERNEL_STACK - 256, KERNEL_DATA),
        Mode::User => (selectors.user_cs, selectors.user_ss, USER_STACK - 256, USER_DATA),
    };
    TrapFrame {
        rip: code_page(mode),
        cs: cs.into(),
        ss: ss.into(),
        rflags: 2,
        rsp,
        rdi,
        ..TrapFrame::default()
    }
}

/// Puts `bytes` and the final interrupt into the code page and returns a state that executes them.
pub(crate) fn bytes(mode: Mode, bytes: &[u8]) -> TrapFrame {
    let mut all = [0xcc; PROGRAM_BYTES];
    all[..bytes.len()].copy_from_slice(bytes);
    all[bytes.len()..bytes.len() + 2].copy_from_slice(&DONE_BYTES);
    world::put_bytes(code_frame(mode), &all);
    state(mode)
}

/// As [`bytes`], for code made by `code!`.
pub(crate) fn snippet(mode: Mode, code: u64) -> TrapFrame {
    for (place, word) in (code_frame(mode)..).step_by(8).zip(excursion::program_words(code)) {
        world::put(place, word);
    }
    state(mode)
}

/// As [`run`], for user code that may not end by itself: any event ends it.
pub(crate) fn run_until_event(frame: &TrapFrame) -> TrapFrame {
    ENDS_BY_EVENT.store(true, Ordering::Relaxed);
    let trap = run(frame);
    ENDS_BY_EVENT.store(false, Ordering::Relaxed);
    trap
}

/// The trap and system-call entry.
pub(crate) fn on_trap(frame: &mut TrapFrame) {
    let flags: u64;
    // SAFETY: reads the flags.
    unsafe { asm!("pushfq", "pop {0}", out(reg) flags) };
    HANDLER_FLAGS.store(flags, Ordering::Relaxed);
    land(frame);
}

/// Called for each event; true: it ended an attempt.
pub(crate) fn on_event(frame: &mut TrapFrame) -> bool {
    let ends = ENDS_BY_EVENT.load(Ordering::Relaxed) && frame.is_user();
    if ends {
        land(frame);
    }
    ends
}

fn land(frame: &mut TrapFrame) {
    assert!(
        excursion::land(frame),
        "a trap of the guest's own: vector {} error {:#x} rip {:#x} (image offset {:#x}) address {:#x}",
        frame.vector,
        frame.error_code,
        frame.rip,
        frame.rip.wrapping_sub(world::boot().kernel_start.0),
        frame.fault_address,
    );
}

/// Flags in which the handler of the last trap ran.
pub(crate) fn handler_flags() -> u64 {
    HANDLER_FLAGS.load(Ordering::Relaxed)
}
