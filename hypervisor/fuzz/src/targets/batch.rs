//! Lists of calls that change under the hands of whoever makes them: each call may write over the list, as another
//! vCPU would, or as a call does that stores into it.

use crate::Outcome;
use hypervisor::front::batch::{self, ListMemory};
use hypervisor::front::fast::Reply;
use pvops_abi::error::Error;
use pvops_abi::layout::{BatchEntry, MAX_BATCH};
use std::cell::{Cell, RefCell};

/// Words of the memory, which begins at [`START`].
const WORDS: usize = 1024;
const START: u64 = 4096;
const ENTRY_BYTES: u64 = size_of::<BatchEntry>() as u64;

/// Memory that counts what is done to it.
struct Memory {
    words: RefCell<Vec<u64>>,
    checked: Cell<Option<(u64, u64)>>,
    loads: Cell<u64>,
    stores: Cell<u64>,
}

impl Memory {
    fn index(&self, address: u64) -> usize {
        let (start, bytes) = self.checked.get().expect("the list is checked before it is touched");
        assert!(address >= start && address + 8 <= start + bytes, "{address:#x} is outside the list");
        (address - START) as usize / 8
    }
}

impl ListMemory for Memory {
    fn check(&self, address: u64, bytes: u64) -> Result<(), Error> {
        let end = address.checked_add(bytes).ok_or(Error::BadAddress)?;
        if !address.is_multiple_of(8) || address < START || end > START + WORDS as u64 * 8 {
            return Err(Error::BadAddress);
        }
        assert!(self.checked.replace(Some((address, bytes))).is_none(), "checked once");
        Ok(())
    }

    fn load(&self, address: u64) -> Result<[u64; 5], Error> {
        self.loads.set(self.loads.get() + 1);
        let last = self.index(address + 32);
        let words = self.words.borrow();
        Ok(core::array::from_fn(|word| words[last - 4 + word]))
    }

    fn store(&self, address: u64, results: [u64; 2]) -> Result<(), Error> {
        self.stores.set(self.stores.get() + 1);
        let last = self.index(address + 8);
        self.words.borrow_mut()[last - 1..=last].copy_from_slice(&results);
        Ok(())
    }
}

/// Words: where the list is, how long, when it is enough, then the memory.
pub fn run(input: &[u8]) -> Outcome {
    let words: Vec<u64> = input.as_chunks::<8>().0.iter().map(|bytes| u64::from_le_bytes(*bytes)).collect();
    let [list, count, enough, rest @ ..] = words.as_slice() else { return 0 };
    let mut contents = rest.to_vec();
    contents.resize(WORDS, 0);
    let memory = Memory {
        words: RefCell::new(contents),
        checked: Cell::new(None),
        loads: Cell::new(0),
        stores: Cell::new(0),
    };
    let mut calls = Vec::new();
    let done = batch::run(
        &memory,
        *list,
        *count,
        |id, arguments| {
            calls.push(id);
            // The call writes into the list, or anywhere, and returns what it likes.
            let [target, value, ..] = arguments;
            let mut words = memory.words.borrow_mut();
            words[target as usize % WORDS] = value;
            Reply { status: if id % 3 == 0 { 0 } else { Error::Denied.to_status() as u64 }, value: id }
        },
        |id| id % (enough % 64 + 2) == 0,
    );
    judge(&memory, *list, *count, &calls, done)
}

fn judge(memory: &Memory, list: u64, count: u64, calls: &[u64], done: Result<u64, Error>) -> Outcome {
    let made = calls.len() as u64;
    assert!(made <= MAX_BATCH && memory.loads.get() == made && memory.stores.get() == made);
    let Ok(done) = done else {
        assert!(calls.is_empty(), "a refused batch has done something");
        return 1 + u64::from(count > MAX_BATCH);
    };
    assert_eq!(done, made, "what was done is what is counted");
    assert!(done == count || done > 0, "a batch that ends short has done something");
    if let (Some(id), Some(number)) = (calls.last(), done.checked_sub(1)) {
        // Nothing comes behind the last result, so it stands.
        let last = memory.index(list + number * ENTRY_BYTES + ENTRY_BYTES - 8);
        let words = memory.words.borrow();
        let expected = if id % 3 == 0 { [0, *id] } else { [Error::Denied.to_status() as u64, 0] };
        assert_eq!(words[last - 1..=last], expected);
    }
    8 + done * 2 + u64::from(done < count)
}

/// Lists that fit, that do not, and that are too long.
#[must_use]
pub fn seeds() -> Vec<Vec<u8>> {
    let bytes = |words: &[u64]| words.iter().flat_map(|word| word.to_le_bytes()).collect::<Vec<u8>>();
    let list = |start: u64, count: u64| {
        let mut words = vec![start, count, 5];
        words.extend((0..count.min(16)).flat_map(|entry| [entry + 1, entry * 9, 3, 0, 0, 0, 0, 0, 0]));
        bytes(&words)
    };
    let end = START + WORDS as u64 * 8;
    vec![
        list(START, 8),
        list(START, MAX_BATCH),
        list(START, MAX_BATCH + 1),
        list(end - 72, 1),
        list(end - 64, 1),
        list(START + 4, 1),
        list(0, 0),
        list(u64::MAX - 7, 2),
    ]
}
