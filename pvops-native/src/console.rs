//! The console: a 16550 at COM1, with receive interrupts once its port is bound.

use pvops_abi::ops::console::ConsoleOps;
use spin::{Mutex, Once};
use uart_16550::backend::PioBackend;
use uart_16550::spec::registers::{FifoTriggerLevel, IER, LSR};
use uart_16550::{BaudRate, Config, Uart16550};

use crate::{event, irq};

/// First port of COM1.
const COM1: u16 = 0x3f8;
/// ISA line of COM1.
pub(crate) const ISA_LINE: u8 = 4;
/// Attempts on the lock before a writer goes on without it.
const LOCK_ATTEMPTS: usize = 100_000;

/// COM1 as the console.
pub(crate) struct Uart;

/// Absent when no 16550 answers: output is dropped then.
static DEVICE: Once<Option<Mutex<Uart16550<PioBackend>>>> = Once::new();

/// Takes the device over, interrupts off.
pub(crate) fn start() {
    DEVICE.call_once(|| open().map(Mutex::new));
}

fn open() -> Option<Uart16550<PioBackend>> {
    // SAFETY: COM1's fixed ports; the backend is their only user.
    let mut device = unsafe { Uart16550::new_port(COM1) }.ok()?;
    let config = Config {
        baud_rate: BaudRate::Baud115200,
        // A person types: each byte is worth an interrupt.
        fifo_trigger_level: Some(FifoTriggerLevel::One),
        ..Config::DEFAULT
    };
    device.init(config).ok().map(|()| device)
}

fn device() -> Option<&'static Mutex<Uart16550<PioBackend>>> {
    DEVICE.get()?.as_ref()
}

/// Lets the device raise its line when input arrives. `false`: there is no device.
pub(crate) fn set_receive_interrupt(enabled: bool) -> bool {
    let Some(device) = device() else { return false };
    irq::masked(|| {
        let mut device = device.lock();
        if enabled {
            device.enable_interrupts(IER::DATA_READY);
        } else {
            device.disable_interrupts(IER::DATA_READY);
        }
    });
    true
}

/// Whether unread input waits.
pub(crate) fn has_input() -> bool {
    device().is_some_and(|device| irq::masked(|| device.lock().ready_to_receive().is_ok()))
}

/// Waits until the last byte has left, so that the machine's end does not swallow a kernel's last words.
pub(crate) fn drain() {
    const PATIENCE: u32 = 1_000_000;
    let Some(device) = device() else { return };
    for _ in 0..PATIENCE {
        // Without the lock's holder, who may be the one that ends the machine, nothing is lost but patience.
        if device.try_lock().is_some_and(|mut device| device.lsr().contains(LSR::TRANSMITTER_EMPTY)) {
            return;
        }
        core::hint::spin_loop();
    }
}

impl ConsoleOps for Uart {
    fn write(&self, bytes: &[u8]) -> usize {
        let Some(device) = device() else { return bytes.len() };
        irq::masked(|| {
            for _ in 0..LOCK_ATTEMPTS {
                if let Some(mut device) = device.try_lock() {
                    return device.send_bytes(bytes);
                }
                core::hint::spin_loop();
            }
            send_without_lock(bytes)
        })
    }

    fn read(&self, buffer: &mut [u8]) -> usize {
        let Some(device) = device() else { return 0 };
        let count = irq::masked(|| device.lock().receive_bytes(buffer));
        // The line is an edge: it stays high, and silent, until the last byte was taken.
        event::console_was_read(has_input());
        count
    }
}

/// The holder of the lock was interrupted by a fault or an NMI on this CPU and this is its report: better
/// mixed output than none.
fn send_without_lock(bytes: &[u8]) -> usize {
    // SAFETY: COM1's fixed ports; each access is a single port instruction, and a mixed line is accepted.
    unsafe { Uart16550::new_port(COM1) }.map_or(bytes.len(), |mut device| device.send_bytes(bytes))
}
