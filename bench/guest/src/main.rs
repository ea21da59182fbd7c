//! Hypermark's guest: measures operations and workloads, natively and as a guest, with one ELF.
//!
//! Under QEMU's `-icount shift=0` one executed instruction is one tick of the time-stamp counter, so a difference of
//! two readings is a count of instructions, the same on every computer. Around each operation stand marks that
//! `hypermark-plugin` sees; this program runs the same without it.
//!
//! Command line: `run=micro` (the operations), `run=switch` beside a domain with `run=partner` (the switch between two
//! domains on one CPU); `only=PREFIX` selects operations.
#![cfg_attr(target_os = "none", no_std, no_main)]

#[cfg(target_os = "none")]
mod entry;
#[cfg(target_os = "none")]
mod measure;
#[cfg(target_os = "none")]
mod micro;
#[cfg(target_os = "none")]
mod tables;
#[cfg(target_os = "none")]
mod user;
#[cfg(target_os = "none")]
mod world;

#[cfg(target_os = "none")]
mod guest {
    use crate::measure::println;
    use crate::{entry, micro, tables, world};
    use core::panic::PanicInfo;
    use pvops_abi::boot::BootContext;
    use pvops_abi::layout::TrapFrame;
    use pvops_abi::ops::cpu::Handlers;
    use pvops_abi::ops::sched::{self, ShutdownReason};
    use pvops_abi::ops::{self, cpu};

    pvops_native::entry_point!(main);

    /// The library's own entries lead here. Operations are measured on entries of this program's own, see
    /// [`crate::entry`].
    const HANDLERS: Handlers = Handlers { trap: unexpected, event: unexpected, system_call: unexpected };

    fn main(boot: &'static BootContext) -> ! {
        world::init(boot);
        ops::init(boot, &world::KERNEL, &[&pvops_abi::hyper::BACKEND, &pvops_native::BACKEND])
            .expect("a backend for this machine");
        cpu::start_cpu(0, &world::BLOCK, HANDLERS);
        tables::start();
        entry::install();
        match boot.option("run").unwrap_or("micro") {
            "micro" => micro::run(boot.option("only").unwrap_or("")),
            "switch" => micro::switch::run(),
            "partner" => micro::switch::be_partner(),
            other => panic!("run={other}: it must be micro, switch or partner"),
        }
        sched::shutdown(ShutdownReason::PowerOff, 0)
    }

    fn unexpected(frame: &mut TrapFrame) {
        panic!(
            "vector {}, error {:#x}, rip {:#x}, address {:#x}",
            frame.vector, frame.error_code, frame.rip, frame.fault_address
        );
    }

    #[panic_handler]
    fn panic(info: &PanicInfo<'_>) -> ! {
        if ops::is_ready() {
            println!("hypermark: broken: {info}");
            sched::shutdown(ShutdownReason::Crash, 1)
        }
        loop {
            core::hint::spin_loop();
        }
    }
}

/// There is nothing to measure on a host.
#[cfg(not(target_os = "none"))]
fn main() {
    eprintln!("hypermark is a guest: see `cargo pv bench`");
}
