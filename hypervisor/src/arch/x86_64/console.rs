//! The machine's console: COM1.
//!
//! A crate sets it up. What is left to do then is reading and writing four registers, which is done here: the crate
//! looks at its settings at each access, and would stay resident for that.

use core::sync::atomic::{AtomicUsize, Ordering};
use spin::{Mutex, MutexGuard};
use uart_16550::spec::registers::{IER, ISR, LSR, offsets};
use uart_16550::{BaudRate, Config, Uart16550};
use x86::io;

/// COM1's first port.
const COM1: u16 = 0x3f8;
/// COM1's legacy interrupt line.
pub const LINE: u8 = 4;
/// Bytes of a 16550's FIFO.
pub const FIFO_BYTES: usize = 16;

/// The UART, for who holds it.
struct Uart {
    /// What may interrupt.
    interrupts: IER,
}

static UART: Mutex<Uart> = Mutex::new(Uart { interrupts: IER::empty() });
/// Bytes that the transmitter takes when it is empty; 0: there is no UART.
static ROOM: AtomicUsize = AtomicUsize::new(0);

/// Sets the UART up: 115200 8N1. Without one, the console is silent.
pub fn start() {
    let config = Config { baud_rate: BaudRate::Baud115200, ..Config::DEFAULT };
    // SAFETY: COM1's ports are the hypervisor's; no guest is given them.
    let Ok(mut uart) = (unsafe { Uart16550::new_port(COM1) }) else { return };
    if uart.init(config).is_ok() {
        UART.lock().interrupts = uart.ier();
        ROOM.store(if uart.isr().fifo_enabled() { FIFO_BYTES } else { 1 }, Ordering::Relaxed);
    }
}

/// Whether there is a UART.
pub fn is_present() -> bool {
    ROOM.load(Ordering::Relaxed) != 0
}

/// Lets received bytes interrupt.
pub fn enable_receive_interrupt() {
    if let Some(mut uart) = lock() {
        let interrupts = uart.interrupts | IER::DATA_READY;
        uart.let_interrupt(interrupts);
    }
}

/// Most polls of the transmitter for one byte. A full FIFO takes 1.4 ms at 115200 baud, a poll 1 µs on most machines.
const MOST_POLLS: u32 = 100_000;
/// Most attempts to get the UART. Others hold it for the bytes of a FIFO; a fault while holding it must not hang here.
const MOST_ATTEMPTS: u32 = 100_000;

/// The UART, if there is one.
#[inline(never)]
fn lock() -> Option<MutexGuard<'static, Uart>> {
    (0..if is_present() { MOST_ATTEMPTS } else { 0 }).find_map(|_| {
        core::hint::spin_loop();
        UART.try_lock()
    })
}

fn read(register: usize) -> u8 {
    // SAFETY: COM1's ports are the hypervisor's; reading concerns nothing but the UART.
    unsafe { io::inb(COM1 + register as u16) }
}

fn write(register: usize, value: u8) {
    // SAFETY: as in `read`; nothing that the UART does concerns memory.
    unsafe { io::outb(COM1 + register as u16, value) }
}

fn line_status() -> LSR {
    LSR::from_bits_retain(read(offsets::LSR))
}

fn is_empty() -> bool {
    line_status().contains(LSR::THR_EMPTY)
}

impl Uart {
    fn let_interrupt(&mut self, interrupts: IER) {
        self.interrupts = interrupts;
        write(offsets::IER, interrupts.bits());
    }

    /// Lets the transmitter interrupt (`THR_EMPTY`), or not (nothing). Ports are used only for a change: one costs as
    /// much as hundreds of instructions.
    fn allow_transmit(&mut self, interrupt: IER) {
        let interrupts = (self.interrupts - IER::THR_EMPTY) | interrupt;
        if self.interrupts != interrupts {
            self.let_interrupt(interrupts);
        }
    }

