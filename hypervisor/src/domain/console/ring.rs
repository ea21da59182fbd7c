//! A ring of bytes, as small in code as it can be: its size is a power of two, so that no index needs a check.

/// See the module.
#[derive(Debug)]
pub(super) struct Ring<const BYTES: usize> {
    bytes: [u8; BYTES],
    /// Place of the oldest byte, modulo the size.
    first: u32,
    length: u32,
}

impl<const BYTES: usize> Ring<BYTES> {
    const IS_POWER_OF_TWO: () = assert!(BYTES.is_power_of_two());

    /// Empty.
    pub(super) const fn new() -> Self {
        () = Self::IS_POWER_OF_TWO;
        Self { bytes: [0; BYTES], first: 0, length: 0 }
    }

    /// How many bytes are there.
    pub(super) const fn len(&self) -> usize {
        self.length as usize
    }

    /// Puts a byte behind the newest; without room it is lost.
    pub(super) const fn push(&mut self, byte: u8) {
        if self.len() < BYTES {
            self.bytes[self.first.wrapping_add(self.length) as usize % BYTES] = byte;
            self.length += 1;
        }
    }

    /// Looks at the byte that is `age` behind the oldest.
    pub(super) const fn get(&self, age: u32) -> Option<u8> {
        if age < self.length { Some(self.bytes[self.first.wrapping_add(age) as usize % BYTES]) } else { None }
    }

    /// Takes the oldest byte.
    pub(super) const fn pop(&mut self) -> Option<u8> {
        let oldest = self.get(0);
        if oldest.is_some() {
            self.first = self.first.wrapping_add(1);
            self.length -= 1;
        }
        oldest
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::VecDeque;

    #[test]
    fn it_is_a_queue_of_bounded_length() {
        let (mut ring, mut model) = (Ring::<8>::new(), VecDeque::new());
        // Begins just before the counter of places wraps.
        ring.first = u32::MAX - 20;
        for step in 0..200u32 {
            if step % 7 < 4 {
                ring.push(step as u8);
                if model.len() < 8 {
                    model.push_back(step as u8);
                }
            } else {
                assert_eq!(ring.pop(), model.pop_front());
            }
            assert_eq!(ring.len(), model.len());
            for age in 0..9 {
                assert_eq!(ring.get(age), model.get(age as usize).copied());
            }
        }
    }
}
