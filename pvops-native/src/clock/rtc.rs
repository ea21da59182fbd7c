//! The CMOS real-time clock, read once for the date (MC146818 data sheet).

use x86::io::{inb, outb};

use crate::arithmetic::RtcRegisters;
use crate::machine::machine;

const INDEX: u16 = 0x70;
const DATA: u16 = 0x71;
const STATUS_A: u8 = 0x0a;
const STATUS_B: u8 = 0x0b;
const UPDATE_IN_PROGRESS: u8 = 1 << 7;
/// Reads after which a clock that never settles is taken as it is.
const PATIENCE: u32 = 100_000;

/// Seconds since 1970-01-01T00:00:00Z.
pub(super) fn read_unix_seconds() -> u64 {
    // An update can begin between two reads: two equal readings in a row had none between them.
    let mut last = read_settled();
    for _ in 0..8 {
        let again = read_settled();
        if again == last {
            break;
        }
        last = again;
    }
    last.unix_seconds()
}

fn read_settled() -> RtcRegisters {
    for _ in 0..PATIENCE {
        if register(STATUS_A) & UPDATE_IN_PROGRESS == 0 {
            break;
        }
        core::hint::spin_loop();
    }
    let century = machine().firmware.century_register;
    RtcRegisters {
        second: register(0),
        minute: register(2),
        hour: register(4),
        day: register(7),
        month: register(8),
        year: register(9),
        century: (century != 0).then(|| register(century)),
        status_b: register(STATUS_B),
    }
}

fn register(index: u8) -> u8 {
    // SAFETY: the PC's fixed ports; read at start on the boot CPU only. Bit 7 off leaves NMI enabled.
    unsafe {
        outb(INDEX, index & 0x7f);
        inb(DATA)
    }
}
