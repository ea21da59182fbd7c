//! What this CPU has, and the control registers that turn it on.
//!
//! Nothing here is required of a CPU: each feature is enabled only when CPUID reports it, never by trying.

use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use pvops_abi::ops::cpu::FpuInfo;
use raw_cpuid::{CpuId, CpuIdReader, CpuIdReaderNative};
use spin::Once;
use x86_64::registers::control::{Cr0, Cr0Flags, Cr4, Cr4Flags, Efer, EferFlags};
use x86_64::registers::debug::{Dr7, Dr7Value};
use x86_64::registers::xcontrol::{XCr0, XCr0Flags};

/// What the library uses of this CPU.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Features {
    pub(crate) smep: bool,
    pub(crate) smap: bool,
    pub(crate) umip: bool,
    pub(crate) fsgsbase: bool,
    pub(crate) xsave: bool,
    pub(crate) pcid: bool,
    pub(crate) no_execute: bool,
    pub(crate) pages_1g: bool,
    pub(crate) x2apic: bool,
    pub(crate) tsc_deadline: bool,
}

static FEATURES: Once<Features> = Once::new();
/// XCR0 as this backend sets it; 0: there is none.
static COMPONENTS: AtomicU64 = AtomicU64::new(0);
/// Read by the entry stubs: `clac` exists. A word of its own because a stub cannot look into a `Once`.
pub(super) static HAS_SMAP: AtomicBool = AtomicBool::new(false);

/// The features of the boot CPU; all CPUs of a machine are taken to be alike.
pub(crate) fn features() -> &'static Features {
    FEATURES.call_once(read)
}

fn read() -> Features {
    let cpuid = CpuId::with_cpuid_reader(CpuIdReaderNative);
    let basic = cpuid.get_feature_info();
    let extended = cpuid.get_extended_feature_info();
    let amd = cpuid.get_extended_processor_and_feature_identifiers();
    let is_set = |bit: Option<bool>| bit.unwrap_or(false);
    Features {
        smep: is_set(extended.as_ref().map(|info| info.has_smep())),
        smap: is_set(extended.as_ref().map(|info| info.has_smap())),
        umip: is_set(extended.as_ref().map(|info| info.has_umip())),
        fsgsbase: is_set(extended.as_ref().map(|info| info.has_fsgsbase())),
        xsave: is_set(basic.as_ref().map(|info| info.has_xsave())),
        pcid: is_set(basic.as_ref().map(|info| info.has_pcid())),
        no_execute: is_set(amd.as_ref().map(|info| info.has_execute_disable())),
        pages_1g: is_set(amd.as_ref().map(|info| info.has_1gib_pages())),
        x2apic: is_set(basic.as_ref().map(|info| info.has_x2apic())),
        tsc_deadline: is_set(basic.as_ref().map(|info| info.has_tsc_deadline())),
    }
}

/// Whether the local APIC has its x2APIC mode.
pub(crate) fn has_x2apic() -> bool {
    features().x2apic
}

/// Whether the local APIC's timer can compare with the time-stamp counter.
pub(crate) fn has_tsc_deadline() -> bool {
    features().tsc_deadline
}

/// Whether supervisor accesses to user pages are refused.
pub(crate) fn has_smap() -> bool {
    HAS_SMAP.load(Ordering::Relaxed)
}

/// Turns on, on the calling CPU, what it has. May be called again.
pub(crate) fn enable() {
    let features = features();
    enable_cr0();
    enable_efer(features);
    enable_cr4(features);
    if features.xsave {
        enable_xcr0();
    }
    // No breakpoint of firmware's may fire: a #DB behind MOV SS would hit the system-call entry.
    Dr7::write(Dr7Value::from_bits_truncate(0));
    HAS_SMAP.store(features.smap, Ordering::Relaxed);
}

fn enable_cr0() {
    // SAFETY: write protection is what the kernel's tables are made for; the FPU is on, its errors native.
    unsafe {
        Cr0::update(|flags| {
            flags.insert(Cr0Flags::WRITE_PROTECT | Cr0Flags::NUMERIC_ERROR | Cr0Flags::MONITOR_COPROCESSOR);
            flags.remove(Cr0Flags::EMULATE_COPROCESSOR | Cr0Flags::TASK_SWITCHED);
        });
    }
}

fn enable_efer(features: &Features) {
    // SAFETY: long-mode CPUs have SYSCALL; NXE only where CPUID reports it.
    unsafe {
        Efer::update(|flags| {
            flags.insert(EferFlags::SYSTEM_CALL_EXTENSIONS);
            flags.set(EferFlags::NO_EXECUTE_ENABLE, features.no_execute);
        });
    }
}

fn enable_cr4(features: &Features) {
    let wanted = [
        (true, Cr4Flags::PAGE_GLOBAL | Cr4Flags::OSFXSR | Cr4Flags::OSXMMEXCPT_ENABLE),
        (features.smep, Cr4Flags::SUPERVISOR_MODE_EXECUTION_PROTECTION),
        (features.smap, Cr4Flags::SUPERVISOR_MODE_ACCESS_PREVENTION),
        (features.umip, Cr4Flags::USER_MODE_INSTRUCTION_PREVENTION),
        (features.fsgsbase, Cr4Flags::FSGSBASE),
        (features.xsave, Cr4Flags::OSXSAVE),
        // The boot tables' root has PCID 0, as setting this demands (Intel SDM volume 3, 4.10.1).
        (features.pcid, Cr4Flags::PCID),
    ];
    // SAFETY: each bit only where CPUID reports it; the boot tables have no user pages for SMEP and SMAP.
    unsafe {
        Cr4::update(|flags| {
            for (present, bits) in wanted {
                flags.set(bits, present);
            }
            // Debugging extensions and performance counters stay firmware's; user mode may read the time.
            flags.remove(Cr4Flags::TIMESTAMP_DISABLE);
        });
    }
}

/// Enables x87, SSE and AVX: eager switching saves what XCR0 names, so nothing is in it that few use.
fn enable_xcr0() {
    const STATE: u32 = 0xd;
    let supported = CpuIdReaderNative.cpuid2(STATE, 0);
    let mut components = XCr0Flags::X87 | XCr0Flags::SSE;
    components.set(XCr0Flags::AVX, u64::from(supported.eax) & XCr0Flags::AVX.bits() != 0);
    // SAFETY: CR4.OSXSAVE is set, and the components are ones that the CPU supports.
    unsafe { XCr0::write(components) };
    COMPONENTS.store(components.bits(), Ordering::Relaxed);
}

/// Size and components of the extended state.
pub(crate) fn fpu() -> FpuInfo {
    const STATE: u32 = 0xd;
    const FXSAVE_BYTES: usize = 512;
    match COMPONENTS.load(Ordering::Relaxed) {
        0 => FpuInfo { area_bytes: FXSAVE_BYTES, components: 0 },
        // EBX: bytes for what XCR0 enables now (Intel SDM volume 2, CPUID).
        components => FpuInfo { area_bytes: CpuIdReaderNative.cpuid2(STATE, 0).ebx as usize, components },
    }
}
