//! A small kernel written only against the pvops interface: the same ELF runs on the bare machine in ring 0 and
//! as a guest in ring 3, and does not know which.
//!
//! It asks for no address and executes no privileged instruction. What it is told is in [`BootContext`]; what it
//! wants done it says to `pvops_abi::ops`. Reading order: this file, `memory`, `threads`, `trap`, `system_call`,
//! `process`; then what it is all for: `shell`, `demo`, `load`, `lines`, `realtime`, `doorbell`, `fragile`, `serial`,
//! `edu`, `call_sites`, `workloads`.
#![no_std]
#![no_main]
#![deny(unsafe_code)]

extern crate alloc;

#[allow(unsafe_code)]
mod arch;
mod call_sites;
mod console;
mod cpu;
mod demo;
mod doorbell;
mod edu;
mod events;
mod fragile;
mod lines;
mod load;
mod memory;
mod options;
mod process;
mod realtime;
mod report;
mod serial;
mod shell;
mod sync;
mod system_call;
mod threads;
mod trap;
mod workloads;

use alloc::string::String;
use console::println;
use core::panic::PanicInfo;
use memory::{frames, kernel_space};
use options::Refused;
use pvops_abi::addr::{PhysAddr, VirtAddr};
use pvops_abi::boot::{BootContext, option_of};
use pvops_abi::layout::TrapFrame;
use pvops_abi::ops::cpu::Handlers;
use pvops_abi::ops::sched::{self, ShutdownReason};
use pvops_abi::ops::{self, Backend, Kernel, Patching};

pvops_native::entry_point!(main);

/// Asked in this order; each takes part if it finds itself where it works.
const BACKENDS: [&dyn Backend; 3] =
    [&pvops_native::checking::BACKEND, &pvops_abi::hyper::BACKEND, &pvops_native::BACKEND];

fn main(boot: &'static BootContext) -> ! {
    // Physical memory first: a backend may ask for frames while it starts.
    arch::set_physical_map(boot.physical_map);
    frames::init(boot);
    // The world is chosen here, and never asked about again. Exercises `ops::init`.
    // `patch=off` leaves the call sites as they are, which must show in nothing but speed.
    let patching = if boot.option("patch") == Some("off") { Patching::Off } else { Patching::On };
    ops::init_with(boot, &DemoKernel, &BACKENDS, patching).expect("a backend for this machine");
    // From here on a fault is reported. Exercises `cpu::start_cpu`.
    ops::cpu::start_cpu(0, &cpu::of_number(0).block, HANDLERS);
    // Own page tables in place of the boot loader's.
    kernel_space::build(boot).expect("memory for page tables");
    // The rest is threads.
    threads::start(move || first_thread(boot))
}

/// What the kernel does on its own stack, with interrupts enabled.
fn first_thread(boot: &'static BootContext) {
    // The command line may lie in memory that is about to be reclaimed.
    let command_line = String::from(boot.command_line);
    kernel_space::unmap_boot_stack(boot);
    let reclaimed = frames::reclaim(boot);
    console::start();
    print_banner(reclaimed);
    let status = match option_of(&command_line, "run") {
        None | Some("shell") => return shell::run(),
        Some("demo") => Ok(demo::run()),
        Some("load") => load::run(&command_line),
        Some("lines") => lines::run(&command_line),
        Some("ops") => Ok(call_sites::count_costs()),
        Some("sites") => Ok(call_sites::list(boot.kernel_start)),
        Some("rt") => realtime::run(&command_line),
        Some("doorbell") => doorbell::run(&command_line),
        Some("workloads") => workloads::run(&command_line),
        Some("fragile") => fragile::run(&command_line),
        Some("serial") => serial::run(&command_line),
        Some("edu") => edu::run(&command_line),
        Some(other) => Err(Refused {
            option: "run",
            value: other.into(),
            wanted: "shell, demo, load, lines, rt, doorbell, fragile, serial, edu, ops, sites or workloads"
                .into(),
        }),
    };
    finish(status.unwrap_or_else(|refused| {
        println!("{refused}");
        2
    }))
}

/// Ends with the status of a workload. Exercises `sched::shutdown`.
fn finish(status: u8) -> ! {
    sched::shutdown(ShutdownReason::PowerOff, status)
}

fn print_banner(reclaimed: usize) {
    println!("demo kernel {} on backend {}", env!("CARGO_PKG_VERSION"), ops::ops().backend_name);
    println!(
        "{} CPU(s), {} KiB of memory, {} KiB reclaimed from the boot loader, cs={:#x} (ring {})",
        ops::smp::cpu_count(),
        frames::total() * 4,
        reclaimed * 4,
        ops::cpu::code_segment(),
        ops::cpu::code_segment() & 3,
    );
    call_sites::print_status();
}

/// Where traps, events and system calls go.
const HANDLERS: Handlers =
    Handlers { trap: trap::on_trap, event: on_event, system_call: system_call::on_system_call };

fn on_event(_: &mut TrapFrame) {
    threads::on_event();
}

/// What backends may ask of this kernel.
struct DemoKernel;

impl Kernel for DemoKernel {
    fn alloc_frame(&self) -> Option<PhysAddr> {
        frames::allocate()
    }
    fn free_frame(&self, frame: PhysAddr) {
        frames::release(frame);
    }
    fn phys_to_virt(&self, phys: PhysAddr) -> VirtAddr {
        arch::phys_to_virt(phys)
    }
}

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    if !ops::is_ready() {
        // There is no console yet and no way to stop.
        loop {
            core::hint::spin_loop();
        }
    }
    console::print_in_crash(format_args!("kernel panic: {info}\n"));
    sched::shutdown(ShutdownReason::Crash, 1)
}
