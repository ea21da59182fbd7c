//! Thousands of random operations against the model of a TLB.

use super::*;
use crate::mmu::miniature::model::Model;

/// Operations of one run.
const STEPS: u64 = rounds(3000);

fn run(seed: u64, host: u64, tables: u32) {
    let mut model = Model::new(Random::new(seed), host, tables);
    for step in 0..STEPS {
        model.step();
        if step % 32 == 0 {
            model.audit();
        }
    }
}

#[test]
fn random_operations_in_a_large_pool_agree_with_the_model() {
    for seed in 1..=rounds(5) {
        run(seed * 0x9e37_79b9, 8 * GIB, 128);
    }
}

#[test]
fn random_operations_where_large_pages_fall_to_pieces_agree_with_the_model() {
    for seed in 1..=rounds(3) {
        run(seed * 0x9e37_79b9 + 1, 8 * GIB + 6 * MIB, 128);
    }
}

#[test]
fn random_operations_in_tiny_pools_agree_with_the_model() {
    for tables in [8, 10, 16] {
        run(u64::from(tables) * 0x9e37_79b9 + 2, 8 * GIB, tables);
    }
}
