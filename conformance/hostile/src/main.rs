//! The hostile guest: the only domain of a hypervisor, it does what a broken or malicious kernel would do, and what a
//! malicious program under such a kernel would.
//!
//! Command line: `attack=NAME,NAME` makes attacks of the table in [`attacks`], `attack=list` prints the table. An attack
//! is a group of small ones that the hypervisor answers with a status or a fault; then the guest prints
//! `attack: NAME survived` and shuts down with status 0, or prints what was answered wrongly and ends with 1. Attacks
//! that the specification answers by stopping the domain are one each, and do not come back. `seed=` and `count=`
//! are for the attack `random`. Reading order: this file, [`harness`], then any file in [`attacks`].
#![cfg_attr(target_os = "none", no_std, no_main)]

#[cfg(target_os = "none")]
mod attacks;
#[cfg(target_os = "none")]
mod harness;

#[cfg(target_os = "none")]
mod guest {
    use crate::attacks;
    use crate::harness::{self, attempt, events, println, world};
    use core::panic::PanicInfo;
    use pvops_abi::boot::BootContext;
    use pvops_abi::ops::cpu::Handlers;
    use pvops_abi::ops::sched::{self, ShutdownReason};
    use pvops_abi::ops::{self, cpu};

    pvops_native::entry_point!(main);

    /// What runs at traps, events and system calls.
    pub(crate) const HANDLERS: Handlers =
        Handlers { trap: attempt::on_trap, event: events::on_event, system_call: attempt::on_trap };

    fn main(boot: &'static BootContext) -> ! {
        world::init(boot);
        ops::init(boot, &world::KERNEL, &[&pvops_abi::hyper::BACKEND])
            .expect("a hypervisor that speaks the ABI");
        cpu::start_cpu(0, &world::BLOCK, HANDLERS);
        harness::prepare();
        let name = boot.option("attack").unwrap_or("list");
        let succeeded = attacks::perform(name);
        sched::shutdown(ShutdownReason::PowerOff, u8::from(!succeeded))
    }

    #[panic_handler]
    fn panic(info: &PanicInfo<'_>) -> ! {
        if ops::is_ready() {
            println!("attack: broken: {info}");
            sched::shutdown(ShutdownReason::PowerOff, 2)
        }
        loop {
            core::hint::spin_loop();
        }
    }
}

/// The guest is a kernel; on a host there is nothing to run.
#[cfg(not(target_os = "none"))]
fn main() {
    eprintln!("hostile-guest is a guest: see spec/attacks.md");
}
