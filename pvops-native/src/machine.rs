//! What is known of this machine from `start` on: the kernel above, and what firmware says of the parts.

use pvops_abi::addr::{PhysAddr, VirtAddr};
use pvops_abi::boot::{BootContext, Platform};
use pvops_abi::ops::Kernel;
use spin::Once;

use pvops_firmware::{Firmware, Unusable};

/// Written once, by [`discover`].
pub(crate) struct Machine {
    /// The kernel's services.
    pub(crate) kernel: &'static dyn Kernel,
    /// How this kernel was booted.
    pub(crate) boot: &'static BootContext,
    /// The parts that firmware describes.
    pub(crate) firmware: Firmware,
}

static MACHINE: Once<Machine> = Once::new();

/// Reads firmware's tables and keeps what the backend needs. Comes first of all.
pub(crate) fn discover(boot: &'static BootContext, kernel: &'static dyn Kernel) -> Result<(), &'static str> {
    let Platform::Metal { rsdp } = boot.platform else { return Err("not booted on the metal") };
    let rsdp = rsdp.ok_or("no ACPI tables")?;
    let firmware = Firmware::read(rsdp, boot.physical_map).map_err(Unusable::message)?;
    MACHINE.call_once(|| Machine { kernel, boot, firmware });
    Ok(())
}

/// The machine.
///
/// # Panics
/// Before [`discover`] succeeded: the table of operations does not exist then, so no caller can be here.
pub(crate) fn machine() -> &'static Machine {
    MACHINE.get().expect("pvops-native: used before start")
}

/// Where the kernel maps `phys` now.
pub(crate) fn phys_to_virt(phys: PhysAddr) -> VirtAddr {
    machine().kernel.phys_to_virt(phys)
}
