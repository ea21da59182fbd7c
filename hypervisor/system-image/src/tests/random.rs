//! Images damaged at random behind a good checksum: none makes the reader panic, and what it accepts keeps all rules,
//! judged by other code than the reader's.

use super::*;
use crate::judge::judge;

/// George Marsaglia's xorshift64: the same images in every run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }

    /// Numbers at which rules change are likelier than others.
    fn value(&mut self) -> u8 {
        const LIKELY: [u8; 8] = [0, 1, 2, 3, 7, 8, 0x10, 0xff];
        if self.next() & 1 == 0 { LIKELY[self.below(LIKELY.len())] } else { self.next() as u8 }
    }
}

/// More than this takes seconds without optimization, most of them for the checksum.
const ROUNDS: usize = if cfg!(miri) { 10 } else { 5000 };

#[test]
fn random_damage() {
    let sound = write(&system()).unwrap();
    let mut random = Random(0x5eed_5eed_5eed_5eed);
    let mut accepted = 0;
    for _ in 0..ROUNDS {
        let mut bytes = sound.clone();
        for _ in 0..=random.below(4) {
            let at = header::TOTAL_SIZE + random.below(header::SIZE + 2 * entry::SIZE - header::TOTAL_SIZE);
            bytes[at] = random.value();
        }
        accepted += usize::from(is_accepted(&mut bytes));
    }
    // Neither all nor none: the test tests both ways of the reader.
    assert!(cfg!(miri) || (ROUNDS / 50..ROUNDS / 2).contains(&accepted), "{accepted}");
}

#[test]
fn random_devices_and_channels() {
    let sound = write(&system()).unwrap();
    let mut random = Random(0xdead_beef_dead_beef);
    let mut accepted = 0;
    for _ in 0..ROUNDS {
        let mut bytes = sound.clone();
        for _ in 0..=random.below(3) {
            let start = header::SIZE + random.below(2) * entry::SIZE;
            let at = start + entry::DEVICE_COUNT + random.below(entry::RESERVED_TAIL - entry::DEVICE_COUNT);
            bytes[at] = random.value();
        }
        accepted += usize::from(is_accepted(&mut bytes));
    }
    assert!(cfg!(miri) || (ROUNDS / 50..ROUNDS / 2).contains(&accepted), "{accepted}");
}

#[test]
fn noise() {
    let mut random = Random(1);
    for size in (0..2000).step_by(STEP) {
        let mut bytes: Vec<u8> = (0..size).map(|_| random.next() as u8).collect();
        assert!(SystemImage::parse(&bytes).is_err());
        // The same behind a header that is good as far as it can be.
        if size >= header::SIZE {
            bytes[..header::SIZE].copy_from_slice(&write(&system()).unwrap()[..header::SIZE]);
            bytes[header::TOTAL_SIZE..header::TOTAL_SIZE + 8].copy_from_slice(&(size as u64).to_le_bytes());
            is_accepted(&mut bytes);
        }
    }
}

fn is_accepted(bytes: &mut [u8]) -> bool {
    update_checksum(bytes);
    let Ok(image) = SystemImage::parse(bytes) else { return false };
    judge(&image, bytes);
    true
}
