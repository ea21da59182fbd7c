//! The conformance suite: a guest that runs small tests of the ABI and of the operations, and prints a line for
//! each.
//!
//! It needs nothing but the ABI, so that anybody's hypervisor can be its subject; on the bare machine the same
//! tests of the operations show what hardware does. Reading order: this file, [`harness`], then any file in
//! [`tests`]. The line format is in `spec/conformance.md`.
//!
//! Command line: `only=PREFIX` runs the tests whose names begin so, `skip=NAME,NAME` leaves some out, `after=NAME`
//! goes on behind a test, `list=1` runs none. `part=peer` plays the other part of tests with two domains, for a suite
//! with `peer=1`.
#![cfg_attr(target_os = "none", no_std, no_main)]

#[cfg(target_os = "none")]
mod harness;
#[cfg(target_os = "none")]
mod tests;
#[cfg(any(test, target_os = "none"))]
mod verdict;

#[cfg(target_os = "none")]
mod guest {
    use crate::harness::{self, events, faults, println, world};
    use core::panic::PanicInfo;
    use pvops_abi::boot::BootContext;
    use pvops_abi::ops::cpu::Handlers;
    use pvops_abi::ops::sched::{self, ShutdownReason};
    use pvops_abi::ops::{self, cpu};

    /// What runs at traps and events.
    pub(crate) const HANDLERS: Handlers =
        Handlers { trap: faults::on_trap, event: events::on_event, system_call: faults::on_system_call };

    /// Where both entries meet, see [`harness::entry`].
    pub(crate) fn main(boot: &'static BootContext) -> ! {
        world::init(boot);
        ops::init(boot, &world::KERNEL, &[&pvops_abi::hyper::BACKEND, &pvops_native::BACKEND])
            .expect("a backend for this machine");
        cpu::start_cpu(0, &world::BLOCK, HANDLERS);
        harness::tables::load_base_root();
        if boot.option("part") == Some("peer") {
            harness::peer::play();
        }
        let all_passed = harness::run(boot);
        harness::peer::end();
        sched::shutdown(ShutdownReason::PowerOff, u8::from(!all_passed))
    }

    #[panic_handler]
    fn panic(info: &PanicInfo<'_>) -> ! {
        if ops::is_ready() {
            println!("suite: broken: {info}");
            sched::shutdown(ShutdownReason::Crash, 1)
        }
        loop {
            core::hint::spin_loop();
        }
    }
}

/// The suite is a kernel; on a host there is nothing to run.
#[cfg(not(target_os = "none"))]
fn main() {
    eprintln!("conformance-suite is a guest: see conformance/README.md");
}
