//! Which frames are free, and how many users each other one has.
//!
//! One 16-bit count per frame: 0 is free, so the table of reference counts (needed for copy-on-write) is the
//! free map as well. A search starts where the last one ended or where a frame was freed, so it is short in
//! practice; a buddy allocator would buy speed for large runs, which only the heap's growth asks for.

/// What a count says of a frame that was never handed to the table.
const NOT_MEMORY: u16 = u16::MAX;
/// More users than this are refused; a fork then fails as if memory had run out.
pub const MAX_USERS: u16 = NOT_MEMORY - 1;

/// See the module. Frames are numbered by physical address / 4096.
#[derive(Debug)]
pub struct FrameTable<'a> {
    counts: &'a mut [u16],
    first: u64,
    free: usize,
    total: usize,
    /// No frame below this index is free.
    hint: usize,
}

impl<'a> FrameTable<'a> {
    /// A table for the frames from `first` on, none of which is memory yet.
    pub fn new(first: u64, counts: &'a mut [u16]) -> Self {
        counts.fill(NOT_MEMORY);
        Self { counts, first, free: 0, total: 0, hint: 0 }
    }

    /// Adds a frame, with one user. [`Self::release`] makes it free.
    pub fn add(&mut self, frame: u64) {
        if let Some(index) = self.index(frame)
            && self.counts[index] == NOT_MEMORY
        {
            self.counts[index] = 1;
            self.total += 1;
        }
    }

    /// Takes a free frame.
    pub fn allocate(&mut self) -> Option<u64> {
        self.allocate_run(1)
    }

    /// Takes `length` free frames in a row; returns the first.
    pub fn allocate_run(&mut self, length: usize) -> Option<u64> {
        let mut start = self.hint;
        let mut at = start;
        let mut first_free = None;
        while at < self.counts.len() {
            if self.counts[at] != 0 {
                start = at + 1;
            } else {
                first_free.get_or_insert(at);
                if at + 1 - start == length {
                    self.counts[start..=at].fill(1);
                    self.free -= length;
                    self.hint = if first_free == Some(start) { at + 1 } else { self.hint };
                    return Some(self.first + start as u64);
                }
            }
            at += 1;
        }
        None
    }

    /// Adds a user; false when there are too many already.
    #[must_use]
    pub fn share(&mut self, frame: u64) -> bool {
        let count = self.used(frame);
        let room = *count < MAX_USERS;
        *count += u16::from(room);
        room
    }

    /// Takes a user away; the last one frees the frame.
    pub fn release(&mut self, frame: u64) {
        let count = self.used(frame);
        *count -= 1;
        if *count == 0 {
            self.free += 1;
            self.hint = self.hint.min((frame - self.first) as usize);
        }
    }

    /// Users of a frame: 0 when it is free or no memory.
    #[must_use]
    pub fn users(&self, frame: u64) -> u16 {
        self.index(frame).map_or(0, |index| match self.counts[index] {
            NOT_MEMORY => 0,
            count => count,
        })
    }

    /// Free frames.
    #[must_use]
    pub fn free(&self) -> usize {
        self.free
    }

    /// Frames that are memory.
    #[must_use]
    pub fn total(&self) -> usize {
        self.total
    }

    fn index(&self, frame: u64) -> Option<usize> {
        let index = usize::try_from(frame.checked_sub(self.first)?).ok()?;
        (index < self.counts.len()).then_some(index)
    }

    fn used(&mut self, frame: u64) -> &mut u16 {
        let index = self.index(frame).filter(|index| !matches!(self.counts[*index], 0 | NOT_MEMORY));
        &mut self.counts[index.expect("a frame in use")]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(counts: &mut [u16], frames: core::ops::Range<u64>) -> FrameTable<'_> {
        let mut table = FrameTable::new(100, counts);
        for frame in frames {
            table.add(frame);
            table.release(frame);
        }
        table
    }

    #[test]
    fn allocates_each_frame_once() {
        let mut counts = [0; 8];
        let mut table = table(&mut counts, 102..106);
        let taken = [(); 5].map(|()| table.allocate());
        assert_eq!(taken, [Some(102), Some(103), Some(104), Some(105), None]);
        table.release(104);
        assert_eq!((table.free(), table.allocate()), (1, Some(104)));
    }

    #[test]
    fn shared_frames_are_freed_by_the_last_user() {
        let mut counts = [0; 8];
        let mut table = table(&mut counts, 100..101);
        let frame = table.allocate().unwrap();
        assert!(table.share(frame));
        assert_eq!(table.users(frame), 2);
        table.release(frame);
        assert_eq!(table.allocate(), None);
        table.release(frame);
        assert_eq!(table.allocate(), Some(frame));
    }

    #[test]
    fn runs_skip_what_is_in_use() {
        let mut counts = [0; 16];
        let mut table = table(&mut counts, 100..116);
        let first = [(); 4].map(|()| table.allocate().unwrap());
        table.release(first[1]);
        assert_eq!(table.allocate_run(3), Some(104));
        assert_eq!(table.allocate(), Some(101), "a run must not hide the gap before it");
        assert_eq!(table.allocate_run(10), None);
    }

    #[test]
    #[should_panic(expected = "a frame in use")]
    fn freeing_twice_is_noticed() {
        let mut counts = [0; 4];
        let mut table = table(&mut counts, 100..104);
        let frame = table.allocate().unwrap();
        table.release(frame);
        table.release(frame);
    }
}
