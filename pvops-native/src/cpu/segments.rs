//! Segments, task state and emergency stacks of each CPU.
//!
//! The order of segments is what `syscall` and `sysret` demand (Intel SDM volume 3, 5.8.8): kernel code, kernel
//! data, then user data before user code. There is no 32-bit user code segment.

use core::cell::UnsafeCell;

use pvops_abi::addr::VirtAddr;
use pvops_abi::layout::frame::Selectors;
use pvops_abi::ops::cpu::CpuBlock;
use x86_64::instructions::segmentation::{CS, DS, ES, FS, GS, SS, Segment};
use x86_64::instructions::tables::load_tss;
use x86_64::structures::gdt::{Descriptor, GlobalDescriptorTable, SegmentSelector};
use x86_64::structures::tss::TaskStateSegment;

use crate::MAX_CPUS;

/// Selectors of this backend's frames.
pub(crate) const SELECTORS: Selectors =
    Selectors { kernel_cs: 0x08, kernel_ss: 0x10, user_cs: 0x23, user_ss: 0x1b };

/// Bytes of each emergency stack: room for a kernel that prints its last words.
const STACK_BYTES: usize = 8192;
/// Vectors with a stack of their own, by index in the interrupt stack table.
pub(super) const DOUBLE_FAULT_STACK: u8 = 0;
pub(super) const NMI_STACK: u8 = 1;
pub(super) const MACHINE_CHECK_STACK: u8 = 2;
const STACKS: usize = 3;

/// A stack for a vector that may find GS, the stack pointer or both unusable. The word above its first push
/// holds the address of the CPU's block, by which the stub finds GS again.
#[repr(C, align(16))]
struct Stack {
    space: [u8; STACK_BYTES],
    block: u64,
    _pad: u64,
}

impl Stack {
    const EMPTY: Self = Self { space: [0; STACK_BYTES], block: 0, _pad: 0 };
}

/// The tables of one CPU.
struct Tables {
    descriptors: GlobalDescriptorTable,
    task: TaskStateSegment,
}

/// Something of one CPU, written by that CPU only.
struct PerCpu<T>(UnsafeCell<T>);

// SAFETY: element `n` of each array is accessed by CPU `n` alone: in `load`, once, and in `set_interrupt_stack`,
// with interrupts masked; the hardware uses it only on that CPU.
unsafe impl<T> Sync for PerCpu<T> {}

static TABLES: [PerCpu<Tables>; MAX_CPUS] = [const {
    PerCpu(UnsafeCell::new(Tables {
        descriptors: GlobalDescriptorTable::new(),
        task: TaskStateSegment::new(),
    }))
}; MAX_CPUS];
/// Apart from the tables, so that they are all zeros and take no room in the ELF.
static EMERGENCY_STACKS: [PerCpu<[Stack; STACKS]>; MAX_CPUS] =
    [const { PerCpu(UnsafeCell::new([Stack::EMPTY; STACKS])) }; MAX_CPUS];

/// Builds and loads the tables of `cpu`, the calling one.
pub(super) fn load(cpu: usize, block: &'static CpuBlock) {
    // SAFETY: called once per CPU, by that CPU, before its tables are loaded.
    let (tables, stacks): (&'static mut Tables, &'static mut [Stack; STACKS]) =
        unsafe { (&mut *TABLES[cpu].0.get(), &mut *EMERGENCY_STACKS[cpu].0.get()) };
    // By value: the hardware's structure is packed.
    let mut stack_tops = tables.task.interrupt_stack_table;
    for (top, stack) in stack_tops.iter_mut().zip(stacks) {
        stack.block = core::ptr::from_ref(block) as u64;
        *top = x86_64::VirtAddr::from_ptr(&raw const stack.block);
    }
    tables.task.interrupt_stack_table = stack_tops;
    let task = &raw const tables.task;
    // The order that `SELECTORS` states.
    tables.descriptors.append(Descriptor::kernel_code_segment());
    tables.descriptors.append(Descriptor::kernel_data_segment());
    tables.descriptors.append(Descriptor::user_data_segment());
    tables.descriptors.append(Descriptor::user_code_segment());
    // SAFETY: the task state is static.
    let task_selector = tables.descriptors.append(unsafe { Descriptor::tss_segment_unchecked(task) });
    // SAFETY: the table is static and complete; the selectors are those of the segments above.
    unsafe {
        tables.descriptors.load_unsafe();
        CS::set_reg(SegmentSelector(SELECTORS.kernel_cs));
        SS::set_reg(SegmentSelector(SELECTORS.kernel_ss));
        for set_reg in [DS::set_reg, ES::set_reg, FS::set_reg, GS::set_reg] {
            set_reg(SegmentSelector::NULL);
        }
        load_tss(task_selector);
    }
}

/// Sets the stack that interrupts from user mode use on `cpu`, the calling one.
pub(super) fn set_interrupt_stack(cpu: usize, top: VirtAddr) {
    let tables = TABLES[cpu].0.get();
    // SAFETY: this CPU's own tables, interrupts masked (contract of `set_kernel_stack`); the hardware reads the
    // word only on an entry from user mode.
    unsafe {
        let stacks = &raw mut (*tables).task.privilege_stack_table;
        stacks.cast::<u64>().write_unaligned(top.0);
    }
}
