//! Lists of calls that change under the hands of whoever makes them: each call may write over the list, as another
//! vCPU would, or as a call does that stores into it.

use crate::Outcome;
use hypervisor::front::batch::{self, Calls, ListEntry, ListMemory};
use hypervisor::front::fast::Reply;
use pvops_abi::error::Error;
use pvops_abi::layout::{BatchEntry, MAX_BATCH};
use std::cell::{Cell, RefCell};

/// Words of the memory, which begins at [`START`].
const WORDS: usize = 1024;
const START: u64 = 4096;
const ENTRY_BYTES: u64 = size_of::<BatchEntry>() as u64;
const ENTRY_WORDS: usize = size_of::<BatchEntry>() / 8;

/// Memory that counts what is done to it.
struct Memory {
    words: RefCell<Vec<u64>>,
    was_checked: Cell<bool>,
    ids: Cell<u64>,
    arguments: Cell<u64>,
    stores: Cell<u64>,
}

/// An entry, by its first word.
struct Entry<'a> {
    memory: &'a Memory,
    word: usize,
}

impl ListMemory for Memory {
    fn entries(&self, list: u64, count: u64) -> Result<impl Iterator<Item = impl ListEntry>, Error> {
        let end = list.checked_add(count * ENTRY_BYTES).ok_or(Error::BadAddress)?;
        if !list.is_multiple_of(8) || list < START || end > START + WORDS as u64 * 8 {
            return Err(Error::BadAddress);
        }
        assert!(!self.was_checked.replace(true), "checked once");
        let first = (list - START) as usize / 8;
        Ok((0..count as usize).map(move |number| Entry { memory: self, word: first + number * ENTRY_WORDS }))
    }
}

impl ListEntry for Entry<'_> {
    fn id(&self) -> u64 {
        self.memory.ids.set(self.memory.ids.get() + 1);
        self.memory.words.borrow()[self.word]
    }

    fn arguments(&self) -> [u64; 4] {
        self.memory.arguments.set(self.memory.arguments.get() + 1);
        let words = self.memory.words.borrow();
        core::array::from_fn(|argument| words[self.word + 1 + argument])
    }

    fn store(&self, reply: Reply) {
        self.memory.stores.set(self.memory.stores.get() + 1);
        let end = self.word + ENTRY_WORDS;
        self.memory.words.borrow_mut()[end - 2..end].copy_from_slice(&[reply.status, reply.value]);
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
        was_checked: Cell::new(false),
        ids: Cell::new(0),
        arguments: Cell::new(0),
        stores: Cell::new(0),
    };
    let mut calls = Made { memory: &memory, enough: enough % 64 + 2, ids: Vec::new() };
    let done = batch::run(&memory, *list, *count, &mut calls);
    let calls = calls.ids;
    judge(&memory, *list, *count, &calls, done)
}

/// The calls that were made.
struct Made<'a> {
    memory: &'a Memory,
    enough: u64,
    ids: Vec<u64>,
}

impl Calls for Made<'_> {
    type Call = u64;

    fn find(&self, id: u64) -> u64 {
        id
    }

    /// The call writes into the list, or anywhere, and returns what it likes.
    fn make(&mut self, id: u64, [target, value, ..]: [u64; 4]) -> Reply {
        self.ids.push(id);
        self.memory.words.borrow_mut()[target as usize % WORDS] = value;
        reply(id)
    }

    fn is_enough(&mut self, id: u64) -> bool {
        id.is_multiple_of(self.enough)
    }
}

/// What the call `id` returns.
fn reply(id: u64) -> Reply {
    Reply::from(if id.is_multiple_of(3) { Ok(id) } else { Err(Error::Denied) })
}

fn judge(memory: &Memory, list: u64, count: u64, calls: &[u64], done: Result<u64, Error>) -> Outcome {
    let made = calls.len() as u64;
    assert!(
        made <= MAX_BATCH
            && memory.ids.get() == made
            && memory.arguments.get() == made
            && memory.stores.get() == made
    );
    let Ok(done) = done else {
        assert!(calls.is_empty(), "a refused batch has done something");
        return 1 + u64::from(count > MAX_BATCH);
    };
    assert_eq!(done, made, "what was done is what is counted");
    assert!(done == count || done > 0, "a batch that ends short has done something");
    if let (Some(id), Some(number)) = (calls.last(), done.checked_sub(1)) {
        // Nothing comes behind the last result, so it stands.
        let end = ((list - START) / 8) as usize + (number as usize + 1) * ENTRY_WORDS;
        let Reply { status, value } = reply(*id);
        assert_eq!(memory.words.borrow()[end - 2..end], [status, value]);
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
