//! The smallest guest: prints one line and exits, in ring 0 on the bare machine and in ring 3 as a guest.
#![no_std]
#![no_main]

use core::fmt::Write;
use core::panic::PanicInfo;
use pvops_abi::addr::{PhysAddr, VirtAddr};
use pvops_abi::boot::BootContext;
use pvops_abi::ops::console::Writer;
use pvops_abi::ops::sched::{self, ShutdownReason};
use pvops_abi::ops::{self, Kernel, cpu};

// Emits both entries: the boot loader's and the hypervisor's.
pvops_native::entry_point!(main);

fn main(boot: &'static BootContext) -> ! {
    let kernel = PHYSICAL_MAP.call_once(|| Smallest(boot.physical_map));
    if ops::init(boot, kernel, &[&pvops_abi::hyper::BACKEND, &pvops_native::BACKEND]).is_ok() {
        let (ring, name) = (cpu::code_segment() & 3, ops::ops().backend_name);
        _ = writeln!(Writer, "hello from ring {ring} on {name}");
        sched::shutdown(ShutdownReason::PowerOff, 0)
    }
    stop()
}

static PHYSICAL_MAP: spin::Once<Smallest> = spin::Once::new();

/// A kernel that has no memory to give away and keeps the boot loader's map.
struct Smallest(VirtAddr);

impl Kernel for Smallest {
    fn alloc_frame(&self) -> Option<PhysAddr> {
        None
    }
    fn free_frame(&self, _: PhysAddr) {}
    fn phys_to_virt(&self, phys: PhysAddr) -> VirtAddr {
        VirtAddr(self.0.0.wrapping_add(phys.0))
    }
}

#[panic_handler]
fn panic(_: &PanicInfo<'_>) -> ! {
    stop()
}

fn stop() -> ! {
    if ops::is_ready() {
        sched::shutdown(ShutdownReason::Crash, 1)
    }
    loop {
        core::hint::spin_loop();
    }
}
