//! Words for the numbers in records.

use pvops_abi::call::{self, Extension};
use pvops_abi::layout::PortKind;
use trace_records::vector;

use crate::abi::upper_case;

/// A call as the specification writes it: `MMU.FLUSH_PAGE`; or by its number.
pub fn call(id: u64) -> String {
    known_call(id).unwrap_or_else(|| format!("call {id:#x}"))
}

/// A call that the specification has.
pub fn known_call(id: u64) -> Option<String> {
    let number = id as u16;
    let extension = Extension::ALL.into_iter().find(|extension| *extension as u64 == id >> 16)?;
    let function = match extension {
        Extension::Base => call::Base::try_from(number).map(|function| format!("{function:?}")),
        Extension::Cpu => call::Cpu::try_from(number).map(|function| format!("{function:?}")),
        Extension::Event => call::Event::try_from(number).map(|function| format!("{function:?}")),
        Extension::Mmu => call::Mmu::try_from(number).map(|function| format!("{function:?}")),
        Extension::Time => call::Time::try_from(number).map(|function| format!("{function:?}")),
        Extension::Console => call::Console::try_from(number).map(|function| format!("{function:?}")),
        Extension::Sched => call::Sched::try_from(number).map(|function| format!("{function:?}")),
        _ => return None,
    };
    Some(format!("{}.{}", extension.name(), upper_case(&function.ok()?)))
}

/// An exception by its mnemonic (Intel SDM volume 3, table 6-1).
pub fn exception(vector: u64) -> String {
    const MNEMONICS: [&str; 22] = [
        "#DE", "#DB", "NMI", "#BP", "#OF", "#BR", "#UD", "#NM", "#DF", "9", "#TS", "#NP", "#SS", "#GP",
        "#PF", "15", "#MF", "#AC", "#MC", "#XM", "#VE", "#CP",
    ];
    match MNEMONICS.get(vector as usize) {
        Some(name) if name.starts_with('#') => (*name).into(),
        _ => format!("trap {vector}"),
    }
}

/// An interrupt of the hypervisor.
pub fn interrupt(number: u64) -> String {
    match u8::try_from(number) {
        Ok(vector::TIMER) => "timer".into(),
        Ok(vector::KICK) => "kick".into(),
        Ok(line @ vector::LINES..vector::TIMER) => format!("line {}", line - vector::LINES),
        _ => format!("interrupt {number:#x}"),
    }
}

/// What a port is bound to.
pub fn port(binding: u64) -> String {
    let argument = binding & 0xffff_ffff;
    let kind = (binding >> 32).checked_sub(1).map(PortKind::try_from);
    match kind {
        Some(Ok(PortKind::Timer)) => "timer".into(),
        Some(Ok(PortKind::Console)) => "console".into(),
        Some(Ok(PortKind::Ipi)) => "IPI".into(),
        Some(Ok(PortKind::Device)) => format!("device {argument}"),
        Some(Ok(PortKind::Doorbell)) => format!("doorbell {argument}"),
        _ => "unknown".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_the_specifications_names() {
        assert_eq!(call(call::Mmu::FlushPage.id().0), "MMU.FLUSH_PAGE");
        assert_eq!(call(call::Sched::Block.id().0), "SCHED.BLOCK");
        assert_eq!(call(0x8_0000), "call 0x80000");
        assert!([0, 0x8_0000, 0x1_00ff, u64::MAX].into_iter().all(|id| known_call(id).is_none()));
        assert_eq!(call(0x1_00ff), "call 0x100ff");
        assert_eq!(call(u64::MAX), "call 0xffffffffffffffff");
        assert_eq!(
            (exception(14), exception(2), exception(99)),
            ("#PF".into(), "trap 2".into(), "trap 99".into())
        );
        assert_eq!((interrupt(0xf0), interrupt(0xe4)), ("timer".into(), "line 4".into()));
        assert_eq!(interrupt(0x1ff), "interrupt 0x1ff");
        assert_eq!(
            (port(1 << 32), port(5 << 32 | 2), port(0)),
            ("timer".into(), "doorbell 2".into(), "unknown".into())
        );
    }
}
