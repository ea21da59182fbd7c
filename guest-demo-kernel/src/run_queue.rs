//! Who runs next: a queue per priority, first come first served within one.

use alloc::collections::VecDeque;

/// Number of priorities; a higher one runs first.
pub const PRIORITIES: usize = 8;

/// Runnable items by priority.
#[derive(Debug)]
pub struct RunQueue<T> {
    queues: [VecDeque<T>; PRIORITIES],
}

impl<T> RunQueue<T> {
    /// An empty queue.
    #[must_use]
    pub const fn new() -> Self {
        Self { queues: [const { VecDeque::new() }; PRIORITIES] }
    }

    /// Puts `item` behind those of its priority.
    pub fn push(&mut self, priority: usize, item: T) {
        self.queues[priority].push_back(item);
    }

    /// The highest priority at which something waits.
    #[must_use]
    pub fn highest(&self) -> Option<usize> {
        self.queues.iter().rposition(|queue| !queue.is_empty())
    }

    /// Takes the next item.
    pub fn pop(&mut self) -> Option<T> {
        let priority = self.highest()?;
        self.queues[priority].pop_front()
    }
}

impl<T> Default for RunQueue<T> {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn priority_first_then_order_of_arrival() {
        let mut queue = RunQueue::new();
        for (priority, item) in [(1, 'c'), (5, 'a'), (1, 'd'), (5, 'b')] {
            queue.push(priority, item);
        }
        assert_eq!(queue.highest(), Some(5));
        let order = core::iter::from_fn(|| queue.pop()).collect::<alloc::string::String>();
        assert_eq!(order, "abcd");
        assert_eq!(queue.highest(), None);
    }
}
