//! From one vCPU to another on the same CPU: registers, segments, extended state, address space.
//!
//! Everything that a guest can read is replaced, whether it used it or not: no state is switched lazily.

use super::cpu::{self, cpuid, write_msr, xcr0};
use super::frame::Frame;
use super::guest::{current_vcpu, domain, running_domain};
use super::percpu::cpu as this_cpu;
use super::{paging, ports, start, time};
use crate::domain::registry;
use crate::sched::Seat;
use core::arch::asm;
use core::cell::{Cell, UnsafeCell};
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// x87, SSE and AVX: what guests may use (`SET_XCR0`), hence what is switched.
const STATE: u64 = 0b111;
/// Words of that state in the standard format (Intel SDM volume 1, 13.4).
const STATE_WORDS: usize = 832 / 8;

/// Extended registers of a vCPU that is not running.
#[repr(C, align(64))]
pub struct ExtendedState(UnsafeCell<[u64; STATE_WORDS]>);

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
        let mut extended = [0; STATE_WORDS];
        make_initial(&mut extended);
        Self {
            frame: Cell::new(frame),
            fs_base: Cell::new(0),
            gs_base: Cell::new(0),
            selectors: Cell::new([0; 4]),
            xcr0: Cell::new(supported()),
            extended: ExtendedState(UnsafeCell::new(extended)),
        }
    }
}

/// Makes an area initial: its header says that of every component, whatever stands there. MXCSR is taken from it all the
/// same.
fn make_initial(area: &mut [u64; STATE_WORDS]) {
    const MXCSR: usize = 24 / 8;
    const COMPONENTS: usize = 512 / 8;
    area[MXCSR] = 0x1f80;
    area[COMPONENTS] = 0;
}

/// The components of [`STATE`] that the CPUs have, and whether they can be kept from predicting for one domain what
/// they learnt from another (IBPB). Found once: in a virtual machine CPUID costs thousands of cycles.
static SUPPORTED: AtomicU64 = AtomicU64::new(0);
/// See [`SUPPORTED`].
static HAS_BARRIER: AtomicBool = AtomicBool::new(false);

/// Finds out what the CPUs have. Boot CPU, before the first [`Saved`] is made.
pub fn probe() {
    let [components, ..] = cpuid(0xd, 0);
    SUPPORTED.store(u64::from(components) & STATE, Ordering::Relaxed);
    let [.., features] = cpuid(7, 0);
    HAS_BARRIER.store(features & 1 << 26 != 0, Ordering::Relaxed);
}

fn supported() -> u64 {
    SUPPORTED.load(Ordering::Relaxed)
}

/// Makes `next` current; `frame` holds the outgoing guest's registers and receives the new one's.
#[inline]
pub fn to(next: Seat, frame: &mut Frame) {
    let (this, now) = (this_cpu(), time::now());
    let loaded = selectors();
    let enabled = enable_all_state();
    if running_domain().is_some() {
        let vcpu = current_vcpu();
        vcpu.entry.begin_to_wait(now);
        save(&vcpu.saved, frame, loaded, enabled);
    }
    // Also behind one that stopped or begins anew, of which nothing is saved.
    separate_predictors();
    let entry = registry::at(next);
    // The root carries the window of the new one's domain: from here on `domain()` is that.
    paging::load_view(entry.root());
    this.seat.set(next);
    this.vcpu_address.set(core::ptr::from_ref(domain().vcpu(entry.number() as u32)) as u64);
    ports::load(domain());
    let vcpu = current_vcpu();
    vcpu.end_wait(now);
    restore(&vcpu.saved, frame, loaded);
    trace!(Switch);
}

/// The current vCPU begins anew at `first`, everything else in its initial state, when it is switched to next: until
/// then this CPU runs nobody. What its registers hold is given up.
pub fn begin_anew(saved: &Saved, first: Frame) {
    saved.frame.set(first);
    saved.fs_base.set(0);
    saved.gs_base.set(0);
    saved.selectors.set([0; 4]);
    saved.xcr0.set(supported());
    // SAFETY: only this CPU uses the area, and only between `save` and `restore` of this vCPU, which is current.
    unsafe { make_initial(&mut *saved.extended.0.get()) };
    run_nobody();
}

fn run_nobody() {
    this_cpu().seat.set(Seat::NONE);
    ports::close();
}

