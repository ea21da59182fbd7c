//! Starting the other CPUs: INIT, SIPI, a trampoline below 1 MiB, then each on its own pages.

use super::super::cpu;
use super::super::layout::{CPU_PAGES, cpu_pages};
use super::super::percpu::cpu as this_cpu;
use super::super::{apic, segments, start, time};
use super::features;
use super::memory::{BootMemory, bytes_at};
use super::tables::{self, CpuTables};
use crate::domain::registry;
use crate::mmu::bits::{ACCESSED, PRESENT, WRITABLE};
use core::arch::global_asm;
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

const INIT: u32 = 0x4500;
const STARTUP: u32 = 0x4600;
/// A CPU answers within this, or is left out.
const ANSWER_NS: u64 = 500_000_000;

/// CPUs that have arrived in [`arrive`].
static ARRIVED: AtomicU32 = AtomicU32::new(1);
unsafe extern "C" {
    fn pvops_trampoline_start();
    fn pvops_trampoline_root();
    fn pvops_trampoline_pointer();
    fn pvops_trampoline_far();
    fn pvops_trampoline_long();
    fn pvops_trampoline_gdt();
    fn pvops_trampoline_end();
}

// Real mode at page:0, straight to long mode: PE and PG are set together, with PAE and LME set before
// (Intel SDM volume 3, 10.8.5). Operands of 16-bit code are offsets in the page, written as bytes because they
// must not be relocated.
global_asm!(
    ".pushsection .boot.rodata.trampoline, \"a\"",
    ".balign 16",
    ".code16",
    "pvops_trampoline_start:",
    "cli",
    "cld",
    ".byte 0x8c, 0xc8",       // mov ax, cs
    ".byte 0x8e, 0xd8",       // mov ds, ax
    ".byte 0x0f, 0x20, 0xe0", // mov eax, cr4
    ".byte 0x66, 0x83, 0xc8, 0x20", // or eax, PAE
    ".byte 0x0f, 0x22, 0xe0", // mov cr4, eax
    ".byte 0x66, 0xa1",       // mov eax, [root]
    ".2byte pvops_trampoline_root - pvops_trampoline_start",
    ".byte 0x0f, 0x22, 0xd8", // mov cr3, eax
    ".byte 0x66, 0xb9",       // mov ecx, EFER
    ".4byte 0xc0000080",
    ".byte 0x0f, 0x32",       // rdmsr
    ".byte 0x66, 0x0d",       // or eax, NXE | LME
    ".4byte 0x900",
    ".byte 0x0f, 0x30",       // wrmsr
    ".byte 0x66, 0x0f, 0x01, 0x16", // lgdt [pointer]
    ".2byte pvops_trampoline_pointer - pvops_trampoline_start",
    ".byte 0x0f, 0x20, 0xc0", // mov eax, cr0
    ".byte 0x66, 0x0d",       // or eax, PG | WP | PE
    ".4byte 0x80010001",
    ".byte 0x0f, 0x22, 0xc0", // mov cr0, eax
    ".byte 0x66, 0xff, 0x2e", // jmp far [far]
    ".2byte pvops_trampoline_far - pvops_trampoline_start",
    ".code64",
    ".globl pvops_trampoline_long",
    "pvops_trampoline_long:",
    "xor eax, eax",
    "mov ds, eax",
    "mov es, eax",
    "mov ss, eax",
    "mov rsp, [rip + 2f]",
    "xor ebp, ebp",
    "call [rip + 3f]",
    "ud2",
    ".balign 8",
    "2:",
    ".8byte {stack}",
    ".globl pvops_trampoline_entry",
    "pvops_trampoline_entry:",
    "3:",
    ".8byte 0",
    ".globl pvops_trampoline_root",
    "pvops_trampoline_root:",
    ".8byte 0",
    ".globl pvops_trampoline_gdt",
    "pvops_trampoline_gdt:",
    ".8byte 0",
    ".8byte 0x00af9b000000ffff",
    ".8byte 0x00cf93000000ffff",
    ".globl pvops_trampoline_pointer",
    "pvops_trampoline_pointer:",
    ".2byte 23",
    ".4byte 0",
    ".2byte 0",
    ".globl pvops_trampoline_far",
    "pvops_trampoline_far:",
    ".4byte 0",
    ".2byte 8",
    ".2byte 0",
    ".globl pvops_trampoline_end",
    "pvops_trampoline_end:",
    ".popsection",
    stack = const CPU_PAGES + cpu_pages::FIRST_STACK_TOP,
);

