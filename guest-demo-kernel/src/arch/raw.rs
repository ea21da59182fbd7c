//! Raw memory: frames by physical address, user memory, and accesses that may fault.
//!
//! No Rust reference to a frame or to user memory is ever made: bytes are copied in and out.

use super::phys_to_virt;
use core::arch::global_asm;
use pvops_abi::addr::{PAGE_SIZE, PhysAddr, VirtAddr};
use pvops_abi::layout::TrapFrame;
use pvops_abi::ops;

/// The bytes of `bytes / 2` counts at `phys`, for the frame table.
///
/// The caller takes this memory out of use for everything else, before anything is allocated, once.
pub(crate) fn claim_counts(phys: PhysAddr, count: usize) -> &'static mut [u16] {
    // SAFETY: usable memory by the memory map, mapped by the boot tables and later by ours at the same address;
    // nobody else uses it (see above). Any bytes are valid counts.
    unsafe { core::slice::from_raw_parts_mut(phys_to_virt(phys).0 as *mut u16, count) }
}

/// Copies `from` into a frame that the caller owns.
pub(crate) fn write_frame(frame: PhysAddr, offset: usize, from: &[u8]) {
    assert!(offset + from.len() <= PAGE_SIZE as usize, "a frame is one page");
    let to = phys_to_virt(frame).0 as *mut u8;
    // SAFETY: frames that the frame table handed out are memory, mapped writable; the range lies in it.
    unsafe { core::ptr::copy_nonoverlapping(from.as_ptr(), to.add(offset), from.len()) }
}

/// The word at `index` of a frame that nobody writes now.
pub(crate) fn word_of_frame(frame: PhysAddr, index: usize) -> u64 {
    assert!(index < PAGE_SIZE as usize / 8, "a frame is one page");
    // SAFETY: callers pass tables of the boot loader, which are memory and mapped. The CPU may set accessed bits
    // meanwhile, hence volatile.
    unsafe { (phys_to_virt(frame).0 as *const u64).add(index).read_volatile() }
}

/// Zeroes a frame that the caller owns.
pub(crate) fn zero_frame(frame: PhysAddr) {
    // SAFETY: as in `write_frame`.
    unsafe { core::ptr::write_bytes(phys_to_virt(frame).0 as *mut u8, 0, PAGE_SIZE as usize) }
}

/// Copies a whole frame into another one, which the caller owns.
pub(crate) fn copy_frame(from: PhysAddr, to: PhysAddr) {
    assert!(from != to, "two frames");
    let (from, to) = (phys_to_virt(from).0 as *const u8, phys_to_virt(to).0 as *mut u8);
    // SAFETY: as in `write_frame`, for two different frames.
    unsafe { core::ptr::copy_nonoverlapping(from, to, PAGE_SIZE as usize) }
}

/// Reads user memory that the caller has made present in the current address space. Exercises
/// `cpu::user_access_begin` and `user_access_end`.
pub(crate) fn copy_from_user(address: u64, to: &mut [u8]) {
    let copy = || {
        // SAFETY: the caller checked that the range is user memory and present; a user thread has one CPU and
        // waits for us, so nothing takes it away. Bytes need no validity.
        unsafe { core::ptr::copy_nonoverlapping(address as *const u8, to.as_mut_ptr(), to.len()) }
    };
    ops::irq::without(|| ops::cpu::with_user_access(copy));
}

/// Writes user memory that the caller has made present and writable.
pub(crate) fn copy_to_user(address: u64, from: &[u8]) {
    let copy = || {
        // SAFETY: as in `copy_from_user`, and writable.
        unsafe { core::ptr::copy_nonoverlapping(from.as_ptr(), address as *mut u8, from.len()) }
    };
    ops::irq::without(|| ops::cpu::with_user_access(copy));
}

/// What a probing access came to.
#[repr(C)]
struct Probed {
    value: u64,
    succeeded: u64,
}

unsafe extern "C" {
    fn kernel_probe_load(address: u64) -> Probed;
    fn kernel_probe_store(address: u64, value: u64) -> Probed;
    fn kernel_probe_failed();
}

// The access is the first instruction of each, so that its address names it.
global_asm!(
    "kernel_probe_load:",
    "mov rax, [rdi]",
    "mov edx, 1",
    "ret",
    "kernel_probe_store:",
    "mov [rdi], rsi",
    "xor eax, eax",
    "mov edx, 1",
    "ret",
    "kernel_probe_failed:",
    "xor eax, eax",
    "xor edx, edx",
    "ret",
);

/// The word at `address`, or nothing when reading it faults.
pub(crate) fn probe_load(address: VirtAddr) -> Option<u64> {
    // SAFETY: reads one word; a fault goes on at the landing, see `recover`.
    let probed = unsafe { kernel_probe_load(address.0) };
    (probed.succeeded == 1).then_some(probed.value)
}

/// Writes the word at `address`; false when that faults. Callers own the page, if there is one.
pub(crate) fn probe_store(address: VirtAddr, value: u64) -> bool {
    // SAFETY: as in `probe_load`; see above for what is written.
    unsafe { kernel_probe_store(address.0, value) }.succeeded == 1
}

/// Lets a probing access that faulted fail; false when `frame` is about something else.
pub(crate) fn recover(frame: &mut TrapFrame) -> bool {
    let probes = [kernel_probe_load as *const () as u64, kernel_probe_store as *const () as u64];
    let ours = !frame.is_user() && matches!(frame.vector, 13 | 14) && probes.contains(&frame.rip);
    if ours {
        frame.rip = kernel_probe_failed as *const () as u64;
    }
    ours
}
