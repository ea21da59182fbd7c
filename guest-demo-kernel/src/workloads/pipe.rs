//! A pipe between programs: bytes in order, a bounded buffer, both ends wait.

use crate::sync::{IrqLock, WaitQueue};
use alloc::collections::VecDeque;

/// Bytes on their way.
const CAPACITY: usize = 512;

static BYTES: IrqLock<VecDeque<u8>> = IrqLock::new(VecDeque::new());
static ROOM: WaitQueue = WaitQueue::new();
static FILLED: WaitQueue = WaitQueue::new();

/// Puts all of `bytes` in, waiting for room for them.
pub(crate) fn send(bytes: &[u8]) {
    ROOM.wait_until(|| {
        let mut pipe = BYTES.lock();
        (pipe.len() + bytes.len() <= CAPACITY).then(|| pipe.extend(bytes))
    });
    FILLED.wake_one();
}

/// Fills `bytes`, waiting for so many.
pub(crate) fn receive(bytes: &mut [u8]) {
    FILLED.wait_until(|| {
        let mut pipe = BYTES.lock();
        let wanted = bytes.len();
        (pipe.len() >= wanted)
            .then(|| bytes.iter_mut().zip(pipe.drain(..wanted)).for_each(|(to, from)| *to = from))
    });
    ROOM.wake_one();
}