unsafe extern "C" {
    fn pvops_trampoline_entry();
}

/// Copies the trampoline to `page` and fills in where it runs and where it goes.
fn place_trampoline(page: u64, root: u64) {
    let start = address_of!(pvops_trampoline_start);
    let length = (address_of!(pvops_trampoline_end) - start) as usize;
    let target = bytes_at(page, 4096);
    // SAFETY: the bytes between the two symbols are the trampoline, in the image.
    target[..length].copy_from_slice(unsafe { core::slice::from_raw_parts(start as *const u8, length) });
    let mut put = |symbol: u64, bytes: &[u8]| {
        target[(symbol - start) as usize..][..bytes.len()].copy_from_slice(bytes);
    };
    let absolute = |symbol: u64| ((page + symbol - start) as u32).to_le_bytes();
    put(address_of!(pvops_trampoline_root), &root.to_le_bytes());
    put(address_of!(pvops_trampoline_far), &absolute(address_of!(pvops_trampoline_long)));
    put(address_of!(pvops_trampoline_entry), &(arrive as *const () as u64).to_le_bytes());
    put(address_of!(pvops_trampoline_pointer) + 2, &absolute(address_of!(pvops_trampoline_gdt)));
}

/// Starts the CPU with local APIC id `id` as number `number`. False: it did not answer.
pub fn start_cpu(memory: &mut BootMemory, cpu: &mut CpuTables, number: usize, id: u32) -> bool {
    let Some(page) = memory.low_page() else { return false };
    // The trampoline runs at its physical address until it jumps into the image.
    let pointers = memory.take_page();
    tables::map(memory, pointers, 3, 1, page, page, PRESENT | WRITABLE | ACCESSED);
    cpu.set_boot_slot(0, pointers | PRESENT | WRITABLE | ACCESSED);
    place_trampoline(page, cpu.boot_root());
    let before = ARRIVED.load(Ordering::Acquire);
    NUMBER.store(number as u32, Ordering::Release);
    ROOT.store(cpu.root(), Ordering::Release);
    apic::send(id, INIT);
    wait_ns(10_000_000, || false);
    for _ in 0..2 {
        apic::send(id, STARTUP | (page >> 12) as u32);
        if wait_ns(ANSWER_NS, || ARRIVED.load(Ordering::Acquire) != before) {
            return true;
        }
    }
    false
}

/// Number of the CPU that is being started.
static NUMBER: AtomicU32 = AtomicU32::new(0);
/// The root that it uses once boot is over.
static ROOT: AtomicU64 = AtomicU64::new(0);
/// Set when every domain is in its place: the CPUs may begin.
static DONE: AtomicBool = AtomicBool::new(false);

/// Waits until `done`, or until `ns` have passed.
fn wait_ns(ns: u64, done: impl Fn() -> bool) -> bool {
    let end = time::now_ns() + ns;
    while time::now_ns() < end {
        if done() {
            return true;
        }
        core::hint::spin_loop();
    }
    done()
}

/// Boot is over: all CPUs may begin.
pub fn finish(cpus: u32) {
    DONE.store(true, Ordering::Release);
    (1..cpus).for_each(apic::kick);
    registry::boot::begin();
}

/// First Rust code of another CPU, on its own pages. Sleeps until boot is over, then serves the vCPUs placed here.
extern "C" fn arrive() -> ! {
    let this = this_cpu();
    this.number.set(NUMBER.load(Ordering::Acquire));
    this.root.set(ROOT.load(Ordering::Acquire));
    this.begin();
    segments::boot::load(this);
    features::enable();
    apic::boot::start_cpu();
    ARRIVED.fetch_add(1, Ordering::AcqRel);
    while !DONE.load(Ordering::Acquire) {
        cpu::wait_for_interrupt();
    }
    registry::boot::begin();
    start::begin()
}
