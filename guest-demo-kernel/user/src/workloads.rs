//! Programs of `run=workloads`: each does a fixed amount of one kind of work and returns a status that shows it was done.

use crate::machine::{self, system_call};
use crate::{call, exit, grow, print};
use demo_programs::{CHECKSUM_START, FAILED, MESSAGE_BYTES, SystemCall, checksum, next_random};

/// Sorts numbers and adds them up, `rounds` times, with `pause` between them.
pub(crate) fn compute(rounds: u64, pause: impl Fn()) -> u64 {
    let mut state = 0x1234_5678_9abc_def1;
    let mut numbers = [0_u64; 256];
    let mut sum = CHECKSUM_START;
    for _ in 0..rounds {
        for number in &mut numbers {
            state = next_random(state);
            *number = state;
        }
        heap_sort(&mut numbers);
        if !numbers.is_sorted() {
            return FAILED;
        }
        sum = numbers.iter().fold(sum, |sum, number| checksum(sum, *number));
        pause();
    }
    sum >> 1
}

/// The library's sorts depend on its version; this one's work is always the same.
fn heap_sort(numbers: &mut [u64]) {
    for start in (0..numbers.len() / 2).rev() {
        sift_down(numbers, start);
    }
    for end in (1..numbers.len()).rev() {
        numbers.swap(0, end);
        sift_down(&mut numbers[..end], 0);
    }
}

fn sift_down(heap: &mut [u64], mut parent: usize) {
    loop {
        let left = 2 * parent + 1;
        let Some(&first) = heap.get(left) else { return };
        let child = if heap.get(left + 1).is_some_and(|right| *right > first) { left + 1 } else { left };
        if heap[child] <= heap[parent] {
            return;
        }
        heap.swap(child, parent);
        parent = child;
    }
}

/// The shortest system call there is.
pub(crate) fn call_many(times: u64) -> u64 {
    (0..times).map(|_| call(SystemCall::GetProcess, 0)).max().unwrap_or(FAILED)
}

/// Gives the CPU to the next program in the ring.
pub(crate) fn yield_many(times: u64) -> u64 {
    (0..times).for_each(|_| _ = call(SystemCall::Yield, 0));
    0
}

/// Touches new memory, a page at a time.
pub(crate) fn touch_many(pages: u64) -> u64 {
    const PAGE: u64 = 4096;
    let memory = grow(pages * PAGE);
    (0..pages).for_each(|page| machine::fill(memory + page * PAGE, 1, || page));
    let right = (0..pages).all(|page| machine::word(memory + page * PAGE) == page);
    if right { 0 } else { FAILED }
}

/// Forks children that write to some of the memory that they share with it, and end.
pub(crate) fn fork_many(times: u64) -> u64 {
    const PAGES: u64 = 32;
    const WRITTEN: u64 = 16;
    let memory = grow(PAGES * 4096);
    let write = |pages: u64, value: u64| {
        (0..pages).for_each(|page| machine::fill(memory + page * 4096, 1, || value));
    };
    for round in 1..=times {
        write(PAGES, round);
        match call(SystemCall::Fork, 0) {
            FAILED => return FAILED,
            0 => {
                write(WRITTEN, 0);
                exit(machine::word(memory + (PAGES - 1) * 4096));
            }
            child if call(SystemCall::Wait, child) != round || machine::word(memory) != round => {
                return FAILED;
            }
            _ => {}
        }
    }
    0
}

/// Sends messages through the pipe.
pub(crate) fn send_many(messages: u64) -> u64 {
    for number in 0..messages {
        let message = [number as u8; MESSAGE_BYTES];
        if system_call(SystemCall::Send, [message.as_ptr() as u64, MESSAGE_BYTES as u64, 0]) == FAILED {
            return FAILED;
        }
    }
    0
}

/// Receives them, and looks whether they are the ones that were sent.
pub(crate) fn receive_many(messages: u64) -> u64 {
    for number in 0..messages {
        let mut message = [0; MESSAGE_BYTES];
        system_call(SystemCall::Receive, [message.as_mut_ptr() as u64, MESSAGE_BYTES as u64, 0]);
        if core::hint::black_box(message) != [number as u8; MESSAGE_BYTES] {
            return FAILED;
        }
    }
    0
}

/// Sleeps for a tenth of a millisecond, many times.
pub(crate) fn sleep_many(times: u64) -> u64 {
    (0..times).for_each(|_| _ = call(SystemCall::Sleep, 100_000));
    0
}

/// Prints lines.
pub(crate) fn print_many(lines: u64) -> u64 {
    (0..lines).for_each(|line| {
        print(format_args!("line {line} of a workload that prints and does nothing else\n"))
    });
    0
}
