//! Behaviour: a call preserves every register but `rax`, `rdx`, `rcx` and `r11`, all flags but the arithmetic ones,
//! and the vector registers, and writes nothing to the caller's stack.
//! Reason: kernels call from assembly and keep values in registers; one that is lost corrupts them silently.
//! Method: fills all registers with patterns, calls the stub itself, compares what is there afterwards.

use crate::harness::Needs::Abi;
use crate::harness::{Report, Test, world};
use core::arch::naked_asm;
use pvops_abi::call::{Base, CALL_STUB_OFFSET, CallId, Console, Event, Mmu, Sched, Time};
use pvops_abi::ops;

pub(super) const TESTS: &[Test] = &[
    Test {
        name: "registers.preserved",
        requirement_ids: &["CALL-004", "GEN-002"],
        needs: Abi,
        run: preserved,
    },
    Test {
        name: "registers.preserved_on_error",
        requirement_ids: &["CALL-004"],
        needs: Abi,
        run: preserved_on_error,
    },
    Test { name: "registers.vector", requirement_ids: &["CALL-004", "CPU-021"], needs: Abi, run: vector },
    Test { name: "registers.stack", requirement_ids: &["CALL-003"], needs: Abi, run: stack },
];

/// Registers before and after a call: `rax rbx rcx rdx rsi rdi rbp r8..r15`, `rflags`, `xmm0`'s low half, and the
/// number of words below the stack pointer that changed.
#[derive(Clone, Copy)]
#[repr(C)]
struct Registers {
    general: [u64; 15],
    flags: u64,
    xmm0: u64,
    changed_words: u64,
}

