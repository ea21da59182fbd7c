//! The two 8259 controllers: moved away from the exceptions' vectors and masked for good.
//!
//! Even masked they can deliver a spurious interrupt (IRQ 7 or 15); that is why they are moved first
//! (Intel 8259A data sheet, initialization command words).

use x86::io::outb;

const FIRST_COMMAND: u16 = 0x20;
const FIRST_DATA: u16 = 0x21;
const SECOND_COMMAND: u16 = 0xa0;
const SECOND_DATA: u16 = 0xa1;

/// First of the 16 vectors that they may still raise.
pub(crate) const FIRST_VECTOR: u8 = 0x20;

/// Moves and masks both controllers.
pub(crate) fn silence() {
    let writes = [
        (FIRST_COMMAND, 0x11),
        (SECOND_COMMAND, 0x11),
        (FIRST_DATA, FIRST_VECTOR),
        (SECOND_DATA, FIRST_VECTOR + 8),
        (FIRST_DATA, 4),
        (SECOND_DATA, 2),
        (FIRST_DATA, 1),
        (SECOND_DATA, 1),
        (FIRST_DATA, 0xff),
        (SECOND_DATA, 0xff),
    ];
    for (port, value) in writes {
        // SAFETY: the PC's fixed ports of the 8259s; the sequence is the initialization of their manual.
        unsafe { outb(port, value) };
    }
}
