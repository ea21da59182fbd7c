//! Devices that the command line gives to this kernel: a serial port, and registers in memory.

use pvops_abi::addr::VirtAddr;
use uart_16550::Uart16550;
use uart_16550::backend::PioBackend;
use uart_16550::spec::registers::FifoTriggerLevel;
use uart_16550::{BaudRate, Config};

/// The 16550 at `port`, set up: 115200 8N1, an interrupt for each byte once they are enabled. `None`: there is none.
///
/// The command line says that it is ours; the console's is another one.
pub(crate) fn open_serial(port: u16) -> Option<Uart16550<PioBackend>> {
    // SAFETY: whoever wrote the command line gave these ports to this kernel (see above); nothing else uses them.
    let mut device = unsafe { Uart16550::new_port(port) }.ok()?;
    let config = Config {
        baud_rate: BaudRate::Baud115200,
        fifo_trigger_level: Some(FifoTriggerLevel::One),
        ..Config::DEFAULT
    };
    device.init(config).ok().map(|()| device)
}

/// Registers of 32 bits, mapped uncached.
#[derive(Clone, Copy)]
pub(crate) struct Registers(VirtAddr);

impl Registers {
    /// The registers from `base` on.
    ///
    /// The caller has mapped a device's registers there, one page, for good.
    pub(crate) fn at(base: VirtAddr) -> Self {
        Self(base)
    }

    /// Reads the register at `offset`.
    pub(crate) fn read(self, offset: u16) -> u32 {
        // SAFETY: `place` is in the page that the caller of `at` mapped; volatile, because it is a device's.
        unsafe { self.place(offset).read_volatile() }
    }

    /// Writes the register at `offset`.
    pub(crate) fn write(self, offset: u16, value: u32) {
        // SAFETY: as in `read`.
        unsafe { self.place(offset).write_volatile(value) };
    }

    fn place(self, offset: u16) -> *mut u32 {
        assert!(offset < 4096 && offset.is_multiple_of(4), "a register in the page");
        (self.0.0 + u64::from(offset)) as *mut u32
    }
}
