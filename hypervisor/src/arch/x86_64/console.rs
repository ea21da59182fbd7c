//! The machine's console: COM1.
//!
//! A crate sets it up. What is left to do then is reading and writing four registers, which is done here: the crate
//! looks at its settings at each access, and would stay resident for that.

use uart_16550::spec::registers::{IER, LSR, offsets};
use uart_16550::{BaudRate, Config, Uart16550};
use x86::io;

/// COM1's first port.
const COM1: u16 = 0x3f8;
/// COM1's legacy interrupt line.
pub const LINE: u8 = 4;
/// Bytes of a 16550's FIFO.
pub const FIFO_BYTES: usize = 16;
/// Most polls of the transmitter for one byte. A full FIFO takes 1.4 ms at 115200 baud, a poll 1 µs on most machines.
const MOST_POLLS: u32 = 100_000;

/// What is known of the UART, for who holds it.
#[derive(Debug)]
pub struct Uart {
    /// What may interrupt.
    interrupts: IER,
    /// Bytes that the transmitter takes when it is empty; 0: there is no UART.
    room: usize,
}

impl Uart {
    /// None.
    #[must_use]
    pub const fn none() -> Self {
        Self { interrupts: IER::empty(), room: 0 }
    }

    /// Sets the UART up: 115200 8N1. Without one, the console is silent. Boot only.
    #[must_use]
    pub fn start() -> Self {
        let config = Config { baud_rate: BaudRate::Baud115200, ..Config::DEFAULT };
        // SAFETY: COM1's ports are the hypervisor's; no guest is given them.
        let Ok(mut uart) = (unsafe { Uart16550::new_port(COM1) }) else { return Self::none() };
        if uart.init(config).is_err() {
            return Self::none();
        }
        let room = if uart.isr().fifo_enabled() { FIFO_BYTES } else { 1 };
        Self { interrupts: uart.ier(), room }
    }

    /// How many bytes the transmitter takes when it is empty.
    #[must_use]
    pub fn room(&self) -> usize {
        self.room
    }

    /// Lets received bytes interrupt. Boot only.
    pub fn enable_receive_interrupt(&mut self) {
        if self.room != 0 {
            self.interrupts |= IER::DATA_READY;
            write(offsets::IER, self.interrupts.bits());
        }
    }

    /// Lets an empty transmitter interrupt, or not. Ports are used only for a change: one costs as much as hundreds of
    /// instructions.
    pub fn allow_transmit(&mut self, is_allowed: bool) {
        let before = self.interrupts;
        self.interrupts.set(IER::THR_EMPTY, is_allowed);
        if self.interrupts != before {
            write(offsets::IER, self.interrupts.bits());
        }
    }

    /// Makes a reason that is still there interrupt once more, an empty transmitter if that is to: the line is an edge, so
    /// all reasons are taken away and given back.
    pub fn interrupt_anew(&mut self, with_transmit: bool) {
        write(offsets::IER, 0);
        self.interrupts.set(IER::THR_EMPTY, with_transmit);
        write(offsets::IER, self.interrupts.bits());
    }
}

fn read(register: usize) -> u8 {
    // SAFETY: COM1's ports are the hypervisor's; reading concerns nothing but the UART.
    unsafe { io::inb(COM1 + register as u16) }
}

fn write(register: usize, value: u8) {
    // SAFETY: as in `read`; nothing that the UART does concerns memory.
    unsafe { io::outb(COM1 + register as u16, value) }
}

fn has(status: LSR) -> bool {
    LSR::from_bits_retain(read(offsets::LSR)).contains(status)
}

/// Whether the transmitter is empty. So it seems where there is no UART.
#[must_use]
pub fn is_empty() -> bool {
    has(LSR::THR_EMPTY)
}

/// Gives the transmitter a byte; it has room for it.
pub fn send(byte: u8) {
    write(offsets::DATA, byte);
}

/// Takes a received byte. On one CPU only.
#[must_use]
pub fn get() -> Option<u8> {
    has(LSR::DATA_READY).then(|| read(offsets::DATA))
}

/// Writes a byte, waiting a bounded time for the transmitter; false when that does not become free.
#[inline(never)]
pub fn put(byte: u8) -> bool {
    let is_free = wait_for(LSR::THR_EMPTY);
    if is_free {
        send(byte);
    }
    is_free
}

/// Waits, a bounded time, until the last byte is on the line.
pub fn wait_until_sent() {
    _ = wait_for(LSR::TRANSMITTER_EMPTY);
}

#[inline(never)]
fn wait_for(status: LSR) -> bool {
    (0..MOST_POLLS).any(|_| {
        core::hint::spin_loop();
        has(status)
    })
}
