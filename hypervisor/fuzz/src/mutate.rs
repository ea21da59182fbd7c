//! Mutations: damage as it happens, and damage at which rules change.

use hypervisor::mmu::miniature::Random;

/// Numbers at which rules change.
const EDGES: [u64; 20] = [
    0,
    1,
    2,
    7,
    8,
    16,
    24,
    0x40,
    0x7f,
    0xfff,
    0x1000,
    1 << 21,
    1 << 30,
    1 << 47,
    1 << 63,
    0x7fff_ffff_f000,
    0xffff_8000_0000_0000,
    0xffff_ffff_8000_0000,
    u64::MAX - 0xfff,
    u64::MAX,
];

/// A few mutations of `input`, some with parts of `other`; at most `most_bytes` long.
#[must_use]
pub fn mutate(input: &[u8], other: &[u8], most_bytes: usize, random: &mut Random) -> Vec<u8> {
    let mut bytes = input.to_vec();
    // One change mostly: with several, the first refusal hides the others.
    let changes = 1 + random.below(4) * random.below(2) + random.below(8) * u64::from(random.one_in(8));
    for _ in 0..changes {
        change(&mut bytes, other, random);
    }
    bytes.truncate(most_bytes);
    bytes
}

fn change(bytes: &mut Vec<u8>, other: &[u8], random: &mut Random) {
    if bytes.is_empty() {
        bytes.push(random.word() as u8);
        return;
    }
    let at = random.below(bytes.len() as u64) as usize;
    match random.below(10) {
        0 | 1 => bytes[at] ^= 1 << random.below(8),
        2 => bytes[at] = random.word() as u8,
        3 | 4 => {
            let value = random.pick(&EDGES);
            put(bytes, at, value, random);
        }
        5 => {
            // Near to what is there.
            let word = word_at(bytes, at & !7);
            let distance = random.below(33).wrapping_sub(16);
            put(bytes, at & !7, word.wrapping_add(distance), random);
        }
        6 => {
            // What stands elsewhere in it: addresses and sizes that belong to other fields.
            let from = random.below(bytes.len() as u64) as usize;
            let value = word_at(bytes, from & !3);
            put(bytes, at, value, random);
        }
        7 => {
            let length = 1 + random.below(16) as usize;
            let end = (at + length).min(bytes.len());
            if random.one_in(2) {
                bytes.drain(at..end);
            } else {
                let copy = bytes[at..end].to_vec();
                bytes.splice(at..at, copy);
            }
        }
        8 if !other.is_empty() => {
            let from = random.below(other.len() as u64) as usize;
            let length = (1 + random.below(64) as usize).min(other.len() - from);
            let end = if random.one_in(2) { (at + length).min(bytes.len()) } else { at };
            bytes.splice(at..end, other[from..from + length].iter().copied());
        }
        _ if random.one_in(8) => bytes.truncate(at),
        _ => bytes.extend((0..8).map(|_| random.word() as u8)),
    }
}

/// The word at `at`, zeroes behind the end.
fn word_at(bytes: &[u8], at: usize) -> u64 {
    let mut word = [0; 8];
    for (to, from) in word.iter_mut().zip(&bytes[at.min(bytes.len())..]) {
        *to = *from;
    }
    u64::from_le_bytes(word)
}

/// Overwrites an aligned field of 1, 2, 4 or 8 bytes, as far as there are as many.
fn put(bytes: &mut [u8], at: usize, value: u64, random: &mut Random) {
    let width = random.pick(&[1, 2, 4, 8, 8]);
    let at = at & !(width.min(4) - 1);
    for (to, from) in bytes[at..].iter_mut().zip(&value.to_le_bytes()[..width]) {
        *to = *from;
    }
}
