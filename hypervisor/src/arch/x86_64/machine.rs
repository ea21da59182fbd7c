//! The end: powering the machine off with a status.

use super::cpu::halt_forever;
use core::sync::atomic::{AtomicU16, AtomicU32, Ordering};
use system_image::ExitStatus;
use x86::io;

/// Port of QEMU's `isa-debug-exit`, from the system image; 0: none.
static DEBUG_EXIT_PORT: AtomicU16 = AtomicU16::new(0);
/// ACPI's control ports PM1a and PM1b, each with the value that means S5; 0: none.
static CONTROLS: [AtomicU32; 2] = [const { AtomicU32::new(0) }; 2];

/// Remembers the debug-exit port.
pub fn set_debug_exit_port(port: u16) {
    DEBUG_EXIT_PORT.store(port, Ordering::Relaxed);
}

/// Remembers how ACPI powers off: ports, and the sleep types of S5.
pub fn set_power_off(pm1a: u16, pm1b: u16, sleep_types: [u8; 2]) {
    const SLEEP_ENABLE: u16 = 1 << 13;
    let value = |port: u16, sleep: u8| {
        if port == 0 { 0 } else { u32::from(port) << 16 | u32::from(SLEEP_ENABLE | u16::from(sleep) << 10) }
    };
    CONTROLS[0].store(value(pm1a, sleep_types[0]), Ordering::Relaxed);
    CONTROLS[1].store(value(pm1b, sleep_types[1]), Ordering::Relaxed);
}

/// CPUs that this hypervisor starts; more stay off.
pub const MAX_CPUS: usize = 64;
static APIC_IDS: [AtomicU32; MAX_CPUS] = [const { AtomicU32::new(0) }; MAX_CPUS];

/// Remembers the local APIC id of a CPU. Boot only.
pub fn set_apic_id(cpu: usize, id: u32) {
    APIC_IDS[cpu].store(id, Ordering::Relaxed);
}

/// Local APIC id of a CPU.
#[must_use]
pub fn apic_id(cpu: u32) -> u32 {
    APIC_IDS[cpu as usize % MAX_CPUS].load(Ordering::Relaxed)
}

/// Powers off. The status goes to the debug-exit port where there is one; then ACPI; then the ports that
/// emulators know.
pub fn power_off(status: ExitStatus) -> ! {
    // SAFETY: these ports are the hypervisor's, and nothing is to run after them.
    unsafe {
        let port = DEBUG_EXIT_PORT.load(Ordering::Relaxed);
        if port != 0 {
            io::outl(port, status.code().into());
        }
        for control in &CONTROLS {
            let control = control.load(Ordering::Relaxed);
            if control != 0 {
                io::outw((control >> 16) as u16, control as u16);
            }
        }
        io::outw(0x604, 0x2000);
        io::outw(0xb004, 0x2000);
    }
    halt_forever()
}
