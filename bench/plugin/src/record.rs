//! What was executed between marks: one sequence for each length, and how often each length occurred.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write;

/// Displacement of mark 0.
const MARK: u32 = 0x7076_0000;
/// The number that ends a sequence.
pub(crate) const END: u16 = 0xffff;
/// `hlt`.
const HALT: [u8; 1] = [0xf4];
/// Longer sequences are of no operation: they are cut, and told apart by their cut length.
const MOST_INSTRUCTIONS: usize = 200_000;
/// Set in a step whose instruction accessed a device.
const DEVICE: u32 = 1 << 31;

/// The number of the mark that `bytes` are, if they are one.
pub(crate) fn mark(bytes: &[u8]) -> Option<u16> {
    let [0x0f, 0x1f, 0x80, displacement @ ..] = bytes else { return None };
    let displacement = u32::from_le_bytes(displacement.try_into().ok()?);
    (displacement & 0xffff_0000 == MARK).then_some(displacement as u16)
}

/// An instruction at its address.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) struct Executed {
    /// Virtual address.
    pub(crate) address: u64,
    /// Encoding.
    pub(crate) bytes: Box<[u8]>,
}

/// Sequences of one mark.
#[derive(Default)]
struct Sequences {
    /// Instructions of all of them together, those that were cut off too.
    executed: u64,
    /// How many of these halted the processor.
    halts: u64,
    /// By length: how often, and the first of them.
    by_length: BTreeMap<usize, (usize, Vec<u32>)>,
}

/// The sequence under way.
struct Current {
    mark: u16,
    steps: Vec<u32>,
    executed: u64,
    halts: u64,
}

/// See the module.
#[derive(Default)]
pub(crate) struct Recorder {
    known: Vec<Executed>,
    numbers: HashMap<Executed, usize>,
    current: Option<Current>,
    marks: BTreeMap<u16, Sequences>,
}

impl Recorder {
    /// The number by which [`Self::executed`] knows an instruction.
    pub(crate) fn number_of(&mut self, instruction: Executed) -> usize {
        let next = self.known.len();
        *self.numbers.entry(instruction).or_insert_with_key(|instruction| {
            self.known.push(instruction.clone());
            next
        })
    }

    /// Begins a sequence; one that was begun before and did not end is forgotten.
    pub(crate) fn begin(&mut self, mark: u16) {
        self.current = Some(Current { mark, steps: Vec::new(), executed: 0, halts: 0 });
    }

    /// Whether a sequence is under way.
    pub(crate) fn is_recording(&self) -> bool {
        self.current.is_some()
    }

    /// Adds an instruction to the current sequence.
    pub(crate) fn executed(&mut self, number: usize) {
        if let Some(sequence) = &mut self.current {
            sequence.executed += 1;
            sequence.halts += u64::from(*self.known[number].bytes == HALT);
            if sequence.steps.len() < MOST_INSTRUCTIONS {
                sequence.steps.push(number as u32);
            }
        }
    }

    /// Notes that the last instruction accessed a device.
    pub(crate) fn accessed_device(&mut self) {
        if let Some(sequence) = &mut self.current
            && sequence.executed == sequence.steps.len() as u64
            && let Some(last) = sequence.steps.last_mut()
        {
            *last |= DEVICE;
        }
    }

    /// Ends the current sequence.
    pub(crate) fn end(&mut self) {
        if let Some(Current { mark, steps, executed, halts }) = self.current.take() {
            let sequences = self.marks.entry(mark).or_default();
            sequences.executed += executed;
            sequences.halts += halts;
            sequences.by_length.entry(steps.len()).or_insert((0, steps)).0 += 1;
        }
    }

    /// The sequence of median length of each mark, in the format that the crate's documentation describes.
    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        for (mark, sequences) in &self.marks {
            let (samples, steps) = sequences.median();
            // Writing to a string cannot fail.
            let Sequences { executed, halts, .. } = sequences;
            let _ = writeln!(text, "mark {mark} {samples} {executed} {halts}");
            for step in steps {
                let instruction = &self.known[(step & !DEVICE) as usize];
                let _ = write!(text, "{:x} ", instruction.address);
                for byte in &instruction.bytes {
                    let _ = write!(text, "{byte:02x}");
                }
                text.push_str(if step & DEVICE != 0 { " io\n" } else { "\n" });
            }
        }
        text
    }
}

impl Sequences {
    /// How many there were, and the one in the middle.
    fn median(&self) -> (usize, &[u32]) {
        let samples = self.by_length.values().map(|(count, _)| count).sum();
        let mut before = 0;
        for (count, steps) in self.by_length.values() {
            before += count;
            if before > samples / 2 {
                return (samples, steps);
            }
        }
        (samples, &[])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_told_from_other_instructions() {
        assert_eq!(mark(&[0x0f, 0x1f, 0x80, 5, 0, 0x76, 0x70]), Some(5));
        assert_eq!(mark(&[0x0f, 0x1f, 0x80, 0xff, 0xff, 0x76, 0x70]), Some(END));
        assert_eq!(mark(&[0x0f, 0x1f, 0x80, 5, 0, 0x76, 0x71]), None, "another displacement");
        assert_eq!(mark(&[0x0f, 0x1f, 0x84, 0, 5, 0, 0x76, 0x70]), None, "another form");
        assert_eq!(mark(&[0x0f, 0x31]), None);
    }

    fn instruction(address: u64) -> Executed {
        Executed { address, bytes: [0x90].into() }
    }

    fn sequence(recorder: &mut Recorder, mark: u16, addresses: &[u64]) {
        recorder.begin(mark);
        for address in addresses {
            let number = recorder.number_of(instruction(*address));
            recorder.executed(number);
        }
        recorder.end();
    }

    #[test]
    fn the_sequence_of_median_length_is_written() {
        let mut recorder = Recorder::default();
        sequence(&mut recorder, 7, &[1]);
        sequence(&mut recorder, 7, &[1, 2]);
        sequence(&mut recorder, 7, &[1, 2, 3, 4]);
        sequence(&mut recorder, 3, &[0xff]);
        assert_eq!(recorder.text(), "mark 3 1 1 0\nff 90\nmark 7 3 7 0\n1 90\n2 90\n");
    }

    #[test]
    fn what_is_outside_marks_is_not_kept() {
        let mut recorder = Recorder::default();
        let number = recorder.number_of(instruction(1));
        recorder.executed(number);
        recorder.end();
        assert_eq!(recorder.text(), "");
        recorder.begin(1);
        assert!(recorder.is_recording());
        recorder.begin(2);
        recorder.executed(number);
        recorder.accessed_device();
        let halt = recorder.number_of(Executed { address: 2, bytes: HALT.into() });
        recorder.executed(halt);
        recorder.end();
        assert_eq!(recorder.text(), "mark 2 1 2 1\n1 90 io\n2 f4\n", "the second beginning counts");
    }
}
