//! The user programs of the demo kernel: one ELF, entered with the number of the program to be.
//!
//! Each returns a status that the kernel compares or prints. They run in ring 3 in every world and know nothing
//! of the world they are in.
#![no_std]
#![no_main]
#![deny(unsafe_code)]

mod machine;
mod workloads;

use core::fmt::Write;
use demo_programs::{CHECKSUM_START, FAILED, Misdeed, Program, Statistic, SystemCall, checksum, next_random};
use machine::{Bases, Vectors, system_call, ticks};

/// Where every program begins.
extern "C" fn start(program: u64, argument: u64) -> ! {
    let status = Program::from_number(program).map_or(FAILED, |program| run(program, argument));
    exit(status)
}

fn run(program: Program, argument: u64) -> u64 {
    match program {
        Program::Hello => hello(argument),
        Program::SystemCalls => system_calls(),
        Program::Vectors => vectors(argument),
        Program::Fork => fork(),
        Program::Demand => demand(argument),
        Program::Intruder => intruder(),
        Program::Yielder => yielder(argument),
        Program::Misbehave => misbehave(argument),
        Program::Spin => spin(argument),
        Program::Echo => echo(),
        Program::Sleeper => sleeper(argument),
        Program::Compute => workloads::compute(argument, || {}),
        Program::CallMany => workloads::call_many(argument),
        Program::YieldMany => workloads::yield_many(argument),
        Program::TouchMany => workloads::touch_many(argument),
        Program::ForkMany => workloads::fork_many(argument),
        Program::SendMany => workloads::send_many(argument),
        Program::ReceiveMany => workloads::receive_many(argument),
        Program::SleepMany => workloads::sleep_many(argument),
        Program::PrintMany => workloads::print_many(argument),
        Program::ComputeAndYield => workloads::compute(argument, || _ = call(SystemCall::Yield, 0)),
    }
}

/// Says hello, and starts another one of itself as long as the argument is not 0; status: how many there were.
fn hello(argument: u64) -> u64 {
    let process = call(SystemCall::GetProcess, 0);
    print(format_args!("hello from process {process} in user mode, argument {argument}\n"));
    if argument == 0 {
        return 1;
    }
    let child = system_call(SystemCall::Spawn, [Program::Hello as u64, argument - 1, 0]);
    call(SystemCall::Wait, child) + 1
}

/// The shortest call there is, many times.
fn system_calls() -> u64 {
    const CALLS: u64 = 2000;
    let round = || (0..CALLS).for_each(|_| _ = call(SystemCall::GetProcess, 0));
    round();
    let begin = ticks();
    round();
    (ticks() - begin) / CALLS
}

/// Computes in vector registers, long enough to be preempted, and the same in integer registers; the kernel
/// must have kept the former, and the segment bases, apart from every other process's.
fn vectors(seed: u64) -> u64 {
    const ROUNDS: u64 = 20_000;
    const TIMES: u64 = 20;
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut values = Vectors([[0; 4]; 16]);
    values.0.iter_mut().flatten().for_each(|value| {
        state = next_random(state);
        *value = state;
    });
    let mut expected = values;
    let wide = machine::has_avx();
    let (bases, mine) = (Bases::new(), (seed << 32, seed << 40 | 8));
    bases.iter().for_each(|bases| bases.set(mine.0, mine.1));
    for _ in 0..TIMES {
        machine::vectors(&mut values, ROUNDS, wide);
        call(SystemCall::Yield, 0);
        (0..ROUNDS).for_each(|_| add_each_to_its_predecessor(&mut expected));
    }
    if values.0 != expected.0 || bases.is_some_and(|bases| bases.get() != mine) {
        return FAILED;
    }
    values
        .0
        .iter()
        .flat_map(|register| &register[..2])
        .fold(CHECKSUM_START, |sum, value| checksum(sum, *value))
}

fn add_each_to_its_predecessor(values: &mut Vectors) {
    for index in 0..16 {
        let next = values.0[(index + 1) % 16];
        for (lane, addend) in values.0[index][..2].iter_mut().zip(next) {
            *lane = lane.wrapping_add(addend);
        }
    }
}

/// Parent and child write the same pages after a fork; neither sees the other's writes.
fn fork() -> u64 {
    const WORDS: usize = 16 * 512;
    let memory = grow(WORDS as u64 * 8);
    let mut state = 7;
    machine::fill(memory, WORDS, || {
        state = next_random(state);
        state
    });
    let child = call(SystemCall::Fork, 0);
    if child == 0 {
        // Half of the pages, so that some stay shared.
        machine::fill(memory, WORDS / 2, || 0x00c0_ffee);
        exit(sum_of(memory, WORDS) >> 32);
    }
    machine::fill(memory, 512, || 0x7ea);
    let of_child = call(SystemCall::Wait, child);
    (sum_of(memory, WORDS) >> 32) << 32 | of_child
}

fn sum_of(memory: u64, words: usize) -> u64 {
    (0..words as u64).fold(CHECKSUM_START, |sum, index| checksum(sum, machine::word(memory + index * 8)))
}

