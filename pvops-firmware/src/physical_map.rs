//! The boot loader's map of physical memory, as the `acpi` crate wants to see it.

use core::ptr::NonNull;

use acpi::{Handler, PciAddress, RawPhysicalMapping};
use pvops_abi::addr::VirtAddr;
use x86::io::{inb, inl, inw, outb, outl, outw};

/// Physical memory is mapped from this address on, for as long as the boot tables are loaded.
#[derive(Clone, Copy, Debug)]
pub struct PhysicalMap(pub VirtAddr);

impl PhysicalMap {
    /// Where physical address `phys` is mapped.
    #[must_use]
    pub fn at<T>(self, phys: usize) -> *mut T {
        (self.0.0 as usize + phys) as *mut T
    }
}

const PCI_ADDRESS: u16 = 0xcf8;
const PCI_DATA: u16 = 0xcfc;

/// Selects the 32-bit configuration word that holds `offset` (PCI Local Bus 3.0, 3.2.2.3.2) and returns the
/// data port of its byte.
fn select_pci(address: PciAddress, offset: u16) -> u16 {
    let selector = 1 << 31
        | u32::from(address.bus()) << 16
        | u32::from(address.device()) << 11
        | u32::from(address.function()) << 8
        | u32::from(offset & 0xfc);
    // SAFETY: the PC's fixed port of configuration mechanism 1; only this handler uses it, before any other CPU.
    unsafe { outl(PCI_ADDRESS, selector) };
    PCI_DATA + (offset & 3)
}

/// Loads and stores through the map.
macro_rules! memory {
    ($read:ident, $write:ident, $type:ty) => {
        fn $read(&self, address: usize) -> $type {
            // SAFETY: the `acpi` crate passes physical addresses that firmware's tables name.
            unsafe { self.at::<$type>(address).read_volatile() }
        }
        fn $write(&self, address: usize, value: $type) {
            // SAFETY: as for the load; tables name only registers meant for the operating system.
            unsafe { self.at::<$type>(address).write_volatile(value) };
        }
    };
}

/// Port accesses.
macro_rules! ports {
    ($read:ident, $write:ident, $type:ty, $in:ident, $out:ident) => {
        fn $read(&self, port: u16) -> $type {
            // SAFETY: the `acpi` crate passes ports that firmware's tables name.
            unsafe { $in(port) }
        }
        fn $write(&self, port: u16, value: $type) {
            // SAFETY: as for the read.
            unsafe { $out(port, value) };
        }
    };
}

/// Accesses to PCI configuration space.
macro_rules! pci {
    ($read:ident, $write:ident, $type:ty, $in:ident, $out:ident) => {
        fn $read(&self, address: PciAddress, offset: u16) -> $type {
            let port = select_pci(address, offset);
            // SAFETY: the data port of the word selected.
            unsafe { $in(port) }
        }
        fn $write(&self, address: PciAddress, offset: u16, value: $type) {
            let port = select_pci(address, offset);
            // SAFETY: the data port of the word selected.
            unsafe { $out(port, value) };
        }
    };
}

impl Handler for PhysicalMap {
    unsafe fn map_physical_region<T>(&self, physical_address: usize, size: usize) -> RawPhysicalMapping<T> {
        let start = NonNull::new(self.at(physical_address)).expect("the map does not start at address 0");
        // SAFETY: everything is mapped already; tables are only read, so that shared views are sound.
        unsafe { RawPhysicalMapping::new(physical_address, start, size, size) }
    }

    unsafe fn unmap_physical_region<T>(&self, _region: RawPhysicalMapping<T>) {}

    memory!(read_u8, write_u8, u8);
    memory!(read_u16, write_u16, u16);
    memory!(read_u32, write_u32, u32);
    memory!(read_u64, write_u64, u64);
    ports!(read_io_u8, write_io_u8, u8, inb, outb);
    ports!(read_io_u16, write_io_u16, u16, inw, outw);
    ports!(read_io_u32, write_io_u32, u32, inl, outl);
    pci!(read_pci_u8, write_pci_u8, u8, inb, outb);
    pci!(read_pci_u16, write_pci_u16, u16, inw, outw);
    pci!(read_pci_u32, write_pci_u32, u32, inl, outl);

    // The crate calls these only from its AML interpreter, which is not built here. They are right all the same,
    // with the time-stamp counter taken for one of at least 1 GHz.
    fn nanos_since_boot(&self) -> u64 {
        // SAFETY: reading the counter has no side effects; this runs in ring 0.
        unsafe { core::arch::x86_64::_rdtsc() }
    }

    fn stall(&self, microseconds: u64) {
        for _ in 0..microseconds {
            // SAFETY: the POST code port; a write takes about a microsecond and does nothing else.
            unsafe { outb(0x80, 0) };
        }
    }

    fn sleep(&self, milliseconds: u64) {
        self.stall(milliseconds * 1000);
    }
}
