//! The backend: when it applies, and the order in which the machine is brought up.

use pvops_abi::boot::{BootContext, Platform};
use pvops_abi::ops::{Backend, Groups, InitError, Kernel};

use crate::{clock, console, cpu, event, io_apic, irq, local_apic, machine, mmu, pic, power, smp};

/// Reaches the bare machine. The only value is [`BACKEND`].
#[derive(Debug)]
pub struct NativeBackend {
    /// Nobody else makes one: the state behind it is static.
    _private: (),
}

/// The bare machine.
pub static BACKEND: NativeBackend = NativeBackend { _private: () };

impl Backend for NativeBackend {
    fn name(&self) -> &'static str {
        "native"
    }

    fn probe(&self, boot: &BootContext) -> bool {
        matches!(boot.platform, Platform::Metal { .. })
    }

    fn start(
        &'static self,
        boot: &'static BootContext,
        kernel: &'static dyn Kernel,
    ) -> Result<Groups, InitError> {
        bring_up(boot, kernel).map_err(|reason| InitError::Backend { name: self.name(), reason })?;
        Ok(Groups {
            irq: Some(&irq::Flag),
            cpu: Some(&cpu::Cpu),
            mmu: Some(&mmu::NATIVE),
            time: Some(&clock::Clock),
            event: Some(&event::Ports),
            console: Some(&console::Uart),
            sched: Some(&power::Power),
            smp: Some(&smp::Processors),
        })
    }
}

/// Finds the machine's parts, silences them, then starts clock and console. The boot CPU's own tables and
/// entries follow in `CpuOps::start_cpu`, when the kernel has its handlers.
fn bring_up(boot: &'static BootContext, kernel: &'static dyn Kernel) -> Result<(), &'static str> {
    irq::mask();
    cpu::use_boot_block();
    machine::discover(boot, kernel)?;
    cpu::features::enable();
    console::start();
    pic::silence();
    io_apic::start();
    local_apic::start();
    event::start_cpu(0);
    clock::start()
}
