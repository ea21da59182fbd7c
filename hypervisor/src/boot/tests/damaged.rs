//! Damaged files: whatever they hold, they are refused or yield a domain that is whole. Nothing panics.

use super::built::Domain;
use super::*;

/// Takes a file all the way, as boot does. True: it was accepted.
fn digest(file: &[u8]) -> bool {
    let Ok(kernel) = Kernel::parse(file) else { return false };
    // The least that a domain can have.
    match Domain::build(&kernel, 8 << 20, "x") {
        Ok(domain) => {
            domain.check(kernel.image_bytes);
            true
        }
        Err(_) => false,
    }
}

/// Fewer rounds under Miri, which is some hundred times slower.
const fn rounds(native: usize) -> usize {
    if cfg!(miri) { native / 100 + 1 } else { native }
}

// covers: NOTE-010
#[test]
fn every_truncation_is_refused() {
    let file = Recipe::good().bytes();
    for length in (0..file.len()).step_by(if cfg!(miri) { 97 } else { 1 }) {
        assert!(Kernel::parse(&file[..length]).is_err(), "{length} bytes");
    }
}

// covers: NOTE-010
#[test]
fn flipped_bytes_never_panic() {
    let good = Recipe::good().bytes();
    let notes = CONSTANTS as usize;
    let interesting: Vec<usize> = (0..64 + 5 * 56)
        .chain(notes..notes + 180)
        .chain(notes + RELOCATIONS_AT..notes + RELOCATIONS_AT + 48)
        .chain(DATA as usize..DATA as usize + 64)
        .collect();
    let mut random = Random(0xe1f);
    let mut accepted = 0;
    for _ in 0..rounds(4000) {
        let mut file = good.clone();
        for _ in 0..=random.below(3) {
            let at = interesting[random.below(interesting.len())];
            file[at] ^= 1 << random.below(8);
        }
        accepted += usize::from(digest(&file));
    }
    assert!(cfg!(miri) || accepted > 100, "most must get past the first check: {accepted}");
}

// covers: NOTE-010
#[test]
fn extreme_numbers_in_every_field_never_panic() {
    let extremes = [
        0,
        1,
        7,
        0xfff,
        0x3fff,
        0x4000,
        1 << 30,
        0x7fff_ffff_f000,
        1 << 47,
        1 << 63,
        0xffff_8000_0000_0000,
        0xffff_ffff_8000_0000,
        u64::MAX - 0xfff,
        u64::MAX - 7,
        u64::MAX,
    ];
    let good = Recipe::good().bytes();
    let mut random = Random(0xf1e1d);
    let fields: Vec<usize> = (16..64 + 5 * 56)
        .step_by(4)
        .chain((CONSTANTS as usize..CONSTANTS as usize + 180).step_by(4))
        .chain((0..6).map(|word| CONSTANTS as usize + RELOCATIONS_AT + word * 8))
        .chain((0..8).map(|word| DATA as usize + word * 8))
        .collect();
    for at in &fields {
        for extreme in extremes {
            if cfg!(miri) && random.below(50) != 0 {
                continue;
            }
            for width in [4, 8] {
                let mut file = good.clone();
                file[*at..*at + width].copy_from_slice(&extreme.to_le_bytes()[..width]);
                digest(&file);
            }
            // And together with another field.
            let mut file = good.clone();
            let other = fields[random.below(fields.len())];
            file[*at..*at + 8].copy_from_slice(&extreme.to_le_bytes());
            file[other..other + 8].copy_from_slice(&extremes[random.below(extremes.len())].to_le_bytes());
            digest(&file);
        }
    }
}

// covers: NOTE-010
#[test]
fn garbage_behind_a_good_start_never_panics() {
    let good = Recipe::good().bytes();
    let mut random = Random(0x9a7ba9e);
    for _ in 0..rounds(2000) {
        let mut file = good.clone();
        let start = 16 + random.below(300);
        for byte in &mut file[start..start + 64] {
            *byte = random.below(256) as u8;
        }
        digest(&file);
    }
}
