//! From one vCPU to another on the same CPU: registers, segments, extended state, address space.
//!
//! Everything that a guest can read is replaced, whether it used it or not: no state is switched lazily.

use super::cpu::{self, cpuid, write_msr, xcr0};
use super::frame::Frame;
use super::guest::{domain, running_domain};
use super::percpu::{NO_VCPU, cpu as this_cpu};
use super::{paging, ports, start};
use crate::domain::registry;
use crate::sched::VcpuId;
use core::arch::asm;
use core::cell::{Cell, UnsafeCell};

/// x87, SSE and AVX: what guests may use (`SET_XCR0`), hence what is switched.
const STATE: u64 = 0b111;
/// Bytes of that state in the standard format (Intel SDM volume 1, 13.4).
const STATE_BYTES: usize = 832;

/// Extended registers of a vCPU that is not running.
#[repr(C, align(64))]
pub struct ExtendedState(UnsafeCell<[u8; STATE_BYTES]>);

impl core::fmt::Debug for ExtendedState {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("ExtendedState")
    }
}

/// Registers of a vCPU while another runs on its CPU.
#[derive(Debug)]
pub struct Saved {
    frame: Cell<Frame>,
    fs_base: Cell<u64>,
    gs_base: Cell<u64>,
    /// `ds es fs gs`.
    selectors: Cell<[u16; 4]>,
    xcr0: Cell<u64>,
    extended: ExtendedState,
}

impl Saved {
    /// A vCPU that starts at `frame`, everything else in its initial state.
    #[must_use]
    pub fn new(frame: Frame) -> Self {
        Self {
            frame: Cell::new(frame),
            fs_base: Cell::new(0),
            gs_base: Cell::new(0),
            selectors: Cell::new([0; 4]),
            xcr0: Cell::new(supported()),
            extended: ExtendedState(UnsafeCell::new(initial_state())),
        }
    }
}

/// A header of zeros means "initial" for every component; MXCSR is taken from the area all the same.
fn initial_state() -> [u8; STATE_BYTES] {
    const MXCSR_OFFSET: usize = 24;
    let mut area = [0; STATE_BYTES];
    area[MXCSR_OFFSET..MXCSR_OFFSET + 4].copy_from_slice(&0x1f80u32.to_le_bytes());
    area
}

/// The components of [`STATE`] that this CPU has.
fn supported() -> u64 {
    let [low, ..] = cpuid(0xd, 0);
    u64::from(low) & STATE
}

/// Makes `next` current; `frame` holds the outgoing guest's registers and receives the new one's.
pub fn to(next: VcpuId, frame: &mut Frame) {
    if let Some(domain) = running_domain() {
        save(&domain.current_vcpu().saved, frame);
        separate_predictors();
    }
    // The root carries the window of the new one's domain: from here on `domain()` is that.
    paging::load_view(registry::entry(next).root());
    this_cpu().vcpu.set(next.vcpu.into());
    this_cpu().vcpu_address.set(core::ptr::from_ref(domain().current_vcpu()) as u64);
    ports::load(domain());
    restore(&domain().current_vcpu().saved, frame);
}

/// The current vCPU begins anew at `first`, everything else in its initial state.
pub fn begin_anew(saved: &Saved, first: Frame, frame: &mut Frame) {
    saved.frame.set(first);
    saved.fs_base.set(0);
    saved.gs_base.set(0);
    saved.selectors.set([0; 4]);
    saved.xcr0.set(supported());
    // SAFETY: only this CPU uses the area, and only between `save` and `restore` of this vCPU, which is current.
    unsafe { saved.extended.0.get().write(initial_state()) };
    restore(saved, frame);
}

/// FS and GS base of the current vCPU.
#[must_use]
pub fn guest_bases() -> (u64, u64) {
    (cpu::guest_fs(), cpu::guest_gs())
}

fn save(saved: &Saved, frame: &Frame) {
    saved.frame.set(*frame);
    saved.gs_base.set(cpu::guest_gs());
    saved.xcr0.set(xcr0());
    // All that the CPU has, not what the guest enabled last: it may enable the rest again and read it.
    cpu::set_checked_xcr0(supported());
    let [ds, es, fs, gs]: [u16; 4];
    // SAFETY: stores only, into this vCPU's own area, which has the size and alignment for these components.
    unsafe {
        let (a, b, c, d): (u16, u16, u16, u16);
        asm!("mov {0:x}, ds", "mov {1:x}, es", "mov {2:x}, fs", "mov {3:x}, gs",
            out(reg) a, out(reg) b, out(reg) c, out(reg) d, options(nomem, nostack, preserves_flags));
        asm!("xsave64 [{0}]", in(reg) saved.extended.0.get(), in("eax") STATE as u32, in("edx") 0,
            options(nostack));
        [ds, es, fs, gs] = [a, b, c, d];
    }
    saved.fs_base.set(cpu::guest_fs());
    saved.selectors.set([ds, es, fs, gs]);
}

fn restore(saved: &Saved, frame: &mut Frame) {
    *frame = saved.frame.get();
    let [ds, es, fs, gs] = saved.selectors.get();
    cpu::set_checked_xcr0(supported());
    // SAFETY: the selectors were in these registers before, with the same descriptors; the area was written by
    // `xsave64` or is initial.
    unsafe {
        asm!("mov ds, {0:x}", "mov es, {1:x}", "mov fs, {2:x}", "mov gs, {3:x}",
            in(reg) ds, in(reg) es, in(reg) fs, in(reg) gs, options(nostack, preserves_flags));
        let state = if mutant!(VectorStateLeaked) { 0 } else { STATE as u32 };
        asm!("xrstor64 [{0}]", in(reg) saved.extended.0.get(), in("eax") state, in("edx") 0, options(nostack));
    }
    cpu::set_checked_xcr0(saved.xcr0.get());
    cpu::set_guest_fs(saved.fs_base.get());
    cpu::set_guest_gs(saved.gs_base.get());
}

/// Indirect branches of one domain do not steer those of the next, where the CPU offers a barrier (IBPB).
fn separate_predictors() {
    const PREDICTION_COMMAND: u32 = 0x49;
    let [.., features] = cpuid(7, 0);
    if features & 1 << 26 != 0 {
        // SAFETY: CPUID offers the command; it has no other effect.
        unsafe { write_msr(PREDICTION_COMMAND, 1) };
    }
}

/// The current vCPU has stopped: goes on with whoever is next, on a fresh stack. No lock may be held.
pub fn abandon() -> ! {
    this_cpu().vcpu.set(NO_VCPU);
    ports::close();
    start::serve_on_fresh_stack()
}
