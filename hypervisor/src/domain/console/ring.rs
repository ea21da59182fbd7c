//! A ring of bytes, as small in code as it can be: its size is a power of two, so that no index needs a check.

/// See the module. Who pushes looks for room first, who pops for bytes; nobody else's bytes are reached without.
#[derive(Debug)]
#[repr(C)]
pub(super) struct Ring<const BYTES: usize> {
    /// Place of the oldest byte, modulo the size.
    pub(super) first: u32,
    /// Place of the next one, likewise.
    pub(super) end: u32,
    bytes: [u8; BYTES],
}

impl<const BYTES: usize> Ring<BYTES> {
    const IS_POWER_OF_TWO: () = assert!(BYTES.is_power_of_two());

    /// Empty.
    pub(super) const fn new() -> Self {
        () = Self::IS_POWER_OF_TWO;
        Self { first: 0, end: 0, bytes: [0; BYTES] }
    }

    /// How many bytes are there.
    pub(super) const fn len(&self) -> u32 {
        self.end.wrapping_sub(self.first)
    }

    /// Puts a byte behind the newest.
    pub(super) const fn push(&mut self, byte: u8) {
        self.bytes[self.end as usize % BYTES] = byte;
        self.end = self.end.wrapping_add(1);
    }

    /// Looks at the oldest byte; behind the newest, at any one.
    pub(super) const fn peek(&self) -> u8 {
        self.bytes[self.first as usize % BYTES]
    }

    /// Takes the oldest byte.
    pub(super) const fn pop(&mut self) -> u8 {
        let oldest = self.peek();
        self.first = self.first.wrapping_add(1);
        oldest
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::VecDeque;

    #[test]
    fn it_is_a_queue() {
        let (mut ring, mut model) = (Ring::<8>::new(), VecDeque::new());
        // Begins just before the counter of places wraps.
        (ring.first, ring.end) = (u32::MAX - 20, u32::MAX - 20);
        for step in 0..200u32 {
            if step % 7 < 4 && model.len() < 8 {
                ring.push(step as u8);
                model.push_back(step as u8);
            } else if !model.is_empty() {
                assert_eq!(Some(ring.peek()), model.front().copied());
                assert_eq!(Some(ring.pop()), model.pop_front());
            }
            assert_eq!(ring.len() as usize, model.len());
        }
    }
}
