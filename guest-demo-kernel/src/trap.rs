//! Exceptions: page faults of programs are served, other faults of programs end them, faults of the kernel end
//! everything with a register dump.

use crate::arch::raw;
use crate::console::{print_in_crash, println};
use crate::process::{self, address_space::Access};
use core::sync::atomic::Ordering;
use demo_programs::KILLED;
use pvops_abi::layout::TrapFrame;
use pvops_abi::ops;
use pvops_abi::ops::sched::{self, ShutdownReason};

const PAGE_FAULT: u64 = 14;
/// Bits of a page fault's error code (SDM volume 3, 4.7).
const ERROR_WRITE: u64 = 1 << 1;
const ERROR_FETCH: u64 = 1 << 4;

/// The trap entry. Interrupts are masked, for most vectors, and on the stack of the interrupted thread.
pub(crate) fn on_trap(frame: &mut TrapFrame) {
    if raw::recover(frame) {
        return;
    }
    if !frame.is_user() {
        crash(frame);
    }
    ops::irq::enable();
    on_user_trap(frame);
    ops::irq::disable();
}

fn on_user_trap(frame: &mut TrapFrame) {
    if frame.vector == PAGE_FAULT && is_served(frame) {
        return;
    }
    match landing() {
        0 => kill(frame),
        landing => frame.rip = landing,
    }
}

/// Brings the page that is missing, or copies the one that is shared.
fn is_served(frame: &TrapFrame) -> bool {
    let access = match frame.error_code {
        code if code & ERROR_FETCH != 0 => Access::Execute,
        code if code & ERROR_WRITE != 0 => Access::Write,
        _ => Access::Read,
    };
    let process = process::current();
    let mut memory = process.memory();
    memory.as_mut().is_some_and(|memory| memory.fault(frame.fault_address, access).is_ok())
}

fn landing() -> u64 {
    process::current().fault_landing.load(Ordering::Relaxed)
}

/// Ends the running process.
fn kill(frame: &TrapFrame) -> ! {
    announce(frame);
    process::exit(KILLED | frame.vector)
}

fn announce(frame: &TrapFrame) {
    let process = process::current();
    println!(
        "process {} ({}) ended: {} at {:#x}, address {:#x}, error {:#x}",
        process.id,
        process.program.name(),
        name(frame.vector),
        frame.rip,
        frame.fault_address,
        frame.error_code,
    );
}

/// The kernel itself is broken: says where, and stops. Little stack may be left, so each line is small.
fn crash(frame: &TrapFrame) -> ! {
    let line = |names: [&str; 4], values: [u64; 4]| {
        print_in_crash(format_args!(
            "  {:>6} {:016x} {:>6} {:016x} {:>6} {:016x} {:>6} {:016x}\n",
            names[0], values[0], names[1], values[1], names[2], values[2], names[3], values[3],
        ));
    };
    print_in_crash(format_args!("kernel fault: {} (vector {})\n", name(frame.vector), frame.vector));
    line(["rip", "cs", "rflags", "rsp"], [frame.rip, frame.cs, frame.rflags, frame.rsp]);
    line(["cr2", "error", "ss", "rax"], [frame.fault_address, frame.error_code, frame.ss, frame.rax]);
    line(["rbx", "rcx", "rdx", "rsi"], [frame.rbx, frame.rcx, frame.rdx, frame.rsi]);
    line(["rdi", "rbp", "r8", "r9"], [frame.rdi, frame.rbp, frame.r8, frame.r9]);
    line(["r10", "r11", "r12", "r13"], [frame.r10, frame.r11, frame.r12, frame.r13]);
    print_in_crash(format_args!("  {:>6} {:016x} {:>6} {:016x}\n", "r14", frame.r14, "r15", frame.r15));
    sched::shutdown(ShutdownReason::Crash, 1)
}

/// What the manual calls a vector.
fn name(vector: u64) -> &'static str {
    match vector {
        0 => "divide error",
        1 => "debug exception",
        2 => "non-maskable interrupt",
        3 => "breakpoint",
        4 => "overflow",
        5 => "bound range exceeded",
        6 => "invalid opcode",
        7 => "device not available",
        8 => "double fault",
        10 => "invalid task-state segment",
        11 => "segment not present",
        12 => "stack-segment fault",
        13 => "general protection",
        14 => "page fault",
        16 => "x87 floating-point error",
        17 => "alignment check",
        18 => "machine check",
        19 => "SIMD floating-point error",
        21 => "control-protection exception",
        _ => "unexpected vector",
    }
}
