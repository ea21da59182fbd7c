//! Guests that use their tables as guests do, judged by the model of a TLB in `hypervisor::mmu::miniature`.

use crate::Outcome;
use hypervisor::mmu::miniature::Random;
use hypervisor::mmu::miniature::model::Model;

const GIB: u64 = 1 << 30;
/// Operations between two audits.
const STEPS: usize = 16;

/// The first byte chooses the machine, all others are the guest's choices.
pub fn run(input: &[u8]) -> Outcome {
    let Some((machine, choices)) = input.split_first() else { return 0 };
    // Where the guest's memory is aligned otherwise in the host, large pages fall to pieces.
    let host = 8 * GIB + u64::from(machine >> 4) * (2 << 20);
    let tables = [8, 10, 16, 24, 48, 96, 128, 255][usize::from(machine & 7)];
    let mut model = Model::new(Random::chosen(choices), host, tables);
    while model.choices_left() > 0 {
        for _ in 0..STEPS {
            model.step();
        }
        model.audit();
    }
    Outcome::from(*machine)
}

/// Choices of long and short guests in small and large pools.
#[must_use]
pub fn seeds() -> Vec<Vec<u8>> {
    let mut random = Random::new(0x5eed);
    let lengths = [64, 512, 2048];
    let machines = (0..8u8).flat_map(|machine| [machine, machine | 0x30]);
    machines
        .enumerate()
        .map(|(number, machine)| {
            let bytes = (0..lengths[number % lengths.len()]).map(|_| random.word() as u8);
            [machine].into_iter().chain(bytes).collect()
        })
        .collect()
}