    /// The line is an edge: one that nobody answered is made anew by taking all reasons away and giving them back.
    fn interrupt_anew(&mut self) {
        write(offsets::IER, 0);
        write(offsets::IER, self.interrupts.bits());
    }
}

/// What came of an offer to send.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Offer {
    /// Another CPU is at the UART.
    Held,
    /// The transmitter was not empty.
    Busy,
    /// All room was filled; there may be more.
    More,
    /// There is nothing more to send.
    Done,
}

/// When an empty transmitter is to interrupt.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Interrupt {
    /// Not now.
    Never,
    /// If there may be more to send.
    ForMore,
    /// In any case.
    Always,
}

/// If the transmitter is empty, sends what `fill` puts into the room that it is given.
/// `interrupt` is asked once that is done.
pub fn offer(interrupt: impl FnOnce() -> Interrupt, fill: impl FnOnce(&mut [u8]) -> usize) -> Offer {
    let Some(mut uart) = UART.try_lock() else { return Offer::Held };
    let mut offer = Offer::Busy;
    if is_empty() {
        let mut bytes = [0; FIFO_BYTES];
        let room = ROOM.load(Ordering::Relaxed).min(FIFO_BYTES);
        let filled = fill(&mut bytes[..room]);
        bytes.iter().take(filled).for_each(|byte| write(offsets::DATA, *byte));
        offer = if filled == room { Offer::More } else { Offer::Done };
    }
    let wanted = match interrupt() {
        Interrupt::Never => IER::empty(),
        Interrupt::ForMore if offer == Offer::Done => IER::empty(),
        Interrupt::ForMore | Interrupt::Always => IER::THR_EMPTY,
    };
    uart.allow_transmit(wanted);
    offer
}

/// If the transmitter is empty, keeps it from interrupting and does `then`.
pub fn silence_if_empty(then: impl FnOnce()) -> bool {
    let Some(mut uart) = lock() else { return false };
    let is_empty = is_empty();
    if is_empty {
        uart.allow_transmit(IER::empty());
        then();
    }
    is_empty
}

/// The UART for somebody who waits for each byte; its interrupts are made anew afterwards. Nothing inside: who holds the
/// UART was interrupted by a fault, and this is the report of it, better mixed bytes than none.
pub struct Polled(Option<MutexGuard<'static, Uart>>);

/// The UART byte by byte, if there is one. Other CPUs that ask meanwhile go on without it.
pub fn polled() -> Option<Polled> {
    is_present().then(|| Polled(lock()))
}

impl Polled {
    /// Writes a byte, waiting a bounded time for the transmitter; false when that does not become free.
    #[inline(never)]
    pub fn put(&mut self, byte: u8) -> bool {
        let is_free = (0..MOST_POLLS).any(|_| {
            core::hint::spin_loop();
            is_empty()
        });
        if is_free {
            write(offsets::DATA, byte);
        }
        is_free
    }

    /// Waits, a bounded time, until the last byte is on the line.
    pub fn wait_until_sent(&mut self) {
        for _ in 0..MOST_POLLS {
            if line_status().contains(LSR::TRANSMITTER_EMPTY) {
                return;
            }
            core::hint::spin_loop();
        }
    }
}

impl Drop for Polled {
    fn drop(&mut self) {
        if let Some(uart) = &mut self.0 {
            uart.interrupt_anew();
        }
    }
}

/// Takes a received byte.
pub fn get() -> Option<u8> {
    let _uart = lock()?;
    line_status().contains(LSR::DATA_READY).then(|| read(offsets::DATA))
}

/// Whether the UART has a reason to interrupt. An empty transmitter is one only until it has been asked.
pub fn is_waiting() -> bool {
    lock().is_some_and(|_uart| ISR::from_bits_retain(read(offsets::ISR)).has_pending_interrupt())
}

/// Makes a reason that is still there interrupt anew.
pub fn interrupt_again() {
    if let Some(mut uart) = lock() {
        uart.interrupt_anew();
    }
}
