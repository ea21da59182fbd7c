//! Takes from every PCI device the right to read and write memory by itself.
//!
//! There is no IOMMU in front of them, so a domain that drives a bus master has all of memory. Without the bus master
//! bit a device masters nothing and sends no message-signalled interrupt either, whatever is written to its registers;
//! the bit itself lies in configuration space, which no domain is given. The hypervisor needs no bus master.

use x86::io::{inl, outl};

const ADDRESS: u16 = 0xcf8;
const DATA: u16 = 0xcfc;
const ENABLE: u32 = 1 << 31;

/// Registers of a function (PCI Local Bus Specification 3.0, 6.1), four bytes each.
mod register {
    pub(super) const ID: u32 = 0x00;
    pub(super) const COMMAND: u32 = 0x04;
    pub(super) const HEADER_TYPE: u32 = 0x0c;
}

const BUS_MASTER: u32 = 1 << 2;
/// The upper half of the register is the status, whose bits are cleared by writing ones.
const COMMAND_BITS: u32 = 0xffff;
const SEVERAL_FUNCTIONS: u32 = 1 << 23;
const LAYOUT_BITS: u32 = 0x7f << 16;

/// See the module. All buses of segment 0.
pub fn end_bus_mastering() {
    for device in 0..256 * 32 {
        let first = device << 3;
        if !exists(first) {
            continue;
        }
        end_mastering_of(first);
        if read(first, register::HEADER_TYPE) & SEVERAL_FUNCTIONS != 0 {
            (first + 1..first + 8).filter(|function| exists(*function)).for_each(end_mastering_of);
        }
    }
}

fn exists(function: u32) -> bool {
    read(function, register::ID) & 0xffff != 0xffff
}

fn end_mastering_of(function: u32) {
    // Bridges pass on what those behind them do, and those are asked themselves.
    let is_device = read(function, register::HEADER_TYPE) & LAYOUT_BITS == 0;
    let command = read(function, register::COMMAND);
    if is_device && command & BUS_MASTER != 0 {
        write(function, register::COMMAND, command & COMMAND_BITS & !BUS_MASTER);
    }
}

fn read(function: u32, register: u32) -> u32 {
    // SAFETY: PCI configuration is the hypervisor's, one CPU runs; reading these registers changes nothing.
    unsafe {
        outl(ADDRESS, ENABLE | function << 8 | register);
        inl(DATA)
    }
}

fn write(function: u32, register: u32, value: u32) {
    // SAFETY: as in `read`; the caller takes a right away from a device that nobody uses yet.
    unsafe {
        outl(ADDRESS, ENABLE | function << 8 | register);
        outl(DATA, value);
    }
}
