//! Assigned devices on this machine: what may be assigned, and the routes of their interrupts.

use super::super::apic::vector;
use super::super::cpu::cpuid;
use super::super::machine;
use super::{Machine, io_apic};
use crate::boot::devices::{Facts, check};
use crate::boot::refusal::Refusal;
use crate::domain::devices::Devices;
use system_image::Device;

impl Machine {
    /// Checks a device against this machine.
    ///
    /// # Errors
    /// [`Refusal`].
    pub fn check_device(&self, device: &Device) -> Result<(), Refusal> {
        let facts = Facts {
            memory_map: self.memory_map,
            address_bits: cpuid(0x8000_0008, 0)[0] & 0xff,
            machine_registers: &self.found.registers,
            machine_ports: &self.found.ports,
            lines: io_apic::lines(),
            console_line: self.found.console_line(),
        };
        check(device, &facts)
    }

    /// Routes the interrupts of a domain's devices to vectors of their own on `cpu`, masked. The devices were checked.
    ///
    /// # Errors
    /// [`Refusal`].
    pub fn assign_devices(&self, domain: u16, cpu: u32, devices: &[Device]) -> Result<Devices, Refusal> {
        // Without interrupt remapping an IOAPIC reaches only CPUs whose number fits into its entry; 255 is everybody.
        let target = u8::try_from(machine::apic_id(cpu)).ok().filter(|target| *target != u8::MAX);
        let mut assigned = Devices::new(devices);
        for (number, device) in devices.iter().enumerate() {
            let Some(line) = device.interrupt else { continue };
            let (Some(target), Ok(input)) = (target, u8::try_from(line)) else {
                return Err(Refusal::NoSuchInterrupt);
            };
            let signal = self.found.signal(line);
            let route = |index| io_apic::route(input, vector::LINES + index, target, signal);
            if !assigned.add_interrupt(domain, number, route) {
                return Err(Refusal::TooManyInterrupts);
            }
        }
        Ok(assigned)
    }
}
