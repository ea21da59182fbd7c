//! Behaviour: CPU.iret goes on in the state that its frame describes, and a frame that describes none is a #GP at
//! the call.
//! Reason: it is the one call that takes registers from memory wholesale; what it does not check, it does.
//! Method: a round trip with every register, then frames with one bad field each.

use crate::harness::Needs::Abi;
use crate::harness::abi::NOT_CANONICAL;
use crate::harness::{Report, Test, faults, world};
use core::arch::naked_asm;
use pvops_abi::call::IRET_STUB_OFFSET;
use pvops_abi::layout::IretFrame;
use pvops_abi::layout::frame::RFLAGS_IF;
use pvops_abi::ops;

pub(super) const TESTS: &[Test] = &[
    Test { name: "iret.round_trip", requirement_ids: &["CPU-017"], needs: Abi, run: round_trip },
    Test { name: "iret.event_flag", requirement_ids: &["CPU-017"], needs: Abi, run: event_flag },
    Test { name: "iret.ignored_flags", requirement_ids: &[], needs: Abi, run: ignored_flags },
    Test { name: "iret.bad_rip", requirement_ids: &["CPU-018"], needs: Abi, run: bad_rip },
    Test { name: "iret.reserved_rip", requirement_ids: &["BOOT-010"], needs: Abi, run: reserved_rip },
    Test { name: "iret.bad_cs", requirement_ids: &["CPU-018"], needs: Abi, run: bad_cs },
];

/// What was there after an iret.
#[derive(Clone, Copy, Default)]
#[repr(C)]
struct Arrived {
    rax: u64,
    rcx: u64,
    r11: u64,
    flags: u64,
    rsp: u64,
    rbx: u64,
}

/// Pushes `frame`, with `rsp` and, unless it has one, `rip` filled in for a return to the caller, and jumps to the
/// stub. `rbx` holds a pattern meanwhile.
#[unsafe(naked)]
unsafe extern "C" fn go(stub: u64, frame: *const IretFrame, arrived: *mut Arrived) {
    naked_asm!(
        "push rbp",
        "push rbx",
        "push r12",
        "push r13",
        "push r14",
        "push r15",
        "mov rbp, rsp",
        "sub rsp, 8",
        "push [rsi + 64]",
        "push rbp",
        "push [rsi + 48]",
        "push [rsi + 40]",
        "mov rax, [rsi + 32]",
        "lea rcx, [rip + 2f]",
        "test rax, rax",
        "cmovz rax, rcx",
        "push rax",
        "push [rsi + 24]",
        "push [rsi + 16]",
        "push [rsi + 8]",
        "push [rsi]",
        "mov rbx, 0x6262",
        "jmp rdi",
        "2:",
        "mov [rdx + 32], rsp",
        "mov [rdx], rax",
        "mov [rdx + 8], rcx",
        "mov [rdx + 16], r11",
        "mov [rdx + 40], rbx",
        "pushfq",
        "pop [rdx + 24]",
        "sub rbp, [rdx + 32]",
        "mov [rdx + 32], rbp",
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

/// A frame that returns to kernel mode behind the call.
fn good() -> IretFrame {
    let selectors = world::hypervisor().selectors;
    IretFrame {
        rax: 0xa1,
        rcx: 0xc1,
        r11: 0x11,
        error_code: 0xdead,
        rip: 0,
        cs: selectors.kernel_cs.into(),
        rflags: 2,
        rsp: 0,
        ss: 0xffff,
    }
}

fn leave_to(frame: &IretFrame) -> Arrived {
    let mut arrived = Arrived::default();
    let stub = world::hypervisor().hypercall_page_virt + IRET_STUB_OFFSET;
    // SAFETY: the frame leads back into `go`, or to a fault that the caller catches.
    unsafe { go(stub, frame, &raw mut arrived) };
    arrived
}

fn round_trip(report: &mut Report) {
    ops::irq::disable();
    let frame = IretFrame { rflags: 0x8d7, ..good() };
    let arrived = leave_to(&frame);
    report.equal("rax rcx r11", (arrived.rax, arrived.rcx, arrived.r11), (frame.rax, frame.rcx, frame.r11));
    report.equal("arithmetic flags", arrived.flags & 0x8d5, 0x8d5);
    report.equal("distance to the stack pointer asked for", arrived.rsp, 0);
    report.equal("rbx", arrived.rbx, 0x6262);
    report.check(!ops::irq::are_enabled(), "events stay masked");
}

fn event_flag(report: &mut Report) {
    ops::irq::disable();
    let arrived = leave_to(&IretFrame { rflags: 2 | RFLAGS_IF, ..good() });
    report.check(ops::irq::are_enabled(), "IF in the frame enables events");
    report.check(arrived.flags & RFLAGS_IF != 0, "the true IF is set");
    let arrived = leave_to(&good());
    report.check(!ops::irq::are_enabled(), "no IF in the frame masks them");
    report.check(arrived.flags & RFLAGS_IF != 0, "the true IF is set all the same");
}

/// IOPL, NT, VM, VIF and VIP are ignored.
fn ignored_flags(report: &mut Report) {
    const IGNORED: u64 = 3 << 12 | 1 << 14 | 1 << 17 | 1 << 19 | 1 << 20;
    ops::irq::disable();
    let attempt = faults::catch(|| leave_to(&IretFrame { rflags: 2 | IGNORED, ..good() }));
    if let Some(arrived) = report.works("flags that are ignored", attempt) {
        report.equal("flags after the return", arrived.flags & IGNORED, 0);
    }
}

fn refused(report: &mut Report, what: &str, frame: &IretFrame) {
    ops::irq::disable();
    let attempt = faults::catch(|| leave_to(frame));
    if let Some(fault) = report.faults(what, attempt, faults::GENERAL_PROTECTION, 0) {
        let page = world::hypervisor().hypercall_page_virt;
        report.check((page..page + 4096).contains(&fault.rip), "the fault is at the call");
    }
}

fn bad_rip(report: &mut Report) {
    for rip in NOT_CANONICAL {
        refused(report, "a rip that is not canonical", &IretFrame { rip, ..good() });
    }
}

/// A reserved range looks like addresses that are not mapped: the fetch faults there.
fn reserved_rip(report: &mut Report) {
    let info = world::hypervisor();
    for range in info.reserved_ranges.iter().take(info.reserved_range_count as usize) {
        for rip in [range.start, range.last] {
            let attempt = faults::catch(|| leave_to(&IretFrame { rip, ..good() }));
            let fault = report.faults("a reserved rip", attempt, faults::PAGE_FAULT, faults::FETCH);
            report.equal("where", fault.map(|f| (f.rip, f.address)), Some((rip, rip)));
        }
    }
}

fn bad_cs(report: &mut Report) {
    for privilege in [1, 2] {
        let cs = good().cs | privilege;
        refused(report, "a privilege that does not exist", &IretFrame { cs, ..good() });
    }
}
