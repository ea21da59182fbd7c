//! The machine's console: COM1.

use spin::Mutex;
use uart_16550::backend::PioBackend;
use uart_16550::spec::registers::IER;
use uart_16550::{Config, Uart16550};

/// COM1's first port.
const COM1: u16 = 0x3f8;
/// COM1's legacy interrupt line.
pub const LINE: u8 = 4;

static UART: Mutex<Option<Uart16550<PioBackend>>> = Mutex::new(None);

/// Sets the UART up: 115200 8N1, receive interrupts. Without one, the console is silent.
pub fn start() {
    // SAFETY: COM1's ports are the hypervisor's; no guest is given them.
    let Ok(mut uart) = (unsafe { Uart16550::new_port(COM1) }) else { return };
    if uart.init(Config::default()).is_ok() {
        *UART.lock() = Some(uart);
    }
}

/// Lets received bytes interrupt.
pub fn enable_receive_interrupt() {
    if let Some(uart) = UART.lock().as_mut() {
        uart.enable_interrupts(IER::DATA_READY);
    }
}

/// Most polls of the transmitter for one byte; at 115200 baud a byte takes 87 µs, a poll about one.
const MOST_POLLS: u32 = 1_000;
/// Most attempts to get the UART. Others hold it for a byte at most; a fault while holding it must not hang here.
const MOST_ATTEMPTS: u32 = 100_000;

/// Writes a byte, waiting a bounded time for the transmitter; it is lost when that does not become free.
pub fn put(byte: u8) {
    let mut attempts = (0..MOST_ATTEMPTS).map(|_| {
        core::hint::spin_loop();
        UART.try_lock()
    });
    let Some(mut uart) = attempts.find_map(|uart| uart) else { return };
    if let Some(uart) = uart.as_mut() {
        for _ in 0..MOST_POLLS {
            if uart.try_send_byte(byte).is_ok() {
                return;
            }
            core::hint::spin_loop();
        }
    }
}

/// Takes a received byte.
pub fn get() -> Option<u8> {
    UART.lock().as_mut()?.try_receive_byte().ok()
}
