//! What the call sites become on the bare machine: the instructions themselves.

use pvops_abi::ops::cpu::CpuBlock;
use pvops_abi::patch::{Code, Operation};

use crate::clock;
use crate::cpu::features::features;

/// `cli`.
const DISABLE: Code = Code::new(&[0xfa]).for_site(Operation::IrqDisable);
/// `sti`. It holds interrupts back for one instruction more (Intel SDM volume 2, STI); the padding is that one.
const ENABLE: Code = Code::new(&[0xfb]).for_site(Operation::IrqEnable);
/// `pushfq; pop r11; cli`, the first with a REX prefix that means nothing, for a site without NOPs.
const SAVE_AND_DISABLE: Code =
    Code::new(&[0x48, 0x9c, 0x41, 0x5b, 0xfa]).for_site(Operation::IrqSaveAndDisable);
/// `push r11; popfq`, in the long forms, likewise. Goes back to either state without a branch. On today's CPUs
/// `test; jz; sti` takes fewer cycles, but cannot go back to a disabled state.
const RESTORE: Code = Code::new(&[0x41, 0xff, 0xf3, 0x48, 0x9d]).for_site(Operation::IrqRestore);
/// `pushfq; pop rax`.
const ARE_ENABLED: Code = Code::new(&[0x9c, 0x58]).for_site(Operation::IrqAreEnabled);
/// `sti; hlt` side by side: nothing can be taken between the two.
const ENABLE_AND_WAIT: Code = Code::new(&[0xfb, 0xf4]).for_site(Operation::IrqEnableAndWait);
/// `pause`.
const SPIN_HINT: Code = Code::new(&[0xf3, 0x90]).for_site(Operation::CpuSpinHint);
/// `stac`.
const USER_ACCESS_BEGIN: Code = Code::new(&[0x0f, 0x01, 0xcb]).for_site(Operation::CpuUserAccessBegin);
/// `clac`.
const USER_ACCESS_END: Code = Code::new(&[0x0f, 0x01, 0xca]).for_site(Operation::CpuUserAccessEnd);
/// `mov cr3, rdi`.
const LOAD_ROOT: Code = Code::new(&[0x0f, 0x22, 0xdf]).for_site(Operation::MmuLoadRoot);
/// `invlpg [rdi]`.
const FLUSH_PAGE: Code = Code::new(&[0x0f, 0x01, 0x3f]).for_site(Operation::MmuFlushPage);
/// `lfence; rdtsc; shl rdx, 32; or rax, rdx; sub rax, [rip + start]; mul qword ptr [rip + scale]; shrd rax, rdx, 32`.
const NOW_NS: Code =
    Code::new(&[0x0f, 0xae, 0xe8, 0x0f, 0x31, 0x48, 0xc1, 0xe2, 32, 0x48, 0x09, 0xd0, 0x48, 0x2b, 0x05])
        .then_reference()
        .then(&[0x48, 0xf7, 0x25])
        .then_reference()
        .then(&[0x48, 0x0f, 0xac, 0xd0, 32])
        .for_site(Operation::TimeNow);

pub(crate) fn irq(operation: Operation) -> Option<Code> {
    match operation {
        Operation::IrqDisable => Some(DISABLE),
        Operation::IrqEnable => Some(ENABLE),
        Operation::IrqSaveAndDisable => Some(SAVE_AND_DISABLE),
        Operation::IrqRestore => Some(RESTORE),
        Operation::IrqAreEnabled => Some(ARE_ENABLED),
        Operation::IrqEnableAndWait => Some(ENABLE_AND_WAIT),
        _ => None,
    }
}

pub(crate) fn cpu(operation: Operation) -> Option<Code> {
    let with_smap = |code| if features().smap { code } else { Code::NOTHING };
    match operation {
        Operation::CpuCurrent => Some(CpuBlock::CODE_OF_CURRENT),
        Operation::CpuBlock => Some(CpuBlock::CODE_OF_BLOCK),
        Operation::CpuSpinHint => Some(SPIN_HINT),
        Operation::CpuUserAccessBegin => Some(with_smap(USER_ACCESS_BEGIN)),
        Operation::CpuUserAccessEnd => Some(with_smap(USER_ACCESS_END)),
        _ => None,
    }
}

/// With PCIDs each needs some bookkeeping, which is left to the methods.
pub(crate) fn mmu(operation: Operation) -> Option<Code> {
    match operation {
        _ if features().pcid => None,
        Operation::MmuLoadRoot => Some(LOAD_ROOT),
        // The only CPU that runs.
        Operation::MmuFlushPage => Some(FLUSH_PAGE),
        _ => None,
    }
}

pub(crate) fn time(operation: Operation) -> Option<Code> {
    let [start, scale] = clock::words();
    (operation == Operation::TimeNow).then(|| NOW_NS.to(start).to(scale))
}
