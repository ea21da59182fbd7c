//! The IOAPICs: lines of devices, each routed to a vector of a CPU, masked until asked for.
//!
//! Registers: 82093AA data sheet, 3.1 (an index and a window) and 3.2.

use pvops_abi::addr::PhysAddr;
use spin::Mutex;

use crate::machine::machine;
use crate::mmio::Registers;
use pvops_firmware::redirection::{self, MASKED, Signal, encode_masked};
use pvops_firmware::{IoApicPlace, IsaLine};

const INDEX: usize = 0x00;
const WINDOW: usize = 0x10;
const VERSION: u32 = 0x01;
const FIRST_ENTRY: u32 = 0x10;

/// An index and its window are two accesses: one user at a time, interrupts masked.
static ACCESS: Mutex<()> = Mutex::new(());

#[derive(Clone, Copy)]
struct IoApic(Registers);

impl IoApic {
    fn at(registers: PhysAddr) -> Self {
        // SAFETY: firmware names this block as an IOAPIC's; it is among the required mappings.
        Self(unsafe { Registers::new(registers) })
    }

    fn read(self, index: u32) -> u32 {
        self.0.write32(INDEX, index);
        self.0.read32(WINDOW)
    }

    fn write(self, index: u32, value: u32) {
        self.0.write32(INDEX, index);
        self.0.write32(WINDOW, value);
    }

    fn line_count(self) -> u32 {
        (self.read(VERSION) >> 16 & 0xff) + 1
    }
}

fn exclusively<R>(work: impl FnOnce() -> R) -> R {
    crate::irq::masked(|| {
        let _access = ACCESS.lock();
        work()
    })
}

fn places() -> impl Iterator<Item = IoApicPlace> {
    machine().firmware.io_apics.iter().flatten().copied()
}

/// The IOAPIC of a global line, and the index of its entry's low word.
fn find(line: u32) -> Option<(IoApic, u32)> {
    places().find_map(|place| {
        let io_apic = IoApic::at(place.registers);
        let own = line.checked_sub(place.first_line)?;
        (own < io_apic.line_count()).then_some((io_apic, FIRST_ENTRY + 2 * own))
    })
}

/// Masks every line.
pub(crate) fn start() {
    exclusively(|| {
        for place in places() {
            let io_apic = IoApic::at(place.registers);
            for line in 0..io_apic.line_count() {
                io_apic.write(FIRST_ENTRY + 2 * line, MASKED);
            }
        }
    });
}

/// How a global line signals: as an ISA line arriving there, else as PCI does.
pub(crate) fn signal_of(line: u32) -> Signal {
    let isa_lines = &machine().firmware.isa_lines;
    isa_lines.iter().find(|isa| isa.line == line).map_or(redirection::PCI, |isa| isa.signal)
}

/// Where ISA line `isa` arrives.
pub(crate) fn isa_line(isa: u8) -> IsaLine {
    machine().firmware.isa_lines[usize::from(isa)]
}

/// Routes `line` to `vector` of the CPU whose local APIC has number `destination`; masked. `false`: there is
/// no such line.
pub(crate) fn route(line: u32, vector: u8, destination: u8, signal: Signal) -> bool {
    exclusively(|| {
        let Some((io_apic, entry)) = find(line) else { return false };
        let (low, high) = encode_masked(vector, destination, signal);
        io_apic.write(entry, MASKED);
        io_apic.write(entry + 1, high);
        io_apic.write(entry, low);
        true
    })
}

/// Masks a line. A level line still in service on a local APIC stays so until that APIC's end of interrupt.
pub(crate) fn mask(line: u32) {
    exclusively(|| {
        if let Some((io_apic, entry)) = find(line) {
            io_apic.write(entry, io_apic.read(entry) | MASKED);
        }
    });
}

/// Unmasks a line: a level line that is active is delivered again at once.
pub(crate) fn unmask(line: u32) {
    exclusively(|| {
        if let Some((io_apic, entry)) = find(line) {
            io_apic.write(entry, io_apic.read(entry) & !MASKED);
        }
    });
}
