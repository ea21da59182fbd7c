//! The programs' one unsafe module: entry, the system-call instruction, vector registers, and misdeeds.
#![allow(unsafe_code)]

use core::arch::{asm, global_asm};
use demo_programs::{Misdeed, SystemCall};

/// Registers that [`vectors`] fills and reads back: sixteen of 32 bytes.
#[repr(C, align(32))]
#[derive(Clone, Copy)]
pub(crate) struct Vectors(pub(crate) [[u64; 4]; 16]);

unsafe extern "C" {
    fn probe_load(address: u64) -> u64;
    fn probe_failed();
    fn own_code();
}

global_asm!(
    // The kernel enters with the program in rdi and its argument in rsi, on an aligned stack.
    ".globl _start",
    "_start:",
    "xor ebp, ebp",
    "call {start}",
    "ud2",
    // Answers 1 when the byte at rdi can be read. The kernel goes on at `probe_failed` when it cannot.
    "probe_load:",
    "mov al, [rdi]",
    "mov eax, 1",
    "ret",
    "probe_failed:",
    "xor eax, eax",
    "ret",
    "own_code:",
    "ret",
    start = sym crate::start,
);

/// Makes a system call.
pub(crate) fn system_call(call: SystemCall, arguments: [u64; 3]) -> u64 {
    let result;
    // SAFETY: the kernel checks every argument and writes only to memory that an argument names; programs pass
    // buffers that they own.
    unsafe {
        asm!("syscall", inlateout("rax") call as u64 => result, in("rdi") arguments[0], in("rsi") arguments[1],
            in("rdx") arguments[2], lateout("rcx") _, lateout("r11") _, options(nostack));
    }
    result
}

/// Where the kernel must go on when [`probe`] faults.
pub(crate) fn probe_landing() -> u64 {
    probe_failed as *const () as u64
}

/// Whether the byte at `address` can be read. [`probe_landing`] must have been announced.
pub(crate) fn probe(address: u64) -> bool {
    // SAFETY: reads one byte and drops it; a fault continues at the landing, which returns 0.
    unsafe { probe_load(address) == 1 }
}

/// The time-stamp counter.
pub(crate) fn ticks() -> u64 {
    // SAFETY: RDTSC is allowed in user mode.
    unsafe { core::arch::x86_64::_rdtsc() }
}

/// Fills `memory`, got from the kernel, with words of `next`, in place.
pub(crate) fn fill(address: u64, words: usize, mut next: impl FnMut() -> u64) {
    for index in 0..words {
        // SAFETY: callers pass memory that `SystemCall::Grow` returned and nothing else uses.
        unsafe { (address as *mut u64).add(index).write_volatile(next()) };
    }
}

/// The word at `address`, in memory got from the kernel.
pub(crate) fn word(address: u64) -> u64 {
    // SAFETY: as in `fill`.
    unsafe { (address as *const u64).read_volatile() }
}

/// FS and GS base, where user mode may read and write them.
pub(crate) struct Bases(());

impl Bases {
    /// Nothing on CPUs without these instructions; kernels enable them where they exist.
    pub(crate) fn new() -> Option<Self> {
        (core::arch::x86_64::__cpuid_count(7, 0).ebx & 1 != 0).then_some(Self(()))
    }

    /// Sets both; they must be canonical.
    pub(crate) fn set(&self, fs: u64, gs: u64) {
        // SAFETY: this code uses neither segment.
        unsafe { asm!("wrfsbase {}", "wrgsbase {}", in(reg) fs, in(reg) gs, options(nomem, nostack)) };
    }

    /// Both, FS first.
    pub(crate) fn get(&self) -> (u64, u64) {
        let (fs, gs);
        // SAFETY: reads two registers.
        unsafe { asm!("rdfsbase {}", "rdgsbase {}", out(reg) fs, out(reg) gs, options(nomem, nostack)) };
        (fs, gs)
    }
}

