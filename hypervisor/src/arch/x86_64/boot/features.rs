//! What the CPU must have, and switching it on.

use super::super::cpu::{cpuid, read_msr, set_checked_xcr0, write_msr};
use super::super::segments::selector;
use super::super::system_call::{pvops_compatibility_entry, pvops_system_call_entry};
use crate::boot::refuse_machine;
use core::arch::asm;
use system_image::boot_text;

mod cr0 {
    pub(super) const MONITOR_COPROCESSOR: u64 = 1 << 1;
    pub(super) const EMULATION: u64 = 1 << 2;
    pub(super) const TASK_SWITCHED: u64 = 1 << 3;
    pub(super) const NUMERIC_ERROR: u64 = 1 << 5;
    pub(super) const WRITE_PROTECT: u64 = 1 << 16;
}

mod cr4 {
    pub(super) const PAE: u64 = 1 << 5;
    pub(super) const MCE: u64 = 1 << 6;
    pub(super) const OSFXSR: u64 = 1 << 9;
    pub(super) const OSXMMEXCPT: u64 = 1 << 10;
    pub(super) const UMIP: u64 = 1 << 11;
    pub(super) const FSGSBASE: u64 = 1 << 16;
    pub(super) const OSXSAVE: u64 = 1 << 18;
    pub(super) const SMEP: u64 = 1 << 20;
    pub(super) const SMAP: u64 = 1 << 21;
}

mod register {
    pub(super) const SYSENTER_CS: u32 = 0x174;
    pub(super) const EFER: u32 = 0xc000_0080;
    pub(super) const STAR: u32 = 0xc000_0081;
    pub(super) const LSTAR: u32 = 0xc000_0082;
    pub(super) const CSTAR: u32 = 0xc000_0083;
    pub(super) const FMASK: u32 = 0xc000_0084;
    pub(super) const KERNEL_GS: u32 = 0xc000_0102;
}

/// Ends with a clear line when something is missing that guests or the hypervisor cannot do without.
pub fn require() {
    let [_, features7, ..] = cpuid(7, 0);
    let [_, _, features1, _] = cpuid(1, 0);
    let [.., extended] = cpuid(0x8000_0001, 0);
    let needs = [
        (features7 & 1 << 0 != 0, boot_text!("FSGSBASE is missing")),
        (features1 & 1 << 26 != 0, boot_text!("XSAVE is missing")),
        (extended & 1 << 20 != 0, boot_text!("no-execute is missing")),
        (extended & 1 << 11 != 0, boot_text!("SYSCALL is missing")),
    ];
    for (has, reason) in needs {
        if !has {
            refuse_machine(reason);
        }
    }
}

/// Switches this CPU's features on. On every CPU, on its own pages.
pub fn enable() {
    /// TF, IF, DF, NT, AC: cleared by `syscall`.
    const CLEARED_FLAGS: u64 = 1 << 8 | 1 << 9 | 1 << 10 | 1 << 14 | 1 << 18;
    let [_, features7_b, features7_c, _] = cpuid(7, 0);
    let optional = [
        (features7_b & 1 << 7 != 0, cr4::SMEP),
        (features7_b & 1 << 20 != 0, cr4::SMAP),
        (features7_c & 1 << 2 != 0, cr4::UMIP),
    ];
    let mut cr4 = cr4::PAE | cr4::MCE | cr4::OSFXSR | cr4::OSXMMEXCPT | cr4::FSGSBASE | cr4::OSXSAVE;
    for (has, flag) in optional {
        if has {
            cr4 |= flag;
        }
    }
    let star = u64::from(selector::KERNEL_DATA) << 48 | u64::from(selector::KERNEL_CODE) << 32;
    let entry = address_of!(pvops_system_call_entry);
    let compatibility_entry = address_of!(pvops_compatibility_entry);
    // SAFETY: only features that CPUID offers are set; the entries exist and are mapped in every root; the
    // selectors are those of `segments`. No breakpoint is armed in DR7.
    unsafe {
        let mut cr0: u64;
        asm!("mov {0}, cr0", out(reg) cr0, options(nomem, nostack));
        cr0 &= !(cr0::EMULATION | cr0::TASK_SWITCHED);
        cr0 |= cr0::MONITOR_COPROCESSOR | cr0::NUMERIC_ERROR | cr0::WRITE_PROTECT;
        asm!("mov cr0, {0}", in(reg) cr0, options(nostack));
        asm!("mov cr4, {0}", in(reg) cr4, options(nostack));
        asm!("mov dr7, {0}", in(reg) 0x400u64, options(nomem, nostack));
        write_msr(register::EFER, read_msr(register::EFER) | 1 | 1 << 11);
        write_msr(register::STAR, star);
        write_msr(register::LSTAR, entry);
        write_msr(register::CSTAR, compatibility_entry);
        write_msr(register::FMASK, CLEARED_FLAGS);
        write_msr(register::SYSENTER_CS, 0);
        write_msr(register::KERNEL_GS, 0);
    }
    let [low, ..] = cpuid(0xd, 0);
    // x87, SSE and, where there is, AVX.
    set_checked_xcr0(u64::from(low) & 0b111);
}
