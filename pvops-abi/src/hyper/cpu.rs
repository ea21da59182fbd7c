//! The CPU group: registrations at start, then loads and stores.

use super::code;
use super::entry::{self, HANDLERS, STUB_BYTES};
use super::hypercall::{call, call0, call2};
use super::{physical, state};
use crate::addr::VirtAddr;
use crate::call::{Cpu as Call, SegmentBase};
use crate::layout::frame::Selectors;
use crate::layout::{CpuidResult, TrapFrame, TrapGate};
use crate::ops::cpu::{BLOCK_CPU, BLOCK_THIS, CpuBlock, CpuOps, FpuInfo, Handlers};
use crate::patch::{Code, Operation};
use core::arch::asm;
use core::ptr::from_ref;
use core::sync::atomic::{AtomicU64, Ordering};

/// Vectors whose gates leave events as they were: breakpoint and overflow.
const OPEN_VECTORS: [usize; 2] = [3, 4];

/// In GS until the kernel brings its own: flag operations work from the first instruction on, without effect.
static BOOT_BLOCK: CpuBlock = CpuBlock::new();
/// The trap table; the hypervisor reads it at each trap.
static TRAP_TABLE: TrapTable = TrapTable([const { [AtomicU64::new(0), AtomicU64::new(0)] }; 256]);

#[repr(C, align(4096))]
struct TrapTable([[AtomicU64; 2]; 256]);

pub(super) struct Cpu;

/// Puts the boot block into GS. Called once, before anything reads it.
pub(super) fn use_boot_block() {
    // SAFETY: nobody has the block yet.
    unsafe { *BOOT_BLOCK.this.get() = from_ref(&BOOT_BLOCK) as u64 };
    set_kernel_gs(&BOOT_BLOCK);
}

fn set_kernel_gs(block: &'static CpuBlock) {
    let address = from_ref(block) as u64;
    block.area.kernel_gs_base.store(address, Ordering::Relaxed);
    call2(Call::SetSegmentBase.id(), SegmentBase::KernelGs as u64, address);
}

fn phys_of<T>(object: &T) -> u64 {
    physical(VirtAddr(from_ref(object) as u64)).expect("the kernel's own data is mapped").0
}

fn fill_trap_table() {
    let stubs = entry::pvops_hyper_trap_stubs as *const () as u64;
    for (vector, [address, flags]) in TRAP_TABLE.0.iter().enumerate() {
        let masks = if OPEN_VECTORS.contains(&vector) { 0 } else { TrapGate::MASK_EVENTS };
        let user = if OPEN_VECTORS.contains(&vector) { TrapGate::USER } else { 0 };
        flags.store(masks | user, Ordering::Relaxed);
        address.store(stubs + vector as u64 * STUB_BYTES, Ordering::Relaxed);
    }
}

/// The block of the calling CPU.
pub(super) fn block() -> &'static CpuBlock {
    let block: *const CpuBlock;
    // SAFETY: in kernel mode GS is a `CpuBlock`, the boot block or the one of `start_cpu`; both hold their address and
    // stay.
    unsafe {
        asm!("mov {0}, gs:[{1}]", out(reg) block, const BLOCK_THIS, options(nostack, preserves_flags, readonly));
        &*block
    }
}

impl CpuOps for Cpu {
    fn start_cpu(&self, cpu: usize, block: &'static CpuBlock, handlers: Handlers) {
        HANDLERS.call_once(|| handlers);
        let selectors = self.selectors();
        // SAFETY: the contract says that the block is this CPU's and not in use yet.
        unsafe {
            *block.this.get() = from_ref(block) as u64;
            *block.cpu.get() = cpu as u64;
            *block.user_cs.get() = selectors.user_cs.into();
            *block.user_ss.get() = selectors.user_ss.into();
        }
        set_kernel_gs(block);
        fill_trap_table();
        let entries = [
            entry::pvops_hyper_event_entry as *const () as u64,
            entry::pvops_hyper_system_call_entry as *const () as u64,
        ];
        let stack = block.double_fault_stack.get() as u64 + size_of_val(&block.double_fault_stack) as u64;
        let replies = [
            call2(Call::RegisterArea.id(), phys_of(block), 0),
            call2(Call::SetTrapTable.id(), phys_of(&TRAP_TABLE), 256),
            call2(Call::SetEntries.id(), entries[0], entries[1]),
            call2(Call::SetDoubleFaultStack.id(), stack & !15, 0),
        ];
        for reply in replies {
            reply.result().expect("a well-formed registration");
        }
    }

    fn set_kernel_stack(&self, top: VirtAddr) {
        block().area.kernel_stack.store(top.0, Ordering::Relaxed);
    }

    unsafe fn resume(&self, frame: *const TrapFrame) -> ! {
        // SAFETY: the caller's contract is that of the stub.
        unsafe { entry::pvops_hyper_resume(frame) }
    }

    fn selectors(&self) -> Selectors {
        state().start_info.selectors
    }

    fn user_bases(&self) -> (u64, u64) {
        let fs: u64;
        // SAFETY: the ABI promises that FSGSBASE instructions work in deprivileged mode (CPU-010).
        unsafe { asm!("rdfsbase {0}", out(reg) fs, options(nomem, nostack, preserves_flags)) };
        (fs, block().area.user_gs_base.load(Ordering::Relaxed))
    }

    fn set_user_bases(&self, fs: u64, gs: u64) {
        // SAFETY: as in `user_bases`; the caller promises a canonical base.
        unsafe { asm!("wrfsbase {0}", in(reg) fs, options(nomem, nostack, preserves_flags)) };
        block().area.user_gs_base.store(gs, Ordering::Relaxed);
    }

    fn cpuid(&self, leaf: u32, subleaf: u32) -> CpuidResult {
        /// Where the hypervisor stores the answer; one for all CPUs, used with events masked.
        static ANSWER: [AtomicU64; 2] = [AtomicU64::new(0), AtomicU64::new(0)];
        crate::ops::irq::without(|| {
            let arguments = [leaf.into(), subleaf.into(), phys_of(&ANSWER), 0, 0, 0];
            if call(Call::Cpuid.id(), arguments).result().is_err() {
                return CpuidResult::default();
            }
            let [low, high] = [0, 1].map(|index| ANSWER[index].load(Ordering::Relaxed));
            CpuidResult {
                eax: low as u32,
                ebx: (low >> 32) as u32,
                ecx: high as u32,
                edx: (high >> 32) as u32,
            }
        })
    }

    fn fpu(&self) -> FpuInfo {
        let bytes = call0(Call::FpuAreaSize.id()).result().unwrap_or(512) as usize;
        let (low, high): (u32, u32);
        // SAFETY: OSXSAVE is set in deprivileged mode (CPU-011), so XCR0 can be read in ring 3.
        unsafe { asm!("xgetbv", in("ecx") 0, out("eax") low, out("edx") high, options(nomem, nostack)) };
        FpuInfo { area_bytes: bytes, components: u64::from(high) << 32 | u64::from(low) }
    }

    fn current(&self) -> usize {
        let cpu: u64;
        // SAFETY: as in `block`.
        unsafe {
            asm!("mov {0}, gs:[{1}]", out(reg) cpu, const BLOCK_CPU, options(nostack, preserves_flags))
        };
        cpu as usize
    }

    fn block(&self) -> &'static CpuBlock {
        block()
    }

    fn user_access_begin(&self) {}

    fn user_access_end(&self) {}

    fn code(&self, operation: Operation) -> Option<Code> {
        code::cpu(operation)
    }
}
