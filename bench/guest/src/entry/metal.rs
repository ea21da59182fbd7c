//! Entries on the bare machine: gates in an interrupt table of our own, which else is a copy of the library's.

use crate::world;
use core::arch::{asm, global_asm};
use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicU64, Ordering};
use guest_kit::excursion;
use pvops_abi::ops::cpu::{self, CpuBlock};

/// Low word, then high word of each 64-bit gate (Intel SDM volume 3, 6.14.1).
#[repr(C, align(16))]
struct Table(UnsafeCell<[[u64; 2]; 256]>);
// SAFETY: written by `install` before it is loaded; only the processor reads it.
unsafe impl Sync for Table {}
static TABLE: Table = Table(UnsafeCell::new([[0; 2]; 256]));

/// What `sidt` stores and `lidt` loads.
#[repr(C, packed)]
struct Pointer {
    limit: u16,
    base: u64,
}

/// Where the local APIC's registers are mapped.
static LOCAL_APIC: AtomicU64 = AtomicU64::new(0);
static END_OF_INTERRUPT: AtomicU64 = AtomicU64::new(0);
const END_OF_INTERRUPT_OFFSET: u64 = 0xb0;

const OVERFLOW: usize = 4;
const INVALID_OPCODE: usize = 6;
const PAGE_FAULT: usize = 14;
const FIRST_INTERRUPT: usize = 32;

const PRESENT_INTERRUPT_GATE: u64 = 0x8e << 40;
const FROM_USER: u64 = 3 << 45;

const IA32_APIC_BASE: u32 = 0x1b;
const IA32_LSTAR: u32 = 0xc000_0082;

unsafe extern "C" {
    fn bench_metal_trap();
    fn bench_metal_user_fault();
    fn bench_metal_exit();
    fn bench_metal_interrupt();
    fn bench_metal_system_call();
}

global_asm!(
    // #UD of the kernel.
    ".balign 16",
    "bench_metal_trap:",
    "rdtsc",
    "mov r13d, eax",
    "add qword ptr [rsp], 2",
    "iretq",
    // #PF of user mode: with an error code, and with the exchange of GS that every kernel needs.
    ".balign 16",
    "bench_metal_user_fault:",
    "rdtsc",
    "mov r13d, eax",
    "swapgs",
    "add qword ptr [rsp + 8], 2",
    "add rsp, 8",
    "swapgs",
    "iretq",
    ".balign 16",
    "bench_metal_interrupt:",
    "rdtsc",
    "mov r13d, eax",
    "mov rax, [rip + {end_of_interrupt}]",
    "mov dword ptr [rax], 0",
    "iretq",
    ".balign 16",
    "bench_metal_system_call:",
    "rdtsc",
    "mov r13d, eax",
    "swapgs",
    "mov gs:[{user_rsp}], rsp",
    "mov rsp, gs:[{kernel_stack}]",
    "mov rsp, gs:[{user_rsp}]",
    "swapgs",
    "sysretq",
    ".balign 16",
    "bench_metal_exit:",
    "swapgs",
    "mov rsp, [rip + {landing_rsp}]",
    "jmp {landing}",
    end_of_interrupt = sym END_OF_INTERRUPT,
    landing_rsp = sym excursion::LANDING_RSP,
    landing = sym excursion::landing,
    user_rsp = const core::mem::offset_of!(CpuBlock, area) + core::mem::offset_of!(pvops_abi::layout::VcpuArea, user_rsp),
    kernel_stack = const core::mem::offset_of!(CpuBlock, area) + core::mem::offset_of!(pvops_abi::layout::VcpuArea, kernel_stack),
);

fn gate(entry: unsafe extern "C" fn(), rights: u64) -> [u64; 2] {
    let address = entry as *const () as u64;
    let selector = u64::from(cpu::selectors().kernel_cs) << 16;
    let low = address & 0xffff | selector | PRESENT_INTERRUPT_GATE | rights | (address >> 16 & 0xffff) << 48;
    [low, address >> 32]
}

fn read_msr(number: u32) -> u64 {
    let (low, high): (u32, u32);
    // SAFETY: callers name registers that every x86_64 CPU with a local APIC has.
    unsafe { asm!("rdmsr", in("ecx") number, out("eax") low, out("edx") high, options(nomem, nostack)) };
    u64::from(high) << 32 | u64::from(low)
}

pub(super) fn install() {
    let mut pointer = Pointer { limit: 0, base: 0 };
    // SAFETY: ring 0. The library's table is whole and stays; ours is not loaded yet.
    unsafe {
        asm!("sidt [{0}]", in(reg) &raw mut pointer);
        let table = &mut *TABLE.0.get();
        *table = (pointer.base as *const [[u64; 2]; 256]).read_unaligned();
        table[OVERFLOW] = gate(bench_metal_exit, FROM_USER);
        table[INVALID_OPCODE] = gate(bench_metal_trap, 0);
        table[PAGE_FAULT] = gate(bench_metal_user_fault, 0);
        table[FIRST_INTERRUPT..].fill(gate(bench_metal_interrupt, 0));
        pointer = Pointer { limit: size_of_val(table) as u16 - 1, base: table.as_ptr() as u64 };
        asm!("lidt [{0}]", in(reg) &raw const pointer);
        let entry = bench_metal_system_call as *const () as u64;
        asm!("wrmsr", in("ecx") IA32_LSTAR, in("eax") entry as u32, in("edx") (entry >> 32) as u32);
    }
    let registers = world::phys_to_virt(read_msr(IA32_APIC_BASE) & 0x000f_ffff_ffff_f000);
    LOCAL_APIC.store(registers, Ordering::Relaxed);
    END_OF_INTERRUPT.store(registers + END_OF_INTERRUPT_OFFSET, Ordering::Relaxed);
}

/// Where the local APIC's registers are mapped.
pub(crate) fn local_apic() -> u64 {
    LOCAL_APIC.load(Ordering::Relaxed)
}
