//! Memory that is looked at over and over, so that a byte changed by anybody else is noticed, and a write lost too.
//!
//! Each page holds a pattern, whose checksum is kept elsewhere, and a count of visits, which is kept elsewhere too
//! and advances with each. Words are atomics: the compiler must not assume that nobody else writes them.

use alloc::vec::Vec;
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};
use demo_programs::{CHECKSUM_START, checksum, next_random};

/// Words of a page; the first is its count of visits.
const PAGE_WORDS: usize = 512;

/// See the module.
#[derive(Debug)]
pub struct GuardedMemory {
    words: Vec<AtomicU64>,
    parts: Vec<Part>,
    next: usize,
}

/// Pages that are looked at together.
#[derive(Clone, Copy, Debug)]
struct Part {
    checksum: u64,
    visits: u64,
}

impl GuardedMemory {
    /// `parts` parts of `pages` pages of 4 KiB each, filled.
    #[must_use]
    pub fn new(parts: usize, pages: usize) -> Self {
        let mut state = 1;
        let word = |index: usize| {
            state = next_random(state);
            AtomicU64::new(if index.is_multiple_of(PAGE_WORDS) { 0 } else { state })
        };
        let words: Vec<AtomicU64> = (0..parts * pages * PAGE_WORDS).map(word).collect();
        let part = |words| Part { checksum: checksum_of(words), visits: 0 };
        let parts = words.chunks(pages * PAGE_WORDS).map(part).collect();
        Self { words, parts, next: 0 }
    }

    /// Visits the next part; false when it is not as the last visit left it.
    #[must_use]
    pub fn visit_next(&mut self) -> bool {
        let part = self.next;
        self.next = (part + 1) % self.parts.len();
        self.visit(part)
    }

    /// Visits all parts; returns how many are not as they were left.
    pub fn visit_all(&mut self) -> usize {
        (0..self.parts.len()).filter(|part| !self.visit(*part)).count()
    }

    fn visit(&mut self, number: usize) -> bool {
        let size = self.words.len() / self.parts.len();
        let words = &self.words[number * size..][..size];
        let part = &mut self.parts[number];
        let found = checksum_of(words);
        let mut is_intact = found == part.checksum;
        // A change is told once.
        part.checksum = found;
        for count in words.iter().step_by(PAGE_WORDS) {
            is_intact &= count.load(Relaxed) == part.visits;
            count.store(part.visits + 1, Relaxed);
        }
        part.visits += 1;
        is_intact
    }

    /// The checksum of it all, counts included.
    #[must_use]
    pub fn checksum(&self) -> u64 {
        self.words.iter().fold(CHECKSUM_START, |sum, word| checksum(sum, word.load(Relaxed)))
    }
}

/// The checksum of the pattern, that is of all but the counts.
fn checksum_of(words: &[AtomicU64]) -> u64 {
    let pattern = words.chunks(PAGE_WORDS).flat_map(|page| &page[1..]);
    pattern.fold(CHECKSUM_START, |sum, word| checksum(sum, word.load(Relaxed)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_touches_stays_intact() {
        let mut memory = GuardedMemory::new(3, 2);
        assert!((0..10).all(|_| memory.visit_next()));
        assert_eq!(memory.visit_all(), 0);
        let other = GuardedMemory::new(3, 2);
        assert_ne!(memory.checksum(), other.checksum(), "visits leave traces");
    }

    #[test]
    fn every_changed_word_is_noticed_once_its_part_is_visited() {
        for changed in [0, 1, 511, 512, 1023, 1024, 3 * 1024 - 1] {
            let mut memory = GuardedMemory::new(3, 2);
            assert_eq!(memory.visit_all(), 0);
            memory.words[changed].fetch_xor(1, Relaxed);
            let seen: Vec<bool> = (0..3).map(|_| memory.visit_next()).collect();
            let expected: Vec<bool> = (0..3).map(|part| part != changed / 1024).collect();
            assert_eq!(seen, expected, "word {changed}");
            assert_eq!(memory.visit_all(), 0, "it is told once");
        }
    }

    #[test]
    fn a_page_as_it_was_before_the_last_visit_is_noticed() {
        let mut memory = GuardedMemory::new(2, 1);
        let old: Vec<u64> = memory.words.iter().map(|word| word.load(Relaxed)).collect();
        assert_eq!(memory.visit_all(), 0);
        memory.words.iter().zip(old).skip(512).for_each(|(word, value)| word.store(value, Relaxed));
        assert_eq!(memory.visit_all(), 1);
    }
}