/// Each new page costs one fault, at its first touch, and reads as zero.
fn demand(pages: u64) -> u64 {
    let touch = |memory: u64, pages: u64| {
        (0..pages).map(|page| machine::word(memory + page * 4096)).fold(0, |sum, word| sum | word)
    };
    let warm_up = grow(4096);
    let mut dirt = touch(warm_up, 1);
    call(SystemCall::Statistic, Statistic::DemandFaults as u64);
    let memory = grow(pages * 4096);
    let before = call(SystemCall::Statistic, Statistic::DemandFaults as u64);
    dirt |= touch(memory, pages);
    dirt |= touch(memory, pages);
    let faults = call(SystemCall::Statistic, Statistic::DemandFaults as u64) - before;
    if dirt == 0 { faults } else { FAILED }
}

/// Reads every address that the kernel names, and counts those that could be read.
fn intruder() -> u64 {
    call(SystemCall::OnFault, machine::probe_landing());
    let (mut tried, mut read) = (0, 0);
    // One of its own first: a probe that never succeeds would prove nothing.
    if !machine::probe(&raw const tried as u64) {
        return FAILED;
    }
    loop {
        let address = call(SystemCall::KernelAddress, tried);
        if address == FAILED {
            return tried << 32 | read;
        }
        tried += 1;
        read += u64::from(machine::probe(address));
    }
}

/// Two of these hand the CPU to each other. After the warm-up no hidden fault may happen.
fn yielder(times: u64) -> u64 {
    const AROUND: u64 = 16;
    let yields = |times| (0..times).for_each(|_| _ = call(SystemCall::Yield, 0));
    let hidden_faults = || call(SystemCall::Statistic, Statistic::HiddenFaults as u64);
    yields(AROUND);
    hidden_faults();
    yields(AROUND);
    let before = hidden_faults();
    yields(times);
    let taken = hidden_faults() - before;
    // Still here while the other one measures.
    yields(2 * AROUND);
    taken
}

fn misbehave(which: u64) -> u64 {
    let kernel = call(SystemCall::KernelAddress, 0);
    match Misdeed::from_number(which) {
        Some(Misdeed::PassKernelPointer) => pass_kernel_pointer(kernel),
        Some(misdeed) => {
            machine::misbehave(misdeed, kernel);
            FAILED
        }
        None => FAILED,
    }
}

/// The kernel must not read or write for a program what the program itself may not.
fn pass_kernel_pointer(kernel: u64) -> u64 {
    let bad = [(kernel, 16), (0, 1), (u64::MAX - 7, 16), (0x8000_0000_0000, 8), (kernel, u64::MAX)];
    let refused = |(address, bytes)| system_call(SystemCall::Write, [address, bytes, 0]) == FAILED;
    u64::from(!bad.into_iter().all(refused))
}

fn spin(milliseconds: u64) -> u64 {
    let end = call(SystemCall::Clock, 0) + milliseconds * 1_000_000;
    let mut rounds = 0;
    while call(SystemCall::Clock, 0) < end {
        (0..1000).for_each(|_| core::hint::spin_loop());
        rounds += 1;
    }
    rounds
}

/// Prints each line that is typed, until an empty one.
fn echo() -> u64 {
    let mut line = Line { text: [0; 256], length: 0 };
    loop {
        let mut key = [0];
        if system_call(SystemCall::Read, [key.as_mut_ptr() as u64, 1, 0]) != 1 {
            return FAILED;
        }
        match key {
            [b'\r' | b'\n'] if line.length == 0 => return 0,
            [b'\r' | b'\n'] => {
                print(format_args!("{}\n", line.as_str()));
                line.length = 0;
            }
            // What does not fit is dropped, as is what is not ASCII.
            [byte] => _ = line.write_char(char::from(byte & 0x7f)),
        }
    }
}

fn sleeper(nanoseconds: u64) -> u64 {
    let due = call(SystemCall::Clock, 0) + nanoseconds;
    call(SystemCall::Sleep, nanoseconds);
    let woke = call(SystemCall::Clock, 0);
    woke.checked_sub(due).map_or(FAILED, |late| late / 1000)
}

fn call(call: SystemCall, argument: u64) -> u64 {
    system_call(call, [argument, 0, 0])
}

fn grow(bytes: u64) -> u64 {
    let memory = call(SystemCall::Grow, bytes);
    if memory == FAILED {
        exit(FAILED);
    }
    memory
}

fn exit(status: u64) -> ! {
    loop {
        call(SystemCall::Exit, status);
    }
}

/// A line on its way to the kernel, so that it arrives in one piece.
struct Line {
    text: [u8; 256],
    length: usize,
}

impl Line {
    fn as_str(&self) -> &str {
        core::str::from_utf8(&self.text[..self.length]).unwrap_or("?")
    }
}

impl Write for Line {
    fn write_str(&mut self, text: &str) -> core::fmt::Result {
        let end = self.length + text.len();
        let room = self.text.get_mut(self.length..end).ok_or(core::fmt::Error)?;
        room.copy_from_slice(text.as_bytes());
        self.length = end;
        Ok(())
    }
}

fn print(text: core::fmt::Arguments<'_>) {
    let mut line = Line { text: [0; 256], length: 0 };
    // What does not fit is cut off.
    _ = line.write_fmt(text);
    system_call(SystemCall::Write, [line.text.as_ptr() as u64, line.length as u64, 0]);
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    print(format_args!("a user program panicked\n"));
    exit(FAILED)
}
