//! CPU state: trap, event and system-call entry, stacks, segment bases, identification, extended state.

use crate::addr::VirtAddr;
use crate::layout::frame::{Selectors, TrapFrame};
use crate::layout::{CpuidResult, MAX_PORTS, VcpuArea};
use crate::patch::{Code, Operation, calls};
use core::cell::UnsafeCell;
use core::sync::atomic::AtomicU64;

/// The handlers of a kernel. Each runs on the kernel stack of the interrupted thread (on the interrupted
/// stack itself when kernel mode was interrupted) and may change the frame; returning resumes it.
#[derive(Clone, Copy)]
pub struct Handlers {
    /// Exceptions and software interrupts; [`TrapFrame::vector`] 0..=255. Interrupts stay as they were for
    /// vectors 3 and 4 and are masked for all others, on entry; a handler may enable them.
    pub trap: fn(&mut TrapFrame),
    /// Events (interrupts): called with interrupts masked when ports are pending; calls
    /// [`super::event::next_pending`] until that is empty. May switch threads.
    pub event: fn(&mut TrapFrame),
    /// The `syscall` instruction in user mode, interrupts masked. `rax rdi rsi rdx r10 r8 r9` are the caller's;
    /// `rcx` and `r11` are lost to the instruction and hold `rip` and `rflags`.
    pub system_call: fn(&mut TrapFrame),
}

/// Per-CPU data of the library and of the kernel, reached through GS in kernel mode. The kernel provides one
/// per CPU, in memory that stays; page aligned, so that the vCPU area lies in one page.
#[repr(C, align(4096))]
pub struct CpuBlock {
    /// The vCPU area of the ABI. On the metal only the stack and scratch fields are used.
    pub area: VcpuArea,
    /// Address of this block itself.
    pub this: UnsafeCell<u64>,
    /// Number of the CPU, 0 for the boot CPU.
    pub cpu: UnsafeCell<u64>,
    /// `cs` of user mode, as the system-call stub pushes it.
    pub user_cs: UnsafeCell<u64>,
    /// `ss` of user mode, likewise.
    pub user_ss: UnsafeCell<u64>,
    /// Event ports that this CPU receives, one bit each.
    pub owned_ports: [AtomicU64; MAX_PORTS / 64],
    /// Stack for double faults.
    pub double_fault_stack: UnsafeCell<[u8; 3072]>,
}

// SAFETY: the cells are written by `CpuOps::start_cpu` before the block is in use and by its own CPU's stubs.
unsafe impl Sync for CpuBlock {}

/// Offset of [`CpuBlock::this`] from GS, for stubs.
pub const BLOCK_THIS: usize = core::mem::offset_of!(CpuBlock, this);
/// Offset of [`CpuBlock::cpu`] from GS, for stubs.
pub const BLOCK_CPU: usize = core::mem::offset_of!(CpuBlock, cpu);
/// Offset of [`CpuBlock::user_cs`] from GS, for stubs.
pub const BLOCK_USER_CS: usize = core::mem::offset_of!(CpuBlock, user_cs);
/// Offset of [`CpuBlock::user_ss`] from GS, for stubs.
pub const BLOCK_USER_SS: usize = core::mem::offset_of!(CpuBlock, user_ss);

const _: () = assert!(size_of::<CpuBlock>() == 4096);

impl CpuBlock {
    /// For backends: the number of the calling CPU, by `mov eax, gs:[cpu]`.
    pub const CODE_OF_CURRENT: Code = Code::new(&[0x65, 0x8b, 0x04, 0x25])
        .then(&(BLOCK_CPU as u32).to_le_bytes())
        .for_site(Operation::CpuCurrent);
    /// For backends: the calling CPU's block, by `mov rax, gs:[this]`.
    pub const CODE_OF_BLOCK: Code = Code::new(&[0x65, 0x48, 0x8b, 0x04, 0x25])
        .then(&(BLOCK_THIS as u32).to_le_bytes())
        .for_site(Operation::CpuBlock);

    /// A block not in use yet.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            area: VcpuArea::new(),
            this: UnsafeCell::new(0),
            cpu: UnsafeCell::new(0),
            user_cs: UnsafeCell::new(0),
            user_ss: UnsafeCell::new(0),
            owned_ports: [const { AtomicU64::new(0) }; MAX_PORTS / 64],
            double_fault_stack: UnsafeCell::new([0; 3072]),
        }
    }
}

impl Default for CpuBlock {
    fn default() -> Self {
        Self::new()
    }
}

/// Extended (x87, SSE, AVX) state that user mode may use.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FpuInfo {
    /// Bytes of an `xsave` area for the enabled components; the area is aligned to 64.
    pub area_bytes: usize,
    /// Components enabled in XCR0; pass in `edx:eax` to `xsave`/`xrstor`. 0: only `fxsave`/`fxrstor` exist.
    pub components: u64,
}

