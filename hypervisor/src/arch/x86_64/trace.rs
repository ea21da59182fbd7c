//! Notes what happens in this CPU's ring. Only with the feature `trace`, see [`crate::trace`].
//!
//! The ring belongs to one CPU and is written with interrupts off, so the order of the stores is all that matters: a
//! record counts when it is whole, since whoever reads the memory may have stopped the machine anywhere.

use super::apic::vector;
use super::cpu::{fault_address, timestamp};
use super::frame::{EVENT_VECTOR, Frame};
use super::guest::{current_vcpu, running_domain};
use super::layout::{CPU_OFFSET, CPU_PAGES, cpu_pages};
use super::percpu::FRAME;
use crate::domain::Domain;
use crate::domain::vcpu::Mode;
use crate::sched::VcpuId;
use core::arch::global_asm;
use core::mem::offset_of;
use core::sync::atomic::{AtomicU64, Ordering, compiler_fence};
use trace_records::{CAPACITY, HEADER_BYTES, Header, Kind, NO_DOMAIN, Record};

/// The header's page; below it is the page of the stack on which points in the entry code run.
const HEADER: u64 = CPU_PAGES + cpu_pages::TRACE + 4096;
/// Where those points keep the stack pointer.
const KEPT_STACK_POINTER: u64 = HEADER + HEADER_BYTES as u64 - 8;
// `trace_point!` has these as numbers.
const _: () = assert!(HEADER - CPU_PAGES + CPU_OFFSET == 0x4010_1000);
const _: () = assert!(KEPT_STACK_POINTER - CPU_PAGES + CPU_OFFSET == 0x4010_1ff8);

const _: () =
    assert!(vector::TIMER == trace_records::vector::TIMER && vector::KICK == trace_records::vector::KICK);
const _: () = assert!(vector::LINES == trace_records::vector::LINES);

/// The registers that a point in the entry code saved, and its number.
#[repr(C)]
struct Saved {
    rflags: u64,
    r11: u64,
    r10: u64,
    r9: u64,
    r8: u64,
    rdi: u64,
    rsi: u64,
    rdx: u64,
    rcx: u64,
    rax: u64,
    return_address: u64,
    point: u64,
}

global_asm!(
    ".pushsection .text.pvops_entry, \"ax\"",
    ".balign 16",
    // Called on the stack of its own, aligned to 16 with what is pushed.
    ".globl pvops_trace_point",
    "pvops_trace_point:",
    "push rax; push rcx; push rdx; push rsi; push rdi; push r8; push r9; push r10; push r11",
    "pushfq",
    "mov rdi, rsp",
    "call {note_point}",
    "popfq",
    "pop r11; pop r10; pop r9; pop r8; pop rdi; pop rsi; pop rdx; pop rcx; pop rax",
    "ret",
    ".popsection",
    note_point = sym note_point,
);

/// A point in the entry code.
extern "C" fn note_point(saved: &Saved) {
    let mode = current_vcpu().mode.get();
    match (saved.point, mode) {
        (0, Mode::Kernel) => note(Kind::Call, saved.rax, saved.rdi),
        (0, Mode::User) => note(Kind::SystemCall, saved.rax, saved.rcx),
        (1, _) => note(Kind::Leave, mode as u64, saved.rax),
        (2, _) => note_exception(),
        _ => note_delivery(saved.rdx),
    }
}

/// An exception of the guest, or an interrupt, which has a point of its own.
fn note_exception() {
    /// Vectors with an error code (Intel SDM volume 3, 6.15).
    const WITH_ERROR: u64 = 1 << 8 | 0b11111 << 10 | 1 << 17 | 1 << 21;
    let Frame { vector, error, .. } = entered();
    if vector < 32 {
        let error = if WITH_ERROR >> vector & 1 != 0 { error } else { 0 };
        note(Kind::Exception, vector | error << 32, address());
    }
}

/// What the short way of delivery has given to the guest's kernel.
fn note_delivery(error: u64) {
    match entered().vector {
        EVENT_VECTOR => note(Kind::Upcall, 0, 0),
        vector => note(Kind::Trap, vector | error << 32, address()),
    }
}

/// Of the access if it was a page fault, else of the instruction.
fn address() -> u64 {
    const PAGE_FAULT: u64 = 14;
    let Frame { vector, rip, .. } = entered();
    if vector == PAGE_FAULT { fault_address() } else { rip }
}

/// What the entry code has stored of the guest's state by now: at least vector, error code and address.
fn entered() -> Frame {
    // SAFETY: the top of this CPU's stack; a `Frame` takes any bytes, and nobody holds a reference to it while the entry code
    // runs.
    unsafe { (FRAME as *const Frame).read_volatile() }
}

/// A vCPU, as a record has it.
#[must_use]
pub fn word_of(id: VcpuId) -> u64 {
    u64::from(id.domain) | u64::from(id.vcpu) << 16
}

/// What a port is bound to, as a record has it; 0 when that cannot be told now.
#[must_use]
pub fn binding(domain: &Domain, port: u32) -> u64 {
    let bindings = domain.bindings.try_lock();
    let binding = bindings.and_then(|bindings| bindings.get(port.into()).ok());
    binding.map_or(0, |binding| (binding.kind as u64 + 1) << 32 | u64::from(binding.argument))
}

/// Writes a record. Not before this CPU's own tables are loaded.
#[inline(never)]
pub fn note(kind: Kind, first: u64, second: u64) {
    let (domain, vcpu) =
        running_domain().map_or((NO_DOMAIN, 0), |domain| (domain.number, current_vcpu().number));
    let record = Record {
        timestamp: timestamp(),
        kind: kind as u16,
        domain,
        vcpu: vcpu as u16,
        reserved: 0,
        first,
        second,
    };
    // SAFETY: boot mapped header and records there, of this CPU and nobody else; the place is within the capacity. No
    // reference to a record is ever made.
    unsafe {
        let written = &*((HEADER + offset_of!(Header, written) as u64) as *const AtomicU64);
        let number = written.load(Ordering::Relaxed);
        let place = (HEADER + HEADER_BYTES as u64) as *mut Record;
        place.add(number as usize % CAPACITY).write_volatile(record);
        compiler_fence(Ordering::Release);
        written.store(number + 1, Ordering::Relaxed);
    }
}
