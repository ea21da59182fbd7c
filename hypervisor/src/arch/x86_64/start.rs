//! The seam between boot and the resident hypervisor: boot's pages go, the guests come.
//!
//! Resident, because code cannot unmap itself.

use super::frame::{Frame, LEAVING_VECTOR};
use super::layout::{BOOT_PHYSICAL, CPU_PAGES, IMAGE, cpu_pages};
use super::percpu::{FRAME, cpu as this_cpu};
use super::{apic, cpu, entry};
use crate::domain::registry;
use crate::mmu::bits::FRAME as FRAME_BITS;
use crate::mmu::{HYPERVISOR_FIRST_SLOT, HYPERVISOR_SLOTS, index};
use core::arch::asm;
use core::sync::atomic::{AtomicBool, Ordering};
use pvops_firmware::MAX_CPUS;

unsafe extern "C" {
    /// Bounds of what is needed once; whole pages, from the linker script.
    static __boot_start: u8;
    static __boot_end: u8;
}

const _: () = assert!(MAX_CPUS == super::machine::MAX_CPUS);

/// Set when every domain is in its place: the CPUs may begin.
static BOOT_DONE: AtomicBool = AtomicBool::new(false);

/// Last step of boot on the boot CPU, on its own stack: forgets boot, wakes the other CPUs, serves.
#[inline(never)]
pub extern "C" fn finish(cpus: u32) -> ! {
    forget_boot();
    BOOT_DONE.store(true, Ordering::Release);
    for number in 1..cpus {
        apic::kick(number);
    }
    registry::begin();
    serve_on_fresh_stack()
}

/// Unmaps boot's part of the image, then the boot loader's slots with the map of physical memory.
fn forget_boot() {
    let root = cpu::root() & FRAME_BITS;
    let entry = |table: u64, at: usize| (BOOT_PHYSICAL + table + at as u64 * 8) as *mut u64;
    let start = address_of!(__boot_start);
    let end = address_of!(__boot_end);
    // SAFETY: the boot loader's map shows the tables, which only this CPU changes; the others walk the image's
    // tables, but run no boot code any more. The slot of the map itself goes last; what the CPU has cached
    // of it lasts until the reload.
    unsafe {
        for virt in (start..end).step_by(4096) {
            let mut table = root;
            for level in (2..=4).rev() {
                table = entry(table, index(virt, level)).read_volatile() & FRAME_BITS;
            }
            entry(table, index(virt, 1)).write_volatile(0);
        }
        for slot in (index(BOOT_PHYSICAL, 4)..HYPERVISOR_FIRST_SLOT + HYPERVISOR_SLOTS).rev() {
            entry(root, slot).write_volatile(0);
        }
        cpu::load_root(root);
    }
    const { assert!(index(IMAGE, 4) == HYPERVISOR_FIRST_SLOT) };
}

/// Sleeps until boot is over, then serves the vCPUs placed on this CPU. Never inlined: its callers are boot code,
/// which is gone soon.
#[inline(never)]
pub fn wait_for_boot() -> ! {
    while !BOOT_DONE.load(Ordering::Acquire) {
        cpu::wait_for_interrupt();
    }
    // Reloaded, because boot changed the image's tables since this CPU loaded them.
    // SAFETY: this CPU's own root.
    unsafe { cpu::load_root(this_cpu().idle_root.get()) };
    registry::begin();
    serve_on_fresh_stack()
}

/// Runs whoever is next, from the top of this CPU's stack. Whatever the stack held is given up.
#[inline(never)]
pub fn serve_on_fresh_stack() -> ! {
    // SAFETY: this CPU's stack, of which nothing is used any more: the function called never returns.
    unsafe {
        asm!(
            "mov rsp, {stack}",
            "xor ebp, ebp",
            "call {serve}",
            "ud2",
            stack = in(reg) CPU_PAGES + cpu_pages::FIRST_STACK_TOP,
            serve = sym serve,
            options(noreturn),
        )
    }
}

/// See [`serve_on_fresh_stack`].
extern "C" fn serve() -> ! {
    this_cpu().reschedule.set(true);
    // SAFETY: `FRAME` is the top of this CPU's stack, above what this function uses (`FIRST_STACK_TOP`), and a `Frame`
    // takes any bytes: nothing else is looked at before somebody's turn fills it.
    unsafe {
        (*(FRAME as *mut Frame)).vector = LEAVING_VECTOR;
        entry::pvops_serve()
    }
}
