//! What the call sites become in a guest: loads and stores of the vCPU area where that is all there is to do, else a
//! direct call of a stub.

use super::irq::{ENABLED, PENDING};
use super::stubs;
use crate::layout::VcpuArea;
use crate::layout::vcpu_area::VCPU_AREA_VERSION;
use crate::ops::cpu::CpuBlock;
use crate::patch::{Code, ENABLED_BITS, Operation};
use core::mem::offset_of;

const ENABLED_OFFSET: [u8; 4] = (ENABLED as u32).to_le_bytes();
const PENDING_OFFSET: [u8; 4] = (PENDING as u32).to_le_bytes();
const WORD_OFFSET: [u8; 4] = (offset_of!(VcpuArea, version) as u32).to_le_bytes();

/// `mov byte ptr gs:[enabled], value`.
const fn then_store(code: Code, value: u8) -> Code {
    code.then(&[0x65, 0xc6, 0x04, 0x25]).then(&ENABLED_OFFSET).then(&[value])
}

const DISABLE: Code = then_store(Code::NOTHING, 0).for_site(Operation::IrqDisable);
/// The store, then `cmp byte ptr gs:[pending], 0; je end; call deliver`.
const ENABLE: Code = then_store(Code::NOTHING, 1)
    .then(&[0x65, 0x80, 0x3c, 0x25])
    .then(&PENDING_OFFSET)
    .then(&[0, 0x74, 5])
    .then_call()
    .for_site(Operation::IrqEnable);
/// `mov eax, gs:[word]`: the flag is bit 16, the version below it has no bit that counts.
const ARE_ENABLED: Code =
    Code::new(&[0x65, 0x8b, 0x04, 0x25]).then(&WORD_OFFSET).for_site(Operation::IrqAreEnabled);
const _: () = assert!(ENABLED == offset_of!(VcpuArea, version) + 2);
const _: () = assert!(ENABLED_BITS & 0xffff & VCPU_AREA_VERSION as u64 == 0);
/// `pause`.
const SPIN_HINT: Code = Code::new(&[0xf3, 0x90]).for_site(Operation::CpuSpinHint);

const CALL: Code = Code::NOTHING.then_call();

pub(super) fn irq(operation: Operation) -> Option<Code> {
    match operation {
        Operation::IrqDisable => Some(DISABLE),
        Operation::IrqEnable => Some(ENABLE.to(stubs::deliver as *const ())),
        Operation::IrqSaveAndDisable => Some(CALL.to(stubs::save_and_disable as *const ())),
        Operation::IrqRestore => Some(CALL.to(stubs::restore as *const ())),
        Operation::IrqAreEnabled => Some(ARE_ENABLED),
        Operation::IrqEnableAndWait => Some(CALL.to(stubs::block as *const ())),
        _ => None,
    }
}

pub(super) fn cpu(operation: Operation) -> Option<Code> {
    match operation {
        Operation::CpuCurrent => Some(CpuBlock::CODE_OF_CURRENT),
        Operation::CpuBlock => Some(CpuBlock::CODE_OF_BLOCK),
        Operation::CpuSpinHint => Some(SPIN_HINT),
        // The hypervisor lets the kernel view reach all user pages.
        Operation::CpuUserAccessBegin | Operation::CpuUserAccessEnd => Some(Code::NOTHING),
        _ => None,
    }
}

pub(super) fn mmu(operation: Operation) -> Option<Code> {
    match operation {
        Operation::MmuLoadRoot => Some(CALL.to(stubs::load_root as *const ())),
        Operation::MmuFlushPage => Some(CALL.to(stubs::flush_page as *const ())),
        _ => None,
    }
}

pub(super) fn time(operation: Operation) -> Option<Code> {
    (operation == Operation::TimeNow).then(|| CALL.to(stubs::now_ns as *const ()))
}
