//! Control registers, model-specific registers and the instructions that guests cannot execute.

use core::arch::asm;
use core::arch::x86_64::{__cpuid_count, _rdtsc};

// Not by a crate's function, which would let its instruction use the stack: whoever calls it would align that first.

/// Reads a model-specific register that exists on every CPU this runs on.
#[must_use]
pub fn read_msr(register: u32) -> u64 {
    let (low, high): (u32, u32);
    // SAFETY: callers name architectural registers of 64-bit CPUs (or probed ones); reading has no side effect.
    unsafe {
        asm!("rdmsr", in("ecx") register, out("eax") low, out("edx") high, options(nostack, preserves_flags));
    }
    u64::from(high) << 32 | u64::from(low)
}

/// Writes a model-specific register.
///
/// # Safety
/// `value` is valid for `register` and the change is sound for the code that runs after it.
pub unsafe fn write_msr(register: u32, value: u64) {
    let (low, high) = (value as u32, (value >> 32) as u32);
    // SAFETY: the caller's contract.
    unsafe {
        asm!("wrmsr", in("ecx") register, in("eax") low, in("edx") high, options(nostack, preserves_flags));
    }
}

/// CPUID.
#[must_use]
pub fn cpuid(leaf: u32, subleaf: u32) -> [u32; 4] {
    let result = __cpuid_count(leaf, subleaf);
    [result.eax, result.ebx, result.ecx, result.edx]
}

/// Whether 1 GiB pages can be mapped.
#[must_use]
pub fn has_giant_pages() -> bool {
    cpuid(0x8000_0001, 0)[3] & 1 << 26 != 0
}

/// The time-stamp counter.
#[must_use]
pub fn timestamp() -> u64 {
    // SAFETY: no side effects; CR4.TSD is clear.
    unsafe { _rdtsc() }
}

/// The address whose access caused the last page fault.
#[must_use]
pub fn fault_address() -> u64 {
    let address;
    // SAFETY: reading CR2 has no side effects.
    unsafe { asm!("mov {0}, cr2", out(reg) address, options(nomem, nostack, preserves_flags)) };
    address
}

/// The root that is loaded.
#[must_use]
pub fn root() -> u64 {
    let root;
    // SAFETY: reading CR3 has no side effects.
    unsafe { asm!("mov {0}, cr3", out(reg) root, options(nomem, nostack, preserves_flags)) };
    root
}

/// Loads a root, which drops all cached translations (no leaf is global).
///
/// # Safety
/// `root` maps the hypervisor's slots as every root does.
pub unsafe fn load_root(root: u64) {
    // SAFETY: the caller's contract.
    unsafe { asm!("mov cr3, {0}", in(reg) root, options(nostack, preserves_flags)) };
}

/// Drops the cached translation of one page in the loaded root.
pub fn flush_page(address: u64) {
    // SAFETY: dropping a cached translation is always sound.
    unsafe { asm!("invlpg [{0}]", in(reg) address, options(nostack, preserves_flags)) };
}

/// Has the processor look at G in leaves, on this CPU: for a mutant that leaves it there.
#[cfg(feature = "mutants")]
pub fn enable_global_pages() {
    const GLOBAL_PAGES: u64 = 1 << 7;
    // SAFETY: no leaf of the hypervisor's carries G, so nothing changes for it.
    unsafe {
        asm!("mov {0}, cr4", "or {0}, {bit}", "mov cr4, {0}", out(reg) _, bit = const GLOBAL_PAGES, options(nostack));
    }
}

/// Waits for an interrupt with interrupts enabled, then disables them again. The pair `sti; hlt` is atomic:
/// an interrupt that was pending is taken after `hlt` began (Intel SDM volume 2, STI).
pub fn wait_for_interrupt() {
    // SAFETY: called on this CPU's stack with nothing held; the handlers return here.
    unsafe { asm!("sti", "hlt", "cli", options(nostack)) };
}

/// Takes the interrupts that are pending, with nothing held.
pub fn take_interrupts() {
    // SAFETY: as in `wait_for_interrupt`; the `nop` ends the shadow of `sti`.
    unsafe { asm!("sti", "nop", "cli", options(nostack)) };
}

/// Stops this CPU for good.
pub fn halt_forever() -> ! {
    loop {
        // SAFETY: nothing runs on this CPU any more.
        unsafe { asm!("cli", "hlt", options(nomem, nostack)) };
    }
}

/// The GS base, which is the guest's.
#[must_use]
pub fn guest_gs() -> u64 {
    let base;
    // SAFETY: boot enabled FSGSBASE and the hypervisor itself does not use GS.
    unsafe { asm!("rdgsbase {0}", out(reg) base, options(nomem, nostack, preserves_flags)) };
    base
}

/// The FS base, which is the guest's.
#[must_use]
pub fn guest_fs() -> u64 {
    let base;
    // SAFETY: as in `guest_gs`; the hypervisor does not use FS either.
    unsafe { asm!("rdfsbase {0}", out(reg) base, options(nomem, nostack, preserves_flags)) };
    base
}

/// Sets the guest's GS base; one that is not canonical, which the instruction would refuse, becomes 0.
pub fn set_guest_gs(base: u64) {
    let base = canonical_or_zero(base);
    // SAFETY: as in `guest_gs`; `base` is canonical.
    unsafe { asm!("wrgsbase {0}", in(reg) base, options(nomem, nostack, preserves_flags)) };
}

/// Sets the guest's FS base; as [`set_guest_gs`].
pub fn set_guest_fs(base: u64) {
    let base = canonical_or_zero(base);
    // SAFETY: as in `set_guest_gs`.
    unsafe { asm!("wrfsbase {0}", in(reg) base, options(nomem, nostack, preserves_flags)) };
}

/// Whether bits 63..47 of `address` are equal.
#[must_use]
pub const fn is_canonical(address: u64) -> bool {
    ((address as i64) << 16 >> 16) as u64 == address
}

const fn canonical_or_zero(address: u64) -> u64 {
    if is_canonical(address) { address } else { 0 }
}

/// XCR0.
#[must_use]
pub fn xcr0() -> u64 {
    let (low, high): (u32, u32);
    // SAFETY: boot set OSXSAVE; reading has no side effects.
    unsafe { asm!("xgetbv", in("ecx") 0, out("eax") low, out("edx") high, options(nomem, nostack)) };
    u64::from(high) << 32 | u64::from(low)
}

/// Sets XCR0 to `value`, which the caller has checked against CPUID leaf 0xd.
pub fn set_checked_xcr0(value: u64) {
    // SAFETY: an invalid value raises #GP here, in the hypervisor, and touches no memory; callers check. The
    // hypervisor itself uses no extended state.
    unsafe {
        asm!("xsetbv", in("ecx") 0, in("eax") value as u32, in("edx") (value >> 32) as u32, options(nostack));
    }
}

/// Puts x87, SSE and AVX registers into their initial state, so that nothing from before reaches a guest.
pub fn initialize_extended_state() {
    /// Legacy area and header; a header of zeros means "initial" for every component (Intel SDM volume 1, 13.8).
    #[repr(C, align(64))]
    struct Area([u32; 144]);
    const MXCSR: usize = 24 / 4;
    let mut area = Area([0; 144]);
    area.0[MXCSR] = 0x1f80;
    // SAFETY: the area has the format, MXCSR a valid value, and XCR0 was set; the hypervisor uses no such register.
    unsafe {
        asm!("xrstor64 [{0}]", in(reg) &raw const area, in("eax") u32::MAX, in("edx") u32::MAX, options(nostack));
    }
}
