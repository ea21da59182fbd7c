//! Filling and loading the descriptor tables, once on each CPU.

use super::super::apic::vector::SPURIOUS;
use super::super::entry::{
    EXCEPTIONS, FIRST_INTERRUPT, INTERRUPTS, STUB_BYTES, VECTORS, pvops_exception_stubs,
    pvops_interrupt_stubs,
};
use super::super::layout::{CPU_PAGES, cpu_pages};
use super::super::percpu::PerCpu;
use super::super::ports;
use super::{IDT, selector, set_io_map_base};
use core::arch::asm;
use core::cell::UnsafeCell;
use core::mem::offset_of;

/// Interrupt stack numbers, as gates name them.
const STACK_DOUBLE_FAULT: u8 = 1;
const STACK_MACHINE_CHECK: u8 = 2;
const STACK_NMI: u8 = 3;

/// Fills the one IDT. Boot CPU only, before interrupts.
pub fn fill_interrupt_table() {
    let stub = |stubs: u64, number| stubs + (number * STUB_BYTES) as u64;
    let exceptions = (0..EXCEPTIONS).map(|number| (number, stub(address_of!(pvops_exception_stubs), number)));
    let interrupt = |number| stub(address_of!(pvops_interrupt_stubs), number);
    let interrupts = (0..INTERRUPTS).map(|number| (FIRST_INTERRUPT + number, interrupt(number)));
    let spurious = [(SPURIOUS.into(), interrupt(INTERRUPTS))];
    for (vector, entry) in exceptions.chain(interrupts).chain(spurious) {
        let (stack, level) = match vector {
            2 => (STACK_NMI, 0),
            3 => (0, 3),
            8 => (STACK_DOUBLE_FAULT, 0),
            18 => (STACK_MACHINE_CHECK, 0),
            _ => (0, 0),
        };
        let gate = interrupt_gate(entry, stack, level);
        // SAFETY: only the boot CPU runs, see `InterruptTable`.
        unsafe { (*IDT.0.get())[vector] = gate };
    }
}

/// An interrupt gate (interrupts off on entry) to `entry` (Intel SDM volume 3, 6.14.1).
const fn interrupt_gate(entry: u64, stack: u8, level: u8) -> [u64; 2] {
    let low = (entry & 0xffff)
        | (selector::KERNEL_CODE as u64) << 16
        | (stack as u64) << 32
        | (0x8e | (level as u64) << 5) << 40
        | (entry >> 16 & 0xffff) << 48;
    [low, entry >> 32]
}

/// Operand of `lgdt` and `lidt`.
#[repr(C, packed)]
struct TablePointer {
    limit: u16,
    base: u64,
}

/// Fills this CPU's GDT and TSS and loads both and the IDT.
pub fn load(cpu: &PerCpu) {
    let tss = CPU_PAGES + offset_of!(PerCpu, tss) as u64;
    let limit = ports::TASK_LIMIT;
    let gdt = [
        0,
        0x00af_9b00_0000_ffff, // ring 0 code, 64 bit
        0x00cf_9300_0000_ffff, // ring 0 data
        0x00cf_f300_0000_ffff, // ring 3 data
        0x00af_fb00_0000_ffff, // ring 3 code, 64 bit
        limit | (tss & 0xff_ffff) << 16 | 0x89 << 40 | (tss >> 24 & 0xff) << 56,
        tss >> 32,
    ];
    let top = |offset: u64| CPU_PAGES + offset;
    set_io_map_base(cpu, ports::CLOSED);
    let gdt_pointer = TablePointer { limit: 7 * 8 - 1, base: cpu.gdt.get() as u64 };
    let idt_pointer = TablePointer { limit: (VECTORS * 16 - 1) as u16, base: IDT.0.get() as u64 };
    // SAFETY: the tables are this CPU's own and not in use yet; the addresses are the constant ones that every
    // CPU's tables map; the selectors match the descriptors above.
    unsafe {
        *cpu.gdt.get() = gdt;
        let stacks = &raw const cpu.tss.stacks;
        UnsafeCell::raw_get(stacks).write_unaligned([top(cpu_pages::STACK_TOP), 0, 0]);
        let interrupt_stacks = &raw const cpu.tss.interrupt_stacks;
        UnsafeCell::raw_get(interrupt_stacks).write_unaligned([
            top(cpu_pages::DOUBLE_FAULT_TOP),
            top(cpu_pages::MACHINE_CHECK_TOP),
            top(cpu_pages::NMI_TOP),
            0,
            0,
            0,
            0,
        ]);
        asm!("lgdt [{0}]", "lidt [{1}]", in(reg) &gdt_pointer, in(reg) &idt_pointer, options(nostack));
        asm!(
            "push {code}",
            "lea {scratch}, [rip + 2f]",
            "push {scratch}",
            "retfq",
            "2:",
            "mov ss, {data:x}",
            "mov ds, {null:x}",
            "mov es, {null:x}",
            "mov fs, {null:x}",
            "mov gs, {null:x}",
            "ltr {task:x}",
            // A reset leaves an LDT at linear address 0, which is the guest's: it could forge descriptors there.
            "lldt {null:x}",
            code = const selector::KERNEL_CODE,
            scratch = out(reg) _,
            data = in(reg) u32::from(selector::KERNEL_DATA),
            null = in(reg) 0,
            task = in(reg) u32::from(selector::TASK),
        );
    }
}
