//! The seam between boot and the resident hypervisor: boot's pages go, the first guest comes.
//!
//! Resident, because code cannot unmap itself.

use super::frame::Frame;
use super::guest::domain;
use super::layout::{BOOT_PHYSICAL, IMAGE};
use super::percpu::{FRAME, cpu as this_cpu};
use super::segments::selector;
use super::{apic, cpu, entry};
use crate::front;
use crate::mmu::bits::FRAME as FRAME_BITS;
use crate::mmu::{HYPERVISOR_FIRST_SLOT, HYPERVISOR_SLOTS, index};
use crate::sched::Policy;
use core::ptr;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use pvops_firmware::MAX_CPUS;

unsafe extern "C" {
    /// Bounds of the code that runs once; whole pages, from the linker script.
    static __boot_text_start: u8;
    static __boot_text_end: u8;
}

const _: () = assert!(MAX_CPUS == super::machine::MAX_CPUS);

/// Where the installed domain's first vCPU starts: `rip`, `rsp`, `StartInfo`, guest root.
static START: [AtomicU64; 4] = [const { AtomicU64::new(0) }; 4];
/// The CPU that is to run the domain; none yet.
static CHOSEN: AtomicU32 = AtomicU32::new(NOBODY);
const NOBODY: u32 = u32::MAX;

/// Sets where the installed domain starts.
pub fn set_start(values: [u64; 4]) {
    for (slot, value) in START.iter().zip(values) {
        slot.store(value, Ordering::Release);
    }
}

/// Last step of boot on the boot CPU, on its own stack: forgets boot, then runs or waits. `number`: the CPU
/// that runs the domain.
#[inline(never)]
pub extern "C" fn finish(number: u32) -> ! {
    forget_boot();
    CHOSEN.store(number, Ordering::Release);
    if number != 0 {
        apic::send(super::machine::apic_id(number), apic::vector::KICK.into());
    }
    idle()
}

/// Unmaps boot's code, then the boot loader's slots with the map of physical memory.
fn forget_boot() {
    let root = cpu::root() & FRAME_BITS;
    let entry = |table: u64, at: usize| (BOOT_PHYSICAL + table + at as u64 * 8) as *mut u64;
    let start = &raw const __boot_text_start as u64;
    let end = &raw const __boot_text_end as u64;
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

/// Sleeps until this CPU is chosen to run the domain. Never inlined: its callers are boot code, which is gone soon.
#[inline(never)]
pub fn idle() -> ! {
    let this = this_cpu();
    loop {
        if CHOSEN.load(Ordering::Acquire) == this.number.get() {
            // Reloaded, because boot changed the tables since this CPU loaded them.
            // SAFETY: this CPU's own root.
            unsafe { cpu::load_root(this.idle_root.get()) };
            run_installed();
        }
        cpu::wait_for_interrupt();
    }
}

/// Starts the installed domain's first vCPU on this CPU, whose tables carry its window.
fn run_installed() -> ! {
    let [rip, rsp, start_info, root] = [0, 1, 2, 3].map(|at: usize| START[at].load(Ordering::Acquire));
    this_cpu().vcpu.set(0);
    let domain = domain();
    let vcpu = domain.current_vcpu();
    // The pool of a new domain holds more than one root.
    if let Ok(loaded) = domain.mmu.lock().load_root(root, vcpu.number, true) {
        vcpu.root.set(loaded);
    }
    this_cpu().ready.borrow_mut().make_ready(domain.vcpu_id(vcpu), vcpu.priority);
    cpu::initialize_extended_state();
    cpu::set_guest_gs(0);
    cpu::set_guest_fs(0);
    apic::arm_timer(u64::MAX);
    // SAFETY: `FRAME` is the top of this CPU's stack, above what this function uses (`FIRST_STACK_TOP`); it does not
    // return, and `pvops_leave` takes everything from the frame.
    unsafe {
        let frame = FRAME as *mut Frame;
        ptr::write(
            frame,
            Frame {
                rip,
                rsp,
                rdi: start_info,
                rflags: 0x202,
                cs: selector::USER_CODE.into(),
                ss: selector::USER_DATA.into(),
                ..Frame::default()
            },
        );
        front::leave(&mut *frame);
        entry::pvops_leave()
    }
}
