//! The seam between boot and the resident hypervisor: boot's pages go, the guests come.
//!
//! Resident, because code cannot do without its own pages.

use super::frame::{Frame, LEAVING_VECTOR};
use super::layout::{CPU_PAGES, cpu_pages};
use super::percpu::{FRAME, cpu as this_cpu};
use super::{cpu, entry};
use core::arch::asm;
use pvops_firmware::MAX_CPUS;

const _: () = assert!(MAX_CPUS == super::machine::MAX_CPUS);

/// Boot is over on this CPU: leaves its tables, and serves the vCPUs placed here. Never inlined: its callers are boot code,
/// which is gone then.
#[inline(never)]
pub extern "C" fn begin() -> ! {
    // SAFETY: this CPU's own root, which maps what is kept of the image and this CPU's pages, the stack included.
    unsafe { cpu::load_root(this_cpu().root.get()) };
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
