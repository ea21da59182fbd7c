//! What the shell can do.

use super::crash;
use crate::arch::heap;
use crate::console::println;
use crate::memory::{frames, kernel_space};
use crate::process;
use crate::threads::{self, State};
use crate::{cpu, demo, lines};
use alloc::format;
use alloc::string::String;
use demo_programs::Program;
use pvops_abi::ops::sched::{self, ShutdownReason};
use pvops_abi::ops::{self, mmu::mmu, time};

struct Command {
    name: &'static str,
    arguments: &'static str,
    what: &'static str,
    run: fn(&[&str]),
}

const COMMANDS: &[Command] = &[
    Command { name: "help", arguments: "[crash]", what: "this list, or the kinds of crash", run: help },
    Command { name: "ps", arguments: "", what: "threads and processes", run: ps },
    Command { name: "mem", arguments: "", what: "memory: frames, heap, address space", run: mem },
    Command { name: "uptime", arguments: "", what: "time since start, and the time of day", run: uptime },
    Command { name: "backend", arguments: "", what: "what this kernel runs on", run: backend },
    Command {
        name: "cpuid",
        arguments: "[leaf [subleaf]]",
        what: "the CPU as this kernel sees it",
        run: cpuid,
    },
    Command { name: "run", arguments: "<program> [argument]", what: "a user program", run },
    Command {
        name: "spin",
        arguments: "[ms]",
        what: "two programs that compute in the background",
        run: spin,
    },
    Command { name: "flood", arguments: "[lines]", what: "lines as fast as they can be written", run: flood },
    Command { name: "demo", arguments: "", what: "the workload of run=demo", run: run_demo },
    Command { name: "crash", arguments: "<kind>", what: "break the kernel; kinds: help crash", run: crash },
    Command { name: "exit", arguments: "[status]", what: "power off", run: exit },
];

/// Executes a command line.
pub(super) fn execute(name: &str, arguments: &[&str]) {
    match COMMANDS.iter().find(|command| command.name == name) {
        Some(command) => (command.run)(arguments),
        None => println!("{name}: no such command; try help"),
    }
}

fn help(arguments: &[&str]) {
    if arguments.first() == Some(&"crash") {
        crash::list();
        return;
    }
    for command in COMMANDS {
        println!("  {:<27} {}", format!("{} {}", command.name, command.arguments), command.what);
    }
}

fn ps(_: &[&str]) {
    println!("  id  priority  state     ms        pages  name");
    for thread in threads::all() {
        let state = match thread.state() {
            State::Runnable => "runnable",
            State::Blocked => "blocked",
            State::Dead => "dead",
        };
        let pages =
            |process: &process::Process| process.memory().as_ref().map_or(0, |memory| memory.present_pages());
        let pages = thread
            .process
            .as_deref()
            .map_or_else(|| String::from("-"), |process| format!("{}", pages(process)));
        let ms = thread.run_ns() / 1_000_000;
        println!(
            "  {:<3} {:<9} {:<9} {:<9} {:<6} {}",
            thread.id, thread.priority, state, ms, pages, thread.name
        );
    }
}

fn mem(_: &[&str]) {
    let (free, total) = (frames::free(), frames::total());
    println!("  frames       {free} free of {total} ({} KiB of {} KiB)", free * 4, total * 4);
    println!("  heap         {} KiB", heap::size() / 1024);
    println!("  kernel root  {:#x}", kernel_space::root().0);
    println!("  user slot    {:#x}", kernel_space::user_base().0);
    let caps = mmu().caps();
    println!("  large pages  2 MiB {}, 1 GiB {}", yes(caps.pages_2m), yes(caps.pages_1g));
    mmu()
        .reserved_ranges()
        .iter()
        .for_each(|range| println!("  reserved     {:#x}..={:#x}", range.start, range.last));
}

fn yes(answer: bool) -> &'static str {
    if answer { "yes" } else { "no" }
}

/// Exercises `time::now_ns` and `time::wall_clock_ns`.
fn uptime(_: &[&str]) {
    let up = time::now_ns() / 1_000_000;
    let second = time::wall_clock_ns() / 1_000_000_000;
    let (hour, minute) = (second / 3600 % 24, second / 60 % 60);
    println!(
        "  up {}.{:03} s; {hour:02}:{minute:02}:{:02} UTC, Unix time {second}",
        up / 1000,
        up % 1000,
        second % 60
    );
}

