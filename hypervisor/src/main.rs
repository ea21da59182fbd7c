//! The hypervisor's image: entry and panic.
#![cfg_attr(target_os = "none", no_std, no_main)]

#[cfg(target_os = "none")]
mod image {
    use bootloader_api::BootInfo;
    use hypervisor::arch::x86_64::{boot, machine};
    use hypervisor::domain::console;
    use system_image::ExitStatus;

    bootloader_api::entry_point!(start, config = &boot::CONFIG);

    fn start(info: &'static mut BootInfo) -> ! {
        boot::entry(info)
    }

    /// A defect of the hypervisor. No details: formatting them would double the resident code; the address is
    /// enough to find the place.
    #[panic_handler]
    fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
        console::end_with(b"pvops: hypervisor panic\n", &[]);
        machine::power_off(ExitStatus::HYPERVISOR_PANICKED)
    }
}

#[cfg(not(target_os = "none"))]
fn main() {
    eprintln!("the hypervisor is an image for the bare machine: cargo pv run hypervisor");
}
