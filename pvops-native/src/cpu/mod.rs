//! The CPU group on the metal.
//!
//! * [`features`]: control registers, EFER, XCR0: what this CPU has is turned on, nothing is required.
//! * [`segments`]: GDT, TSS and the stacks of the interrupt stack table, per CPU.
//! * [`vectors`]: the interrupt descriptor table, the same on all CPUs.
//! * [`entry`]: the stubs, in assembly, and how a frame is left again.
//! * [`dispatch`]: from a frame to the kernel's handler.

mod dispatch;
mod entry;
pub(crate) mod features;
mod segments;
mod vectors;

use core::arch::asm;
use core::mem::offset_of;

use pvops_abi::addr::VirtAddr;
use pvops_abi::layout::CpuidResult;
use pvops_abi::layout::frame::{Selectors, TrapFrame};
use pvops_abi::layout::vcpu_area::VcpuArea;
use pvops_abi::ops::cpu::{BLOCK_CPU, BLOCK_THIS, CpuBlock, CpuOps, FpuInfo, Handlers};
use pvops_abi::patch::{Code, Operation};
use x86::msr::{IA32_FS_BASE, IA32_GS_BASE, IA32_KERNEL_GSBASE, rdmsr, wrmsr};

use crate::{MAX_CPUS, clock, code, event, local_apic};

pub(crate) use segments::SELECTORS;

/// Offset from GS of the stack pointer that the system-call stub loads.
const KERNEL_STACK: usize = offset_of!(CpuBlock, area) + offset_of!(VcpuArea, kernel_stack);
/// Offset from GS of its scratch word.
const USER_RSP: usize = offset_of!(CpuBlock, area) + offset_of!(VcpuArea, user_rsp);

/// In GS of the boot CPU until the kernel brings its own.
static BOOT_BLOCK: CpuBlock = CpuBlock::new();

/// The calling CPU.
pub(crate) struct Cpu;

/// Puts the boot block into GS. Called once, before anything reads it.
pub(crate) fn use_boot_block() {
    let block = core::ptr::from_ref(&BOOT_BLOCK) as u64;
    // SAFETY: nobody has the block yet. Every x86_64 CPU has the MSR, and nothing uses GS yet.
    unsafe {
        *BOOT_BLOCK.this.get() = block;
        wrmsr(IA32_GS_BASE, block);
    }
}

/// Number of the calling CPU.
pub(crate) fn current() -> usize {
    let cpu: u64;
    // SAFETY: GS points to this CPU's block, whose number is written before GS is set.
    unsafe {
        asm!("mov {}, gs:[{offset}]", out(reg) cpu, offset = const BLOCK_CPU,
             options(nostack, preserves_flags, readonly));
    }
    cpu as usize
}

impl CpuOps for Cpu {
    fn start_cpu(&self, cpu: usize, block: &'static CpuBlock, handlers: Handlers) {
        assert!(cpu < MAX_CPUS, "pvops-native: no state for CPU {cpu}");
        crate::irq::mask();
        dispatch::set_handlers(handlers);
        // SAFETY: the block is not in use yet (contract of `start_cpu`), so its cells are ours to write.
        unsafe {
            *block.this.get() = core::ptr::from_ref(block) as u64;
            *block.cpu.get() = cpu as u64;
            *block.user_cs.get() = SELECTORS.user_cs.into();
            *block.user_ss.get() = SELECTORS.user_ss.into();
        }
        features::enable();
        segments::load(cpu, block);
        vectors::load();
        // SAFETY: every x86_64 CPU has these MSRs; nothing uses FS or GS yet, and the block stays.
        unsafe {
            wrmsr(IA32_FS_BASE, 0);
            wrmsr(IA32_GS_BASE, core::ptr::from_ref(block) as u64);
            wrmsr(IA32_KERNEL_GSBASE, 0);
        }
        entry::enable_system_calls();
        if cpu != 0 {
            // The boot CPU's were started with the backend.
            local_apic::start_cpu();
            clock::start_cpu();
        }
        event::start_cpu(cpu);
    }

    fn set_kernel_stack(&self, top: VirtAddr) {
        // SAFETY: GS points to this CPU's block; the word is the system-call stub's, and no system call can
        // come while the kernel runs.
        unsafe {
            asm!("mov gs:[{offset}], {}", in(reg) top.0, offset = const KERNEL_STACK,
                 options(nostack, preserves_flags));
        }
        segments::set_interrupt_stack(current(), top);
    }

    unsafe fn resume(&self, frame: *const TrapFrame) -> ! {
        // SAFETY: the caller's frame is sound to continue, lies on this stack and is the caller's to give up.
        unsafe { entry::leave_to(frame.cast_mut()) }
    }

    fn selectors(&self) -> Selectors {
        SELECTORS
    }

    fn user_bases(&self) -> (u64, u64) {
        // SAFETY: every x86_64 CPU has these MSRs; while the kernel runs, user mode's GS base is the swapped one.
        unsafe { (rdmsr(IA32_FS_BASE), rdmsr(IA32_KERNEL_GSBASE)) }
    }

    fn set_user_bases(&self, fs: u64, gs: u64) {
        // SAFETY: as for reading; both are canonical (contract), and the kernel itself does not use FS.
        unsafe {
            wrmsr(IA32_FS_BASE, fs);
            wrmsr(IA32_KERNEL_GSBASE, gs);
        }
    }

    fn cpuid(&self, leaf: u32, subleaf: u32) -> CpuidResult {
        let result = core::arch::x86_64::__cpuid_count(leaf, subleaf);
        CpuidResult { eax: result.eax, ebx: result.ebx, ecx: result.ecx, edx: result.edx }
    }

    fn fpu(&self) -> FpuInfo {
        features::fpu()
    }

    fn current(&self) -> usize {
        current()
    }

    fn block(&self) -> &'static CpuBlock {
        let block: *const CpuBlock;
        // SAFETY: as in `current`; a block holds its own address, and stays.
        unsafe {
            asm!("mov {}, gs:[{offset}]", out(reg) block, offset = const BLOCK_THIS,
                 options(nostack, preserves_flags, readonly));
            &*block
        }
    }

    fn user_access_begin(&self) {
        if features::has_smap() {
            // SAFETY: the CPU has SMAP; the caller ends the access. A compiler barrier, by not being `nomem`.
            unsafe { asm!("stac", options(nostack)) };
        }
    }

    fn user_access_end(&self) {
        if features::has_smap() {
            // SAFETY: the CPU has SMAP.
            unsafe { asm!("clac", options(nostack)) };
        }
    }

    fn code(&self, operation: Operation) -> Option<Code> {
        code::cpu(operation)
    }
}