/// The backend's name is asked for here and in the banner, only to print it.
fn backend(_: &[&str]) {
    println!("  backend         {}", ops::ops().backend_name);
    println!("  CPUs            {}", ops::smp::cpu_count());
    println!("  code segment    {:#x}, ring {}", ops::cpu::code_segment(), ops::cpu::code_segment() & 3);
    println!("  counter         {} Hz", time::counter_hz());
    println!("  keeps roots     {}", yes(mmu().caps().keeps_roots));
    println!("  hidden faults   {}", cpu::hidden_faults());
}

/// Exercises `cpu::cpuid` and `cpu::fpu`.
fn cpuid(arguments: &[&str]) {
    let numbers: Option<alloc::vec::Vec<u32>> = arguments.iter().map(|text| number(text)).collect();
    match numbers.as_deref() {
        Some([]) => describe_cpu(),
        Some([leaf]) => print_leaf(*leaf, 0),
        Some([leaf, subleaf, ..]) => print_leaf(*leaf, *subleaf),
        None => println!("cpuid: leaf and subleaf are numbers, 0x for hexadecimal ones"),
    }
}

fn number(text: &str) -> Option<u32> {
    match text.strip_prefix("0x") {
        Some(digits) => u32::from_str_radix(digits, 16).ok(),
        None => text.parse().ok(),
    }
}

fn print_leaf(leaf: u32, subleaf: u32) {
    let found = ops::cpu::cpuid(leaf, subleaf);
    println!(
        "  {leaf:#x}.{subleaf:#x}: eax {:08x} ebx {:08x} ecx {:08x} edx {:08x}",
        found.eax, found.ebx, found.ecx, found.edx
    );
}

fn describe_cpu() {
    let first = ops::cpu::cpuid(0, 0);
    println!("  vendor    {}", text_of(&[first.ebx, first.edx, first.ecx]));
    if ops::cpu::cpuid(0x8000_0000, 0).eax >= 0x8000_0004 {
        let parts = [0x8000_0002, 0x8000_0003, 0x8000_0004].map(|leaf| ops::cpu::cpuid(leaf, 0));
        println!(
            "  brand     {}",
            parts.map(|part| text_of(&[part.eax, part.ebx, part.ecx, part.edx])).concat()
        );
    }
    let fpu = ops::cpu::fpu();
    println!("  highest   {:#x}", first.eax);
    println!("  xsave     {} bytes, components {:#x}", fpu.area_bytes, fpu.components);
    (0..=first.eax.min(7)).for_each(|leaf| print_leaf(leaf, 0));
}

fn text_of(words: &[u32]) -> String {
    let bytes = words.iter().flat_map(|word| word.to_le_bytes());
    bytes.filter(|byte| (b' '..=b'~').contains(byte)).map(char::from).collect()
}

fn run(arguments: &[&str]) {
    let program =
        arguments.first().and_then(|name| Program::ALL.iter().find(|program| program.name() == *name));
    let argument = arguments.get(1).map_or(Some(0), |text| text.parse().ok());
    let (Some(program), Some(argument)) = (program, argument) else {
        let names = Program::ALL.iter().map(|program| program.name());
        println!(
            "usage: run <program> [argument]; programs: {}",
            names.collect::<alloc::vec::Vec<_>>().join(" ")
        );
        return;
    };
    match process::spawn(*program, argument, None) {
        Ok(process) => println!("status {:#x}", process::wait(&process)),
        Err(_) => println!("run: memory has run out"),
    }
}

fn spin(arguments: &[&str]) {
    let milliseconds = arguments.first().map_or(Some(3000), |text| text.parse().ok());
    let Some(milliseconds) = milliseconds else {
        println!("usage: spin [ms]");
        return;
    };
    for _ in 0..2 {
        match process::spawn(Program::Spin, milliseconds, None) {
            Ok(process) => println!("process {} computes for {milliseconds} ms; see ps", process.id),
            Err(_) => println!("spin: memory has run out"),
        }
    }
}

fn flood(arguments: &[&str]) {
    match arguments.first().map_or(Some(1000), |text| text.parse().ok()) {
        Some(lines) => lines::flood(lines),
        None => println!("usage: flood [lines]"),
    }
}

fn run_demo(_: &[&str]) {
    println!("status {}", demo::run());
}

fn crash(arguments: &[&str]) {
    match arguments.first() {
        Some(kind) if crash::crash(kind) => println!("still here: {kind} broke nothing"),
        Some(kind) => println!("{kind}: no such kind; try help crash"),
        None => crash::list(),
    }
}

fn exit(arguments: &[&str]) {
    match arguments.first().map_or(Some(0), |text| text.parse().ok()) {
        Some(status) => sched::shutdown(ShutdownReason::PowerOff, status),
        None => println!("usage: exit [status]; a status is 0 to 255"),
    }
}
