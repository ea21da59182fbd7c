//! Raw calls, and arguments that every call must refuse.

use super::{Report, world};
use core::arch::asm;
use core::sync::atomic::{AtomicU64, Ordering};
use pvops_abi::call::CallId;
use pvops_abi::error::Error;
use pvops_abi::hyper::{self, Reply};
use pvops_abi::ops;

/// Makes the call `id`; missing arguments are zero.
pub(crate) fn call(id: CallId, arguments: &[u64]) -> Reply {
    let mut all = [0; 6];
    all[..arguments.len()].copy_from_slice(arguments);
    note_call(id);
    hyper::call(id, all)
}

/// The call made last, for the list of errors that were provoked.
static LAST_CALL: AtomicU64 = AtomicU64::new(0);

/// Remembers a call.
pub(crate) fn note_call(id: CallId) {
    LAST_CALL.store(id.0, Ordering::Relaxed);
}

/// The call made last.
pub(crate) fn last_call() -> CallId {
    CallId(LAST_CALL.load(Ordering::Relaxed))
}

/// Makes a call through the stub at `stub`, wherever that is mapped.
pub(crate) fn call_at(stub: u64, id: CallId, arguments: [u64; 6]) -> Reply {
    let Outcome { status, value, .. } = call_and_look(stub, id, arguments);
    Reply { status, value }
}

/// All that a call may change.
#[derive(Clone, Copy)]
pub(crate) struct Outcome {
    pub(crate) status: i64,
    pub(crate) value: u64,
    pub(crate) rcx: u64,
    pub(crate) r11: u64,
}

/// As [`call_at`], and what it leaves in the registers that are not specified.
pub(crate) fn call_and_look(stub: u64, id: CallId, arguments: [u64; 6]) -> Outcome {
    let (status, value, rcx, r11): (i64, u64, u64, u64);
    // SAFETY: callers pass a stub of the hypercall page, which preserves all registers but rax, rdx, rcx and r11.
    unsafe {
        asm!(
            "call {stub}",
            stub = in(reg) stub,
            inlateout("rax") id.0 => status,
            in("rdi") arguments[0],
            in("rsi") arguments[1],
            inlateout("rdx") arguments[2] => value,
            in("r10") arguments[3],
            in("r8") arguments[4],
            in("r9") arguments[5],
            lateout("rcx") rcx,
            lateout("r11") r11,
        );
    }
    Outcome { status, value, rcx, r11 }
}

/// An address that a call must refuse.
pub(crate) struct BadAddress {
    pub(crate) what: &'static str,
    pub(crate) address: u64,
}

/// Addresses at which no `bytes` with this alignment lie in memory: outside, straddling its end, wrapping around,
/// misaligned.
pub(crate) fn bad_addresses(bytes: u64, alignment: u64) -> impl Iterator<Item = BadAddress> {
    let end = world::memory_end();
    let last = 0u64.wrapping_sub(alignment);
    let straddling = (end - bytes / 2) & !(alignment - 1);
    let all = [
        (true, "behind memory", end),
        (straddling < end && straddling + bytes > end, "straddling the end of memory", straddling),
        (true, "far behind memory", 1 << 52),
        (true, "a kernel address", 0xffff_ffff_8000_0000),
        (true, "the last address", last),
        (alignment < bytes, "wrapping around", 0u64.wrapping_sub(bytes / 2) & !(alignment - 1)),
        (alignment > 1, "misaligned by half", 0x10_0000 + alignment / 2),
        (alignment > 1, "misaligned by one", 0x10_0001),
    ];
    all.into_iter().filter(|(applies, ..)| *applies).map(|(_, what, address)| BadAddress { what, address })
}

/// Checks that `make` refuses every bad address of a structure.
pub(crate) fn refuses_bad_addresses(
    report: &mut Report,
    call: &str,
    (bytes, alignment): (u64, u64),
    make: impl Fn(u64) -> Reply,
) {
    for BadAddress { what, address } in bad_addresses(bytes, alignment) {
        report.refused(format_args!("{call}, {what} ({address:#x})"), make(address), Error::BadAddress);
    }
}

/// Addresses that are not canonical, multiples of 16.
pub(crate) const NOT_CANONICAL: [u64; 3] = [0x8000_0000_0000, 0x7fff_8000_0000_0000, 0xffff_7fff_ffff_fff0];

/// Virtual addresses that are not the guest's to use: not canonical, or reserved.
pub(crate) fn bad_virtual_addresses() -> impl Iterator<Item = u64> {
    let info = world::hypervisor();
    let ranges = info.reserved_ranges.into_iter().take(info.reserved_range_count as usize);
    NOT_CANONICAL.into_iter().chain(ranges.flat_map(|range| [range.start, range.last & !15]))
}

/// Registers this CPU's area, trap table, entries and stack again, after a test that tried others.
///
/// `start_cpu` is meant to be called once; under the ABI it is nothing but these registrations.
pub(crate) fn register_again() {
    ops::irq::disable();
    ops::cpu::start_cpu(0, &world::BLOCK, crate::guest::HANDLERS);
}