/// Whether 256-bit registers may be used: the CPU has AVX and the kernel enabled it.
pub(crate) fn has_avx() -> bool {
    const OSXSAVE_AND_AVX: u32 = 1 << 27 | 1 << 28;
    if core::arch::x86_64::__cpuid(1).ecx & OSXSAVE_AND_AVX != OSXSAVE_AND_AVX {
        return false;
    }
    let enabled: u32;
    // SAFETY: OSXSAVE says that XGETBV exists.
    unsafe { asm!("xgetbv", in("ecx") 0, lateout("eax") enabled, lateout("edx") _, options(nomem, nostack)) };
    enabled & 6 == 6
}

/// Applies `operation` to each register number, as one list of instructions.
macro_rules! all_registers {
    ($before:literal, $middle:literal, $after:literal) => {
        all_registers!(@ $before, $middle, $after, 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15)
    };
    (@ $before:literal, $middle:literal, $after:literal, $($number:literal)*) => {
        concat!($($before, $number, $middle, $number, $after, "\n"),*)
    };
}

/// Loads the registers, adds each to its successor `rounds` times (lower halves only), stores them. In between
/// nothing but the registers holds the values: whoever runs meanwhile must not change them.
pub(crate) fn vectors(values: &mut Vectors, rounds: u64, wide: bool) {
    let rounds_body = rounds;
    // SAFETY: the code of this target is soft-float: the compiler keeps nothing in vector registers. The
    // memory named is `values`; `wide` is true only where AVX is enabled.
    unsafe {
        if wide {
            asm!(all_registers!("vmovdqa ymm", ", [rdi + 32*", "]"), in("rdi") values, options(nostack));
        } else {
            asm!(all_registers!("movdqa xmm", ", [rdi + 32*", "]"), in("rdi") values, options(nostack));
        }
        asm!(
            "2:",
            "paddq xmm0, xmm1", "paddq xmm1, xmm2", "paddq xmm2, xmm3", "paddq xmm3, xmm4",
            "paddq xmm4, xmm5", "paddq xmm5, xmm6", "paddq xmm6, xmm7", "paddq xmm7, xmm8",
            "paddq xmm8, xmm9", "paddq xmm9, xmm10", "paddq xmm10, xmm11", "paddq xmm11, xmm12",
            "paddq xmm12, xmm13", "paddq xmm13, xmm14", "paddq xmm14, xmm15", "paddq xmm15, xmm0",
            "dec {rounds}",
            "jnz 2b",
            rounds = inout(reg) rounds_body => _, options(nomem, nostack),
        );
        if wide {
            store_wide(values);
        } else {
            asm!(all_registers!("movdqa [rdi + 32*", "], xmm", ""), in("rdi") values, options(nostack));
        }
    }
}

/// As [`vectors`] stores, all 256 bits.
///
/// # Safety
/// AVX is enabled.
unsafe fn store_wide(values: &mut Vectors) {
    // SAFETY: as in `vectors`.
    unsafe { asm!(all_registers!("vmovdqa [rdi + 32*", "], ymm", ""), in("rdi") values, options(nostack)) };
}

/// Does what must not be done; `kernel` is a kernel address. Returns only when nobody minded.
pub(crate) fn misbehave(misdeed: Misdeed, kernel: u64) {
    let own_code = own_code as *const () as u64;
    // SAFETY: none is possible: each of these is meant to fault and must end this process, nothing else.
    unsafe {
        match misdeed {
            Misdeed::Null => asm!("mov al, [{0}]", in(reg) 0_u64, out("al") _),
            Misdeed::WriteKernel => asm!("mov byte ptr [{0}], 0", in(reg) kernel),
            Misdeed::Privileged => asm!("hlt"),
            Misdeed::WriteCode => asm!("mov byte ptr [{0}], 0xc3", in(reg) own_code),
            Misdeed::ExecuteStack => asm!("push 0xc3", "call rsp", "pop rax", out("rax") _),
            Misdeed::Undefined => asm!("ud2"),
            Misdeed::Divide => asm!("xor ecx, ecx", "div ecx", out("ecx") _, out("eax") _, out("edx") _),
            Misdeed::JumpKernel => asm!("call {0}", in(reg) kernel),
            Misdeed::RaisePageFault => asm!("int 14"),
            Misdeed::ReadPort => asm!("in al, dx", in("dx") 0x2f9_u16, out("al") _),
            Misdeed::PassKernelPointer => {}
        }
    }
}
