//! The calls of CPU that register something or tell about the processor. They are rare; `CPU.IRET` is in
//! [`super::frames`].

use crate::arch::x86_64::registered::{Area, TrapTable};
use crate::arch::x86_64::{cpu, time};
use crate::domain::Domain;
use crate::domain::vcpu::Vcpu;
use crate::mmu::is_reserved;
use pvops_abi::call::SegmentBase;
use pvops_abi::error::Error;
use pvops_abi::layout::CpuidResult;

pub(super) fn register_area(domain: &Domain, vcpu: &Vcpu, address: u64) -> Result<u64, Error> {
    let area = Area::at(&domain.memory, address)?;
    let (counter, multiplier) = time::parameters();
    area.set_vcpu(vcpu.number);
    area.set_time_ns(0);
    area.set_time_tsc(counter);
    area.set_time_mul(multiplier + if mutant!(ClocksDiffer) { multiplier / 16 } else { 0 });
    if mutant!(AreaOverwritten) {
        area.set_kernel_stack(0);
    }
    area.end_time_update();
    area.set_hidden_faults(vcpu.hidden_faults.get());
    if vcpu.area.get().is_some() && !mutant!(AreaForgetsEvents) {
        // What was marked in the old area is looked for again.
        area.mark_all_pending();
    }
    vcpu.set_area(Some(area));
    vcpu.note_registrations(domain);
    Ok(0)
}

pub(super) fn set_trap_table(domain: &Domain, vcpu: &Vcpu, address: u64, count: u64) -> Result<u64, Error> {
    if !(32..=256).contains(&count) {
        return Err(Error::InvalidArgument);
    }
    vcpu.trap_table.set(TrapTable::at(&domain.memory, address, count)?);
    vcpu.note_registrations(domain);
    Ok(0)
}

/// Whether `address` can be an entry or stack of the guest: 0 (none), or canonical and not the hypervisor's.
#[inline(never)]
fn check_virtual(address: u64) -> Result<(), Error> {
    if cpu::is_canonical(address) && !is_reserved(address) { Ok(()) } else { Err(Error::InvalidArgument) }
}

pub(super) fn set_entries(domain: &Domain, vcpu: &Vcpu, event: u64, system_call: u64) -> Result<u64, Error> {
    check_virtual(event)?;
    if mutant!(EntriesByHalves) {
        vcpu.event_entry.set(event);
    }
    check_virtual(system_call)?;
    vcpu.event_entry.set(event);
    vcpu.system_call_entry.set(system_call);
    vcpu.note_registrations(domain);
    Ok(0)
}

pub(super) fn set_double_fault_stack(vcpu: &Vcpu, top: u64) -> Result<u64, Error> {
    check_virtual(top)?;
    if top & 15 != 0 {
        return Err(Error::InvalidArgument);
    }
    vcpu.double_fault_stack.set(top);
    Ok(0)
}

pub(super) fn set_segment_base(vcpu: &Vcpu, which: u64, base: u64) -> Result<u64, Error> {
    const FS: u64 = SegmentBase::Fs as u64;
    const KERNEL_GS: u64 = SegmentBase::KernelGs as u64;
    const USER_GS: u64 = SegmentBase::UserGs as u64;
    if !cpu::is_canonical(base) {
        return Err(Error::InvalidArgument);
    }
    match which {
        FS => cpu::set_guest_fs(base),
        KERNEL_GS => {
            cpu::set_guest_gs(base);
            if let Some(area) = vcpu.area.get() {
                area.set_kernel_gs_base(base);
            }
        }
        USER_GS => vcpu.area.get().ok_or(Error::WrongState)?.set_user_gs_base(base),
        _ => return Err(Error::InvalidArgument),
    }
    Ok(0)
}

/// CPUID as guests should see it: what they cannot use is masked. The instruction itself does not trap; this is the
/// answer to rely on.
pub(super) fn store_cpuid(domain: &Domain, leaf: u64, subleaf: u64, address: u64) -> Result<u64, Error> {
    if (leaf | subleaf) >> 32 != 0 {
        return Err(Error::InvalidArgument);
    }
    let (leaf, subleaf) = (leaf as u32, subleaf as u32);
    let [mut eax, mut ebx, mut ecx, mut edx] = cpu::cpuid(leaf, subleaf);
    match leaf {
        // Absent: MONITOR, VMX, SMX, PDCM, PCID, x2APIC, TSC deadline; MCE, APIC, MTRR, MCA.
        1 if !mutant!(CpuidShowsAll) => {
            ecx &= !(1 << 3 | 1 << 5 | 1 << 6 | 1 << 15 | 1 << 17 | 1 << 21 | 1 << 24);
            edx &= !(1 << 7 | 1 << 9 | 1 << 12 | 1 << 14);
        }
        // Present of the structured features: FSGSBASE, BMI1, AVX2, BMI2, ERMS, RDSEED, ADX, CLFLUSHOPT, CLWB, SHA;
        // RDPID, GFNI, VAES, VPCLMULQDQ; fast short moves. What comes with state of its own needs XCR0 bits that
        // cannot be set here.
        7 if subleaf == 0 => {
            ebx &=
                1 << 0 | 1 << 3 | 1 << 5 | 1 << 8 | 1 << 9 | 1 << 18 | 1 << 19 | 1 << 23 | 1 << 24 | 1 << 29;
            ecx &= 1 << 8 | 1 << 9 | 1 << 10 | 1 << 22;
            edx &= 1 << 4;
        }
        7 => (eax, ebx, ecx, edx) = (0, 0, 0, 0),
        // Of extended state only what SET_XCR0 accepts; no XSAVES.
        0xd if subleaf == 0 => (eax, edx) = (eax & POSSIBLE_STATE as u32, 0),
        0xd if subleaf == 1 => (eax, ebx, ecx, edx) = (eax & 0b111, 0, 0, 0),
        0xd if subleaf > 2 => (eax, ebx, ecx, edx) = (0, 0, 0, 0),
        // Absent: SVM.
        0x8000_0001 => ecx &= !(1 << 2),
        _ => {}
    }
    domain.memory.store(address, CpuidResult { eax, ebx, ecx, edx })?;
    Ok(0)
}

/// x87, SSE, AVX: the extended state that guests may use.
const POSSIBLE_STATE: u64 = 0b111;

pub(super) fn set_xcr0(value: u64) -> Result<u64, Error> {
    let [low, _, _, high] = cpu::cpuid(0xd, 0);
    let offered = (u64::from(high) << 32 | u64::from(low)) & POSSIBLE_STATE;
    let is_valid = value & 1 != 0 && value & !offered == 0 && (value & 4 == 0 || value & 2 != 0);
    if !is_valid {
        return Err(Error::InvalidArgument);
    }
    cpu::set_checked_xcr0(value);
    Ok(0)
}
