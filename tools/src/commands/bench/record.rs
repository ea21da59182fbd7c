//! What the recorder wrote: the instructions between a guest's marks, and the part of them that a figure is about.

use std::collections::BTreeMap;
use std::ops::Range;

use super::costs::is_interrupted;

/// `rdtsc`: every sequence begins with a reading of the counter.
const READING: [u8; 2] = [0x0f, 0x31];
/// A reading, and the instruction that keeps it.
const READING_STEPS: usize = 2;
/// Where the hypervisor is, and no guest.
const HYPERVISOR: Range<u64> = 0xffff_8000_0000_0000..0xffff_8800_0000_0000;

/// An instruction that was executed, or begun and interrupted by its own fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Its address.
    pub address: u64,
    /// Its encoding.
    pub bytes: Vec<u8>,
    /// Whether it accessed a device.
    pub device: bool,
    /// Whether an exception or interrupt came by it, or behind it.
    pub interrupted: bool,
}

impl Step {
    /// Address of the instruction behind it.
    pub fn next(&self) -> u64 {
        self.address.wrapping_add(self.bytes.len() as u64)
    }
}

/// The sequence of median length that was recorded for a mark.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sequence {
    /// How many sequences there were.
    pub samples: u64,
    /// How many instructions all of them had together.
    pub executed: u64,
    /// How many of these halted the processor.
    pub halts: u64,
    /// This one's instructions.
    pub steps: Vec<Step>,
}

/// Which part of a sequence a figure is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Span {
    /// From the first reading to the last.
    Whole,
    /// From the first reading to the handler's.
    Entry,
    /// From the first reading to the last, without the handler's.
    RoundTrip,
    /// From an interrupt to the handler's reading.
    Interrupt,
}

impl Span {
    /// As the guest calls it.
    pub fn named(name: &str) -> Option<Self> {
        Some(match name {
            "whole" => Self::Whole,
            "entry" => Self::Entry,
            "round-trip" => Self::RoundTrip,
            "interrupt" => Self::Interrupt,
            _ => return None,
        })
    }
}

/// Reads the recorder's file.
pub fn parse(text: &str) -> Result<BTreeMap<u16, Sequence>, String> {
    let mut sequences = BTreeMap::new();
    let mut current = None;
    for line in text.lines() {
        let wrong = || format!("a record that makes no sense: {line}");
        if let Some(header) = line.strip_prefix("mark ") {
            let numbers: Option<Vec<u64>> = header.split(' ').map(|number| number.parse().ok()).collect();
            let Some(&[mark, samples, executed, halts]) = numbers.as_deref() else { return Err(wrong()) };
            let mark = u16::try_from(mark).map_err(|_| wrong())?;
            sequences.insert(mark, Sequence { samples, executed, halts, steps: Vec::new() });
            current = Some(mark);
        } else {
            let sequence = current.and_then(|mark| sequences.get_mut(&mark)).ok_or_else(wrong)?;
            sequence.steps.push(step(line).ok_or_else(wrong)?);
        }
    }
    sequences.values_mut().for_each(Sequence::find_interrupts);
    Ok(sequences)
}

fn step(line: &str) -> Option<Step> {
    let mut words = line.split(' ');
    let address = u64::from_str_radix(words.next()?, 16).ok()?;
    let digits = words.next()?;
    let byte = |index| u8::from_str_radix(digits.get(index..index + 2)?, 16).ok();
    let bytes: Option<Vec<u8>> = (0..digits.len()).step_by(2).map(byte).collect();
    Some(Step {
        address,
        bytes: bytes.filter(|bytes| !bytes.is_empty())?,
        device: words.next() == Some("io"),
        interrupted: false,
    })
}

impl Sequence {
    fn find_interrupts(&mut self) {
        for index in 1..self.steps.len() {
            self.steps[index - 1].interrupted = is_interrupted(&self.steps[index - 1], &self.steps[index]);
        }
    }

    /// The steps that `span` is about. `None`: it is not in there.
    pub fn part(&self, span: Span, under_hypervisor: bool) -> Option<Vec<Step>> {
        let steps = &self.steps;
        let is_reading =
            |step: &Step| step.bytes == READING && !(under_hypervisor && HYPERVISOR.contains(&step.address));
        let readings: Vec<usize> = (0..steps.len()).filter(|index| is_reading(&steps[*index])).collect();
        let (first, last) = (*readings.first()?, *readings.last()?);
        let from = first + READING_STEPS;
        match (span, readings.as_slice()) {
            (Span::Whole, [_, _]) => Some(steps.get(from..last)?.to_vec()),
            (Span::Entry, [_, handler, _]) => Some(steps.get(from..*handler)?.to_vec()),
            (Span::RoundTrip, [_, handler, _]) => {
                let back = steps.get(handler + READING_STEPS..last)?;
                Some([steps.get(from..*handler)?, back].concat())
            }
            (Span::Interrupt, [_, handler, _]) => {
                let came = (from..*handler).find(|index| steps[*index].interrupted)?;
                Some(steps.get(came + 1..*handler)?.to_vec())
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "mark 7 3 24 1\n10 0f31\n12 4189c4\n15 0f0b\nffff800000000000 0f31 io\n20 0f31\n22 4189c5\n25 cf\n17 0f31\n";

    fn addresses(span: Span) -> Option<Vec<u64>> {
        let sequences = parse(TEXT).unwrap();
        let steps = sequences[&7].part(span, true)?;
        Some(steps.iter().map(|step| step.address).collect())
    }

    #[test]
    fn the_record_is_read() {
        let sequences = parse(TEXT).unwrap();
        let Sequence { samples, executed, halts, .. } = sequences[&7];
        assert_eq!([samples, executed, halts], [3, 24, 1]);
        assert_eq!(
            sequences[&7].steps[2],
            Step { address: 0x15, bytes: vec![0x0f, 0x0b], device: false, interrupted: true }
        );
        assert!(sequences[&7].steps[3].device);
        for wrong in [
            "10 0f31\n",
            "mark 1\n",
            "mark 1 2 3\n",
            "mark 1 2 3 4\n10\n",
            "mark 1 2 3 4\nxx 90\n",
            "mark 1 2 3 4\n10 9\n",
        ] {
            assert!(parse(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn parts_leave_out_the_readings_of_guests_but_not_the_hypervisors() {
        let hypervisor = 0xffff_8000_0000_0000;
        assert_eq!(addresses(Span::Entry), Some(vec![0x15, hypervisor]));
        assert_eq!(addresses(Span::RoundTrip), Some(vec![0x15, hypervisor, 0x25]));
        assert_eq!(addresses(Span::Interrupt), Some(vec![hypervisor]));
        assert_eq!(addresses(Span::Whole), None, "a handler ran in between");
    }
}