/// FS and GS base of the current vCPU.
#[must_use]
pub fn guest_bases() -> (u64, u64) {
    (cpu::guest_fs(), cpu::guest_gs())
}

#[inline]
fn save(saved: &Saved, frame: &Frame, loaded: [u16; 4], enabled: u64) {
    copy(frame, saved.frame.as_ptr());
    saved.fs_base.set(cpu::guest_fs());
    saved.gs_base.set(cpu::guest_gs());
    saved.selectors.set(loaded);
    saved.xcr0.set(enabled);
    // SAFETY: stores only, into this vCPU's own area, which has the size and alignment for these components.
    unsafe {
        asm!("xsave64 [{0}]", in(reg) saved.extended.0.get(), in("eax") STATE as u32, in("edx") 0,
            options(nostack));
    }
}

/// All extended state is enabled; `loaded` are the selectors.
#[inline]
fn restore(saved: &Saved, frame: &mut Frame, loaded: [u16; 4]) {
    copy(saved.frame.as_ptr(), frame);
    if saved.selectors.get() != loaded {
        load_selectors(saved.selectors.get());
    }
    let state = if mutant!(VectorStateLeaked) { 0 } else { STATE as u32 };
    // SAFETY: the area was written by `xsave64` or is initial.
    unsafe {
        asm!("xrstor64 [{0}]", in(reg) saved.extended.0.get(), in("eax") state, in("edx") 0, options(nostack));
    }
    let components = saved.xcr0.get();
    if components != supported() {
        cpu::set_checked_xcr0(components);
    }
    // SAFETY: the bases were in these registers before, so they are canonical; the hypervisor uses neither.
    unsafe {
        asm!("wrfsbase {0}", "wrgsbase {1}", in(reg) saved.fs_base.get(), in(reg) saved.gs_base.get(),
            options(nomem, nostack, preserves_flags));
    }
}

/// Copies a frame, word by word: what a library's function does for any length takes longer.
#[inline]
fn copy(from: *const Frame, to: *mut Frame) {
    // SAFETY: callers pass a whole frame each, which do not overlap: one is this CPU's, the other a vCPU's. DF is clear.
    unsafe {
        asm!("rep movsq", inout("rcx") size_of::<Frame>() / 8 => _, inout("rsi") from => _, inout("rdi") to => _,
            options(nostack, preserves_flags));
    }
}

/// `ds es fs gs`, as they are loaded.
#[inline]
fn selectors() -> [u16; 4] {
    let mut selectors = [0; 4];
    // SAFETY: stores of two bytes each, within the array.
    unsafe {
        asm!("mov [{0}], ds", "mov [{0} + 2], es", "mov [{0} + 4], fs", "mov [{0} + 6], gs",
            in(reg) &raw mut selectors, options(nostack, preserves_flags));
    }
    selectors
}

/// Loads `ds es fs gs`. Needless where they are loaded: the descriptors are the same for every guest, and the bases, which
/// a load would change, are set apart.
#[cold]
fn load_selectors([ds, es, fs, gs]: [u16; 4]) {
    // SAFETY: the selectors were in these registers before, with the same descriptors.
    unsafe {
        asm!("mov ds, {0:x}", "mov es, {1:x}", "mov fs, {2:x}", "mov gs, {3:x}",
            in(reg) ds, in(reg) es, in(reg) fs, in(reg) gs, options(nostack, preserves_flags));
    }
}

/// Enables all extended state that the CPU has, not what the guest enabled last: it may enable the rest again and read
/// it. Returns what was enabled. XCR0 is written only where it differs, because that leaves a virtual machine.
#[inline]
fn enable_all_state() -> u64 {
    let (enabled, supported) = (xcr0(), supported());
    if enabled != supported {
        cpu::set_checked_xcr0(supported);
    }
    enabled
}

/// Indirect branches of one domain do not steer those of the next, where the CPU offers a barrier (IBPB).
fn separate_predictors() {
    const PREDICTION_COMMAND: u32 = 0x49;
    if HAS_BARRIER.load(Ordering::Relaxed) {
        // SAFETY: CPUID offers the command; it has no other effect.
        unsafe { write_msr(PREDICTION_COMMAND, 1) };
    }
}

/// The current vCPU has stopped: goes on with whoever is next, on a fresh stack. No lock may be held.
pub fn abandon() -> ! {
    run_nobody();
    start::serve_on_fresh_stack()
}
