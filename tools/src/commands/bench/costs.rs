//! The cost vector: what an operation does beyond executing instructions, counted in what was executed.
//!
//! An `iretq` is one instruction here and costs ten times a `sysret` on real processors, so the counts stand beside the
//! number of instructions and are not weighed.

use iced_x86::{Decoder, DecoderOptions, FlowControl, Instruction, Mnemonic, OpKind, Register};
use serde::{Deserialize, Serialize};

use super::record::Step;

/// See the module.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Costs {
    /// Entries by `syscall`.
    pub syscall: u32,
    /// Exits by `sysret`.
    pub sysret: u32,
    /// Entries by exceptions and interrupts.
    pub interrupt: u32,
    /// Exits by `iretq`.
    pub iret: u32,
    /// Loads of CR3.
    pub cr3: u32,
    /// `invlpg`.
    pub invlpg: u32,
    /// `wrmsr`.
    pub wrmsr: u32,
    /// Accesses to devices, the local APIC among them.
    pub device: u32,
}

/// The instruction of a step.
pub fn decode(step: &Step) -> Instruction {
    Decoder::with_ip(64, &step.bytes, step.address, DecoderOptions::NONE).decode()
}

/// Whether an exception or interrupt came between two steps: the second is not where the first leads.
pub fn is_interrupted(step: &Step, next: &Step) -> bool {
    let instruction = decode(step);
    let repeats = next.address == step.address && instruction.has_rep_prefix();
    let leads_there = match instruction.flow_control() {
        FlowControl::Next => next.address == step.next() || repeats,
        FlowControl::ConditionalBranch => {
            [step.next(), instruction.near_branch_target()].contains(&next.address)
        }
        FlowControl::UnconditionalBranch | FlowControl::Call
            if instruction.is_jmp_short_or_near() || instruction.is_call_near() =>
        {
            next.address == instruction.near_branch_target()
        }
        // Where `syscall`, which iced calls a call, and returns lead is not in the instruction.
        FlowControl::Exception | FlowControl::Interrupt => false,
        _ => true,
    };
    !leads_there
}

impl Costs {
    /// Of these steps, and of an interrupt before them.
    pub fn of(steps: &[Step], arrived_by_interrupt: bool) -> Self {
        let mut costs = Self { interrupt: arrived_by_interrupt.into(), ..Self::default() };
        steps.iter().for_each(|step| costs.add(step));
        costs.interrupt += steps.iter().filter(|step| step.interrupted).count() as u32;
        costs
    }

    fn add(&mut self, step: &Step) {
        let instruction = decode(step);
        let one = match instruction.mnemonic() {
            Mnemonic::Syscall => &mut self.syscall,
            Mnemonic::Sysretq | Mnemonic::Sysret => &mut self.sysret,
            Mnemonic::Iretq => &mut self.iret,
            Mnemonic::Invlpg => &mut self.invlpg,
            Mnemonic::Wrmsr => &mut self.wrmsr,
            Mnemonic::Mov
                if instruction.op0_kind() == OpKind::Register
                    && instruction.op0_register() == Register::CR3 =>
            {
                &mut self.cr3
            }
            Mnemonic::In | Mnemonic::Out => &mut self.device,
            _ if step.device => &mut self.device,
            _ => return,
        };
        *one += 1;
    }

    /// All counts, with short names.
    pub fn named(&self) -> [(&'static str, u32); 8] {
        [
            ("syscall", self.syscall),
            ("sysret", self.sysret),
            ("int", self.interrupt),
            ("iret", self.iret),
            ("cr3", self.cr3),
            ("invlpg", self.invlpg),
            ("msr", self.wrmsr),
            ("dev", self.device),
        ]
    }

    /// The counts that are not zero, for a line.
    pub fn words(&self) -> String {
        let word = |(name, count): (&str, u32)| match count {
            0 => None,
            1 => Some(name.to_owned()),
            count => Some(format!("{count} {name}")),
        };
        self.named().into_iter().filter_map(word).collect::<Vec<_>>().join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(address: u64, bytes: &[u8]) -> Step {
        Step { address, bytes: bytes.into(), device: false, interrupted: false }
    }

    #[test]
    fn crossings_and_privileged_work_are_counted() {
        let steps = [
            step(0x10, &[0x0f, 0x05]),        // syscall
            step(0x100, &[0x0f, 0x22, 0xd8]), // mov cr3, rax
            step(0x103, &[0x0f, 0x20, 0xd8]), // mov rax, cr3
            step(0x106, &[0x0f, 0x01, 0x38]), // invlpg [rax]
            step(0x109, &[0x0f, 0x30]),       // wrmsr
            Step { device: true, ..step(0x10b, &[0x89, 0x07]) },
            step(0x10d, &[0xee]),                                    // out
            step(0x10e, &[0x48, 0x0f, 0x07]),                        // sysretq
            Step { interrupted: true, ..step(0x12, &[0x0f, 0x0b]) }, // ud2
            step(0x200, &[0x48, 0xcf]),                              // iretq
        ];
        let costs = Costs::of(&steps, false);
        let expected =
            Costs { syscall: 1, sysret: 1, interrupt: 1, iret: 1, cr3: 1, invlpg: 1, wrmsr: 1, device: 2 };
        assert_eq!(costs, expected);
        assert_eq!(costs.words(), "syscall, sysret, int, iret, cr3, invlpg, msr, 2 dev");
    }

    #[test]
    fn jumps_are_no_interrupts() {
        let goes = |bytes: &[u8], to: u64| !is_interrupted(&step(0x10, bytes), &step(to, &[0x90]));
        assert!(goes(&[0x90], 0x11) && !goes(&[0x90], 0x12));
        assert!(goes(&[0x74, 0x10], 0x12) && goes(&[0x74, 0x10], 0x22) && !goes(&[0x74, 0x10], 0x13)); // je
        assert!(goes(&[0xeb, 0x10], 0x22) && !goes(&[0xeb, 0x10], 0x12)); // jmp
        assert!(goes(&[0xe8, 0, 1, 0, 0], 0x115) && !goes(&[0xe8, 0, 1, 0, 0], 0x15)); // call
        assert!(goes(&[0xff, 0xd0], 0x500) && goes(&[0xc3], 0x500)); // call rax, ret
        assert!(goes(&[0xf3, 0x48, 0xa5], 0x10) && goes(&[0xf3, 0x48, 0xa5], 0x13)); // rep movsq
        assert!(!goes(&[0x48, 0xa5], 0x10)); // movsq
        assert!(goes(&[0x0f, 0x05], 0x500)); // syscall
    }
}
