//! The machine's console: COM1.

use core::sync::atomic::{AtomicUsize, Ordering};
use spin::{Mutex, MutexGuard};
use uart_16550::backend::PioBackend;
use uart_16550::spec::registers::{IER, LSR};
use uart_16550::{BaudRate, Config, Uart16550};

/// COM1's first port.
const COM1: u16 = 0x3f8;
/// COM1's legacy interrupt line.
pub const LINE: u8 = 4;
/// Bytes of a 16550's FIFO.
pub const FIFO_BYTES: usize = 16;

type Uart = Uart16550<PioBackend>;

static UART: Mutex<Option<Uart>> = Mutex::new(None);
/// Bytes that the transmitter takes when it is empty; 0: there is no UART.
static ROOM: AtomicUsize = AtomicUsize::new(0);

/// Sets the UART up: 115200 8N1. Without one, the console is silent.
pub fn start() {
    let config = Config { baud_rate: BaudRate::Baud115200, ..Config::DEFAULT };
    // SAFETY: COM1's ports are the hypervisor's; no guest is given them.
    let Ok(mut uart) = (unsafe { Uart16550::new_port(COM1) }) else { return };
    if uart.init(config).is_ok() {
        ROOM.store(if uart.isr().fifo_enabled() { FIFO_BYTES } else { 1 }, Ordering::Relaxed);
        *UART.lock() = Some(uart);
    }
}

/// Whether there is a UART.
pub fn is_present() -> bool {
    ROOM.load(Ordering::Relaxed) != 0
}

/// Lets received bytes interrupt.
pub fn enable_receive_interrupt() {
    with(|uart| uart.enable_interrupts(IER::DATA_READY));
}

/// Most polls of the transmitter for one byte. A full FIFO takes 1.4 ms at 115200 baud, a poll 1 µs on most machines.
const MOST_POLLS: u32 = 100_000;
/// Most attempts to get the UART. Others hold it for the bytes of a FIFO; a fault while holding it must not hang here.
const MOST_ATTEMPTS: u32 = 100_000;

fn lock() -> Option<MutexGuard<'static, Option<Uart>>> {
    (0..MOST_ATTEMPTS).find_map(|_| {
        core::hint::spin_loop();
        UART.try_lock()
    })
}

/// Works with the UART, if there is one.
fn with<T>(work: impl FnOnce(&mut Uart) -> T) -> Option<T> {
    lock()?.as_mut().map(work)
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
    let Some(uart) = uart.as_mut() else { return Offer::Done };
    let mut offer = Offer::Busy;
    if uart.ready_to_send().is_ok() {
        let mut bytes = [0; FIFO_BYTES];
        let room = ROOM.load(Ordering::Relaxed).min(FIFO_BYTES);
        let filled = fill(&mut bytes[..room]);
        uart.send_bytes(&bytes[..filled]);
        offer = if filled == room { Offer::More } else { Offer::Done };
    }
    let wanted = match interrupt() {
        Interrupt::Never => IER::empty(),
        Interrupt::ForMore if offer == Offer::Done => IER::empty(),
        Interrupt::ForMore | Interrupt::Always => IER::THR_EMPTY,
    };
    allow_transmit(uart, wanted);
    offer
}

/// Lets the transmitter interrupt (`THR_EMPTY`), or not (nothing). Ports are used only for a change: one costs as much
/// as hundreds of instructions.
fn allow_transmit(uart: &mut Uart, interrupt: IER) {
    if uart.config().interrupts & IER::THR_EMPTY == interrupt {
        return;
    }
    if interrupt.is_empty() {
        uart.disable_interrupts(IER::THR_EMPTY);
    } else {
        uart.enable_interrupts(IER::THR_EMPTY);
    }
}

/// If the transmitter is empty, keeps it from interrupting and does `then`.
pub fn silence_if_empty(then: impl FnOnce()) -> bool {
    let is_empty = with(|uart| {
        let is_empty = uart.ready_to_send().is_ok();
        if is_empty {
            allow_transmit(uart, IER::empty());
            then();
        }
        is_empty
    });
    is_empty.unwrap_or(false)
}

/// The UART for somebody who waits for each byte.
#[derive(Debug)]
pub struct Polled<'uart>(&'uart mut Uart);

impl Polled<'_> {
    /// Writes a byte, waiting a bounded time for the transmitter; false when that does not become free.
    pub fn put(&mut self, byte: u8) -> bool {
        (0..MOST_POLLS).any(|_| {
            core::hint::spin_loop();
            self.0.try_send_byte(byte).is_ok()
        })
    }

    /// Waits, a bounded time, until the last byte is on the line.
    pub fn wait_until_sent(&mut self) {
        for _ in 0..MOST_POLLS {
            if self.0.lsr().contains(LSR::TRANSMITTER_EMPTY) {
                return;
            }
            core::hint::spin_loop();
        }
    }
}

/// Works with the UART byte by byte, if there is one. Other CPUs that ask meanwhile go on without it.
pub fn polled(work: impl FnOnce(&mut Polled<'_>)) {
    if !is_present() {
        return;
    }
    if let Some(mut uart) = lock() {
        if let Some(uart) = uart.as_mut() {
            work(&mut Polled(uart));
            interrupt_anew(uart);
        }
    // SAFETY: as in `start`. Who holds the UART was interrupted by a fault, and this is the report of it: better
    // mixed bytes than none.
    } else if let Ok(mut uart) = unsafe { Uart16550::new_port(COM1) } {
        work(&mut Polled(&mut uart));
    }
}

/// Takes a received byte.
pub fn get() -> Option<u8> {
    with(|uart| uart.try_receive_byte().ok())?
}

/// Whether the UART has a reason to interrupt. An empty transmitter is one only until it has been asked.
pub fn is_waiting() -> bool {
    with(|uart| uart.isr().has_pending_interrupt()).unwrap_or(false)
}

/// Makes a reason that is still there interrupt anew.
pub fn interrupt_again() {
    with(interrupt_anew);
}

/// The line is an edge: one that nobody answered is made anew by taking all reasons away and giving them back.
fn interrupt_anew(uart: &mut Uart) {
    let enabled = uart.ier();
    uart.disable_interrupts(enabled);
    uart.enable_interrupts(enabled);
}