/// Operations on the CPU.
pub trait CpuOps: Sync {
    /// Sets up the calling CPU: tables, entries, `block` in GS, handlers, extended state (XCR0 at the components
    /// that the environment offers). Interrupts stay masked. Called once per CPU, before traps can be handled;
    /// `block` is `cpu`'s own and is not in use.
    fn start_cpu(&self, cpu: usize, block: &'static CpuBlock, handlers: Handlers);
    /// Sets the stack that the next entry from user mode uses: 16-byte aligned `top`. Called at each thread
    /// switch, interrupts masked.
    fn set_kernel_stack(&self, top: VirtAddr);
    /// Leaves to `frame` and does not come back. For the first entry of a thread; later ones return through
    /// their stub. `frame` must lie on the current stack, with nothing needed above `rsp` but itself; its
    /// selectors are [`Self::selectors`]. Interrupts must be masked by the caller and become as the frame says.
    ///
    /// # Safety
    /// `frame` must describe a state that is sound to continue (a thread's entry and its stack).
    unsafe fn resume(&self, frame: *const TrapFrame) -> !;
    /// Selectors for frames that the kernel makes.
    fn selectors(&self) -> Selectors;
    /// FS and GS base of user mode, `(fs, gs)`.
    fn user_bases(&self) -> (u64, u64);
    /// Sets FS and GS base of user mode; both canonical. Called at thread switches, interrupts masked.
    fn set_user_bases(&self, fs: u64, gs: u64);
    /// CPUID as this kernel should see it.
    fn cpuid(&self, leaf: u32, subleaf: u32) -> CpuidResult;
    /// Extended state available to user mode. Enabled eagerly: no lazy switching, no #NM.
    fn fpu(&self) -> FpuInfo;
    /// Number of the calling CPU. Callers keep interrupts masked if the answer must stay true.
    fn current(&self) -> usize;
    /// The calling CPU's block: what [`Self::start_cpu`] was given; before that one of the backend's own.
    fn block(&self) -> &'static CpuBlock;
    /// Tells the CPU, or whoever lends it to us, that the caller waits in a loop for another CPU.
    fn spin_hint(&self) {
        core::hint::spin_loop();
    }
    /// Allows supervisor access to user pages until [`Self::user_access_end`] (`stac`, or nothing).
    fn user_access_begin(&self);
    /// Ends what [`Self::user_access_begin`] began.
    fn user_access_end(&self);
    /// The raw CS selector now, whose low two bits are the true ring.
    fn code_segment(&self) -> u16 {
        let selector: u16;
        // SAFETY: reading CS has no side effects.
        unsafe {
            core::arch::asm!("mov {0:x}, cs", out(reg) selector, options(nomem, nostack, preserves_flags))
        };
        selector
    }
    /// What the call sites of `operation`, one of this group, become. `None`: they stay calls of the method.
    fn code(&self, operation: Operation) -> Option<Code> {
        _ = operation;
        None
    }
}

use super::ops;

/// See [`CpuOps::start_cpu`].
pub fn start_cpu(cpu: usize, block: &'static CpuBlock, handlers: Handlers) {
    ops().cpu.start_cpu(cpu, block, handlers);
}
/// See [`CpuOps::set_kernel_stack`].
pub fn set_kernel_stack(top: VirtAddr) {
    ops().cpu.set_kernel_stack(top);
}
/// See [`CpuOps::resume`].
///
/// # Safety
/// As there.
pub unsafe fn resume(frame: *const TrapFrame) -> ! {
    // SAFETY: the caller upholds the contract of `CpuOps::resume`.
    unsafe { ops().cpu.resume(frame) }
}
/// See [`CpuOps::selectors`].
#[must_use]
pub fn selectors() -> Selectors {
    ops().cpu.selectors()
}
/// See [`CpuOps::user_bases`].
#[must_use]
pub fn user_bases() -> (u64, u64) {
    ops().cpu.user_bases()
}
/// See [`CpuOps::set_user_bases`].
pub fn set_user_bases(fs: u64, gs: u64) {
    ops().cpu.set_user_bases(fs, gs);
}
/// See [`CpuOps::cpuid`].
#[must_use]
pub fn cpuid(leaf: u32, subleaf: u32) -> CpuidResult {
    ops().cpu.cpuid(leaf, subleaf)
}
/// See [`CpuOps::fpu`].
#[must_use]
pub fn fpu() -> FpuInfo {
    ops().cpu.fpu()
}
/// See [`CpuOps::current`]. Patched.
#[inline]
#[must_use]
pub fn current() -> usize {
    calls::cpu_current()
}
/// See [`CpuOps::block`]. Patched.
#[inline]
#[must_use]
pub fn block() -> &'static CpuBlock {
    calls::cpu_block()
}
/// See [`CpuOps::spin_hint`]. Patched.
#[inline]
pub fn spin_hint() {
    calls::cpu_spin_hint();
}
/// See [`CpuOps::code_segment`].
#[must_use]
pub fn code_segment() -> u16 {
    ops().cpu.code_segment()
}
/// Runs `work` with supervisor access to user pages allowed. Patched.
#[inline]
pub fn with_user_access<R>(work: impl FnOnce() -> R) -> R {
    calls::cpu_user_access_begin();
    let result = work();
    calls::cpu_user_access_end();
    result
}
