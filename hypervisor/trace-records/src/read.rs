//! Reading a ring from bytes of a machine's memory. They may be anything.

use crate::{CAPACITY, HEADER_BYTES, Header, Kind, MAGIC, RING_BYTES, Record};
use core::fmt;
use core::mem::offset_of;

/// What is wrong with a ring.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Damage {
    /// So many bytes are no ring.
    Size(usize),
    /// The first page is not that of a ring.
    Magic(u64),
    /// It has room for another number of records.
    Capacity(u64),
    /// A clock with no ticks, or one that is faster than any.
    Frequency(u64),
    /// The record with this number has a kind that is none.
    Kind(u64, u16),
    /// The record with this number is older than the one before it, or than the clock.
    Order(u64),
}

impl fmt::Display for Damage {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Size(bytes) => write!(formatter, "{bytes} bytes instead of {RING_BYTES}"),
            Self::Magic(word) => write!(formatter, "it begins with {word:#x}, which no ring does"),
            Self::Capacity(records) => write!(formatter, "room for {records} records instead of {CAPACITY}"),
            Self::Frequency(hz) => write!(formatter, "a clock of {hz} ticks per second"),
            Self::Kind(number, kind) => {
                write!(formatter, "record {number} is of kind {kind}, which there is not")
            }
            Self::Order(number) => write!(formatter, "record {number} is older than what came before it"),
        }
    }
}

impl core::error::Error for Damage {}

/// A record, understood.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Entry {
    /// Nanoseconds of the hypervisor's clock.
    pub time_ns: u64,
    /// What happened.
    pub kind: Kind,
    /// The domain that was loaded, or [`crate::NO_DOMAIN`].
    pub domain: u16,
    /// Its vCPU.
    pub vcpu: u16,
    /// See [`Kind`], but nanoseconds of the clock where that says ticks.
    pub first: u64,
    /// As `first`.
    pub second: u64,
}

/// A ring whose first page makes sense.
#[derive(Clone, Copy, Debug)]
pub struct Ring<'a> {
    header: Header,
    records: &'a [u8],
}

/// The word at `offset`, which callers keep inside.
fn word(bytes: &[u8], offset: usize) -> u64 {
    let mut word = [0; 8];
    word.copy_from_slice(&bytes[offset..offset + 8]);
    u64::from_le_bytes(word)
}

fn half(bytes: &[u8], offset: usize) -> u16 {
    u16::from_le_bytes([bytes[offset], bytes[offset + 1]])
}

impl<'a> Ring<'a> {
    /// Reads the first page.
    ///
    /// # Errors
    /// [`Damage`], but for what only the records show.
    pub fn read(bytes: &'a [u8]) -> Result<Self, Damage> {
        /// No counter is that fast.
        const MOST_HZ: u64 = 1_000_000_000_000;
        if bytes.len() != RING_BYTES {
            return Err(Damage::Size(bytes.len()));
        }
        let (page, records) = bytes.split_at(HEADER_BYTES);
        let header = Header {
            magic: word(page, offset_of!(Header, magic)),
            cpu: word(page, offset_of!(Header, cpu)),
            capacity: word(page, offset_of!(Header, capacity)),
            ticks_per_second: word(page, offset_of!(Header, ticks_per_second)),
            first_tick: word(page, offset_of!(Header, first_tick)),
            written: word(page, offset_of!(Header, written)),
        };
        match header {
            Header { magic, .. } if magic != MAGIC => Err(Damage::Magic(magic)),
            Header { capacity, .. } if capacity != CAPACITY as u64 => Err(Damage::Capacity(capacity)),
            Header { ticks_per_second: hz, .. } if hz == 0 || hz > MOST_HZ => Err(Damage::Frequency(hz)),
            header => Ok(Self { header, records }),
        }
    }

    /// Number of the CPU that wrote it.
    #[must_use]
    pub fn cpu(&self) -> u64 {
        self.header.cpu
    }

    /// Records that are there.
    #[must_use]
    pub fn len(&self) -> u64 {
        // Of a full ring, the oldest may be one that was being overwritten when the machine stopped.
        self.header.written.min(CAPACITY as u64 - 1)
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Records that were written and are overwritten.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.header.written - self.len()
    }

    /// The records, oldest first. The first that is damaged is the last.
    pub fn entries(&self) -> impl Iterator<Item = Result<Entry, Damage>> + use<'a> {
        let (header, records, first) = (self.header, self.records, self.lost());
        let mut before = header.first_tick;
        let mut is_damaged = false;
        (first..header.written).map_while(move |number| {
            if is_damaged {
                return None;
            }
            let at = (number % CAPACITY as u64) as usize * size_of::<Record>();
            let entry = entry(&header, number, &records[at..at + size_of::<Record>()], &mut before);
            is_damaged = entry.is_err();
            Some(entry)
        })
    }
}

fn entry(header: &Header, number: u64, bytes: &[u8], before: &mut u64) -> Result<Entry, Damage> {
    let timestamp = word(bytes, offset_of!(Record, timestamp));
    if timestamp < *before {
        return Err(Damage::Order(number));
    }
    *before = timestamp;
    let kind = half(bytes, offset_of!(Record, kind));
    let kind = Kind::from_number(kind).ok_or(Damage::Kind(number, kind))?;
    let (first, second) = (word(bytes, offset_of!(Record, first)), word(bytes, offset_of!(Record, second)));
    Ok(Entry {
        time_ns: nanoseconds(header, timestamp),
        kind,
        domain: half(bytes, offset_of!(Record, domain)),
        vcpu: half(bytes, offset_of!(Record, vcpu)),
        first: if kind == Kind::TimerSet { nanoseconds(header, first) } else { first },
        second: if kind == Kind::Deadline { nanoseconds(header, second) } else { second },
    })
}

/// Nanoseconds of the clock at a tick of the counter; never stays never.
fn nanoseconds(header: &Header, tick: u64) -> u64 {
    if tick == u64::MAX {
        return tick;
    }
    let ticks = u128::from(tick.saturating_sub(header.first_tick));
    u64::try_from(ticks * 1_000_000_000 / u128::from(header.ticks_per_second)).unwrap_or(u64::MAX)
}
