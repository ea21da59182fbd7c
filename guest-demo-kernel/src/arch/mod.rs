//! The demo kernel's one unsafe module: stacks, vector state, raw memory, and breaking things on purpose.
//!
//! Everything here is unsafe because of what it does to registers and memory, never because of privilege: no
//! instruction in this kernel needs ring 0. `main.rs` denies unsafe code everywhere else.

pub(crate) mod breakage;
pub(crate) mod device;
pub(crate) mod heap;
pub(crate) mod raw;

use alloc::vec;
use alloc::vec::Vec;
use core::arch::{asm, naked_asm};
use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicU64, Ordering};
use pvops_abi::addr::{PhysAddr, VirtAddr};
use pvops_abi::layout::TrapFrame;
use pvops_abi::ops::mmu::{Retain, mmu};
use pvops_abi::ops::{self, cpu::FpuInfo};

/// Goes on with another stack: keeps what a function call must preserve on this one, notes where in `save`, and
/// returns from the call that left `load` behind. Interrupts masked.
///
/// `load` comes from a `save` or from [`prepare_stack`], and is used once.
pub(crate) fn switch_stacks(save: &AtomicU64, load: u64) {
    // SAFETY: `load` is a stack that this function or `prepare_stack` left behind (see above); the scheduler
    // owns both threads and runs each on one CPU only.
    unsafe { switch_stacks_raw(save.as_ptr(), load) }
}

#[unsafe(naked)]
unsafe extern "C" fn switch_stacks_raw(save: *mut u64, load: u64) {
    naked_asm!(
        "push rbp",
        "push rbx",
        "push r12",
        "push r13",
        "push r14",
        "push r15",
        "mov [rdi], rsp",
        "mov rsp, rsi",
        "pop r15",
        "pop r14",
        "pop r13",
        "pop r12",
        "pop rbx",
        "pop rbp",
        "ret",
    )
}

/// Makes the mapped, unused stack that ends at `top` one that [`switch_stacks`] can go to; it begins in `entry`.
pub(crate) fn prepare_stack(top: VirtAddr, entry: extern "C" fn() -> !) -> u64 {
    // Six registers, the return address, and a word so that `entry` finds the alignment of a called function.
    let bottom = top.0 - 8 * 8;
    let words = [0, 0, 0, 0, 0, 0, entry as *const () as u64, 0];
    for (index, word) in words.into_iter().enumerate() {
        // SAFETY: the caller owns the stack, which is mapped and 16-byte aligned at its top.
        unsafe { (bottom as *mut u64).add(index).write(word) };
    }
    bottom
}

/// Leaves the boot stack for good.
pub(crate) fn abandon_stack_for(load: u64) -> ! {
    let nobody_returns_here = AtomicU64::new(0);
    switch_stacks(&nobody_returns_here, load);
    unreachable!("the boot stack was left")
}

/// Enters user mode; the next entry into the kernel uses the stack given to `set_kernel_stack`. Exercises
/// `cpu::resume`.
pub(crate) fn enter_user(frame: &TrapFrame) -> ! {
    assert!(frame.is_user() && frame.interrupts_enabled(), "only user mode is entered this way");
    ops::irq::disable();
    let frame = *frame;
    // SAFETY: `frame` lies on this stack and nothing above it is used again, because this never returns; it
    // describes user mode, in which nothing can harm the kernel.
    unsafe { ops::cpu::resume(&raw const frame) }
}

/// Makes `root` the address space. Exercises `mmu::load_root`. Interrupts masked.
#[inline]
pub(crate) fn load_root(root: PhysAddr, retain: Retain) {
    // SAFETY: callers pass roots made by `memory::kernel_space`, which all carry the kernel's common slots.
    unsafe { mmu().load_root(root, retain) }
}

/// The time-stamp counter.
#[inline(always)]
pub(crate) fn ticks() -> u64 {
    // SAFETY: RDTSC reads a counter; every backend allows it.
    unsafe { core::arch::x86_64::_rdtsc() }
}

/// One unit of alignment of an `xsave` area.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Block([u8; 64]);

/// The vector state of a thread that is not running. Exercises `cpu::fpu`: size and components come from there.
pub(crate) struct VectorState {
    blocks: UnsafeCell<Vec<Block>>,
    components: u64,
}

// SAFETY: used by the thread's own CPU only, with interrupts masked (`threads::switch_to`), or before the thread
// runs.
unsafe impl Sync for VectorState {}

impl VectorState {
    /// The state that programs begin with.
    pub(crate) fn initial(info: FpuInfo) -> Self {
        let mut blocks = vec![Block([0; 64]); info.area_bytes.max(512).div_ceil(64)];
        // x87 control word and MXCSR as after reset, all exceptions masked; an `xsave` header of zeros means
        // "everything initial" (SDM volume 1, 13.8).
        blocks[0].0[0..2].copy_from_slice(&0x037f_u16.to_le_bytes());
        blocks[0].0[24..28].copy_from_slice(&0x1f80_u32.to_le_bytes());
        Self { blocks: UnsafeCell::new(blocks), components: info.components }
    }

    /// Keeps what the registers hold now. Interrupts masked.
    pub(crate) fn save(&self) {
        // SAFETY: the area is as large and aligned as the backend asked; this CPU alone uses it now.
        unsafe {
            let area = (*self.blocks.get()).as_mut_ptr();
            let (low, high) = (self.components as u32, (self.components >> 32) as u32);
            if self.components == 0 {
                asm!("fxsave64 [{}]", in(reg) area, options(nostack, preserves_flags));
            } else {
                asm!("xsave64 [{}]", in(reg) area, in("eax") low, in("edx") high, options(nostack, preserves_flags));
            }
        }
    }

    /// Fills the registers from what was kept. Interrupts masked.
    pub(crate) fn restore(&self) {
        // SAFETY: as in `save`; the area was filled by `initial` or `save`. Kernel code has no vector registers
        // of its own (the target is soft-float).
        unsafe {
            let area = (*self.blocks.get()).as_ptr();
            let (low, high) = (self.components as u32, (self.components >> 32) as u32);
            if self.components == 0 {
                asm!("fxrstor64 [{}]", in(reg) area, options(nostack, preserves_flags));
            } else {
                asm!("xrstor64 [{}]", in(reg) area, in("eax") low, in("edx") high, options(nostack, preserves_flags));
            }
        }
    }
}

/// Where the boot tables and ours map physical memory: virtual = physical + this. Set once.
static PHYSICAL_MAP: AtomicU64 = AtomicU64::new(0);

/// Says where physical memory is mapped.
pub(crate) fn set_physical_map(base: VirtAddr) {
    PHYSICAL_MAP.store(base.0, Ordering::Relaxed);
}

/// Where `phys` is mapped.
pub(crate) fn phys_to_virt(phys: PhysAddr) -> VirtAddr {
    VirtAddr(PHYSICAL_MAP.load(Ordering::Relaxed).wrapping_add(phys.0))
}