const NAMES: [&str; 15] =
    ["rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rbp", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15"];
/// Those that a call may change.
const CLOBBERED: [&str; 4] = ["rax", "rcx", "rdx", "r11"];
/// DF, AC and ID: flags that kernels set, and that a call has no reason to touch.
const FLAGS: u64 = 1 << 10 | 1 << 18 | 1 << 21;

/// Loads the registers, calls `stub`, stores them again.
#[unsafe(naked)]
unsafe extern "C" fn call_with(stub: u64, registers: *mut Registers) {
    naked_asm!(
        "push rbp",
        "push rbx",
        "push r12",
        "push r13",
        "push r14",
        "push r15",
        "push rsi",
        "push rdi",
        // A pattern below the stack pointer, beyond the word for the return address.
        "lea rdi, [rsp - 264]",
        "mov ecx, 32",
        "mov rax, 0x5aa5",
        "cld",
        "rep stosq",
        "movq xmm0, [rsi + 128]",
        "push [rsi + 120]",
        "popfq",
        "mov rax, [rsi]",
        "mov rbx, [rsi + 8]",
        "mov rcx, [rsi + 16]",
        "mov rdx, [rsi + 24]",
        "mov rdi, [rsi + 40]",
        "mov rbp, [rsi + 48]",
        "mov r8, [rsi + 56]",
        "mov r9, [rsi + 64]",
        "mov r10, [rsi + 72]",
        "mov r11, [rsi + 80]",
        "mov r12, [rsi + 88]",
        "mov r13, [rsi + 96]",
        "mov r14, [rsi + 104]",
        "mov r15, [rsi + 112]",
        "mov rsi, [rsi + 32]",
        "call [rsp]",
        // Into the word of the stub's address: nothing below the stack pointer may be written yet.
        "mov [rsp], rsi",
        "mov rsi, [rsp + 8]",
        "mov [rsi], rax",
        "mov [rsi + 8], rbx",
        "mov [rsi + 16], rcx",
        "mov [rsi + 24], rdx",
        "mov [rsi + 40], rdi",
        "mov [rsi + 48], rbp",
        "mov [rsi + 56], r8",
        "mov [rsi + 64], r9",
        "mov [rsi + 72], r10",
        "mov [rsi + 80], r11",
        "mov [rsi + 88], r12",
        "mov [rsi + 96], r13",
        "mov [rsi + 104], r14",
        "mov [rsi + 112], r15",
        "mov rax, [rsp]",
        "mov [rsi + 32], rax",
        "pushfq",
        "pop [rsi + 120]",
        "movq [rsi + 128], xmm0",
        // The return address and the flags were one word each, in the same place.
        "xor edx, edx",
        "mov ecx, 32",
        "lea rdi, [rsp - 264]",
        "2:",
        "cmp qword ptr [rdi + 8*rcx - 8], 0x5aa5",
        "je 3f",
        "inc edx",
        "3:",
        "dec ecx",
        "jnz 2b",
        "mov [rsi + 136], rdx",
        "add rsp, 16",
        "push 2",
        "popfq",
        "pop r15",
        "pop r14",
        "pop r13",
        "pop r12",
        "pop rbx",
        "pop rbp",
        "ret",
    )
}

/// Makes a call with patterns everywhere; before and after.
fn pattern_call(id: CallId, arguments: [u64; 6]) -> (Registers, Registers) {
    let general = core::array::from_fn(|index| (0x1111_1111_1111_1111 * (index as u64 + 1)) ^ 0xabcd);
    let mut before = Registers { general, flags: FLAGS | 2, xmm0: 0x0123_4567_89ab_cdef, changed_words: 0 };
    before.general[0] = id.0;
    // rdi rsi rdx r10 r8 r9
    for (place, value) in [5, 4, 3, 9, 7, 8].into_iter().zip(arguments) {
        before.general[place] = value;
    }
    let mut after = before;
    let stub = world::hypervisor().hypercall_page_virt + CALL_STUB_OFFSET;
    // An event on this stack would write below the stack pointer.
    // SAFETY: the stub's contract is what is tested; the routine saves what Rust needs before it.
    ops::irq::without(|| unsafe { call_with(stub, &raw mut after) });
    (before, after)
}

/// As [`compare`], for a call that succeeds: registers that it does not name hold anything.
fn compare_success(report: &mut Report, id: CallId, arguments: [u64; 6]) {
    let after = compare(report, id, arguments);
    report.equal("status", after.general[0], 0);
}

fn compare(report: &mut Report, id: CallId, arguments: [u64; 6]) -> Registers {
    let (before, after) = pattern_call(id, arguments);
    for (index, name) in NAMES.into_iter().enumerate() {
        if !CLOBBERED.contains(&name) {
            report.equal(name, after.general[index], before.general[index]);
        }
    }
    report.equal("DF, AC and ID", after.flags & FLAGS, before.flags & FLAGS);
    after
}

fn preserved(report: &mut Report) {
    let page = world::frame().0;
    compare_success(report, Base::Version.id(), [u64::MAX; 6]);
    compare_success(report, Time::Clock.id(), [6, 5, 4, 3, 2, 1]);
    compare_success(report, Event::Deliver.id(), [1, 2, 3, 4, 5, 6]);
    compare_success(report, Console::Read.id(), [page, 0, 3, 4, 5, 6]);
    compare_success(report, Mmu::FlushAll.id(), [0, u64::MAX, 1, 4, 5, 6]);
    compare_success(report, Sched::Yield.id(), [1, 2, 3, 4, 5, 6]);
}

fn preserved_on_error(report: &mut Report) {
    compare(report, CallId(0xffff_ffff), [1, 2, 3, 4, 5, 6]);
    compare(report, Mmu::LoadRoot.id(), [1, 2, 3, 4, 5, 6]);
    compare(report, Event::Send.id(), [u64::MAX; 6]);
    compare(report, Sched::Shutdown.id(), [99, 2, 3, 4, 5, 6]);
}

fn vector(report: &mut Report) {
    for id in [Base::Version.id(), Mmu::FlushAll.id(), Time::Clock.id()] {
        let (before, after) = pattern_call(id, [0, u64::MAX, 0, 0, 0, 0]);
        report.equal("xmm0", after.xmm0, before.xmm0);
    }
}

fn stack(report: &mut Report) {
    for id in [Base::Version.id(), Mmu::FlushAll.id(), Time::Clock.id()] {
        let (_, after) = pattern_call(id, [0, u64::MAX, 0, 0, 0, 0]);
        report.equal("words changed below the return address", after.changed_words, 0);
    }
}
