//! The console: lines out, one at a time, and bytes in, by the console's event port.

use crate::events;
use crate::sync::{IrqLock, Mutex, WaitQueue};
use alloc::collections::VecDeque;
use core::fmt::{self, Write};
use pvops_abi::ops::console;
use pvops_abi::ops::event::{EventSource, Port};
use pvops_abi::ops::irq;

/// Input that nobody reads is kept up to here.
const MAX_INPUT: usize = 4096;

/// Waiters sleep and interrupts stay enabled: a line takes milliseconds on a real terminal's line, and whoever is more
/// urgent must not wait for it.
static OUTPUT: Mutex<()> = Mutex::new(());
static INPUT: IrqLock<VecDeque<u8>> = IrqLock::new(VecDeque::new());
static READERS: WaitQueue = WaitQueue::new();

/// Prints a line.
macro_rules! println {
    ($($argument:tt)*) => { $crate::console::print(format_args!("{}\n", format_args!($($argument)*))) };
}
pub(crate) use println;

/// Lets input in. Exercises the console's event port.
pub(crate) fn start() {
    events::bind(EventSource::Console, on_input).expect("the console has a port");
    // What came before the port was bound.
    take_input();
}

/// Prints, in one piece.
pub(crate) fn print(text: fmt::Arguments<'_>) {
    let _lock = OUTPUT.lock();
    // The console takes everything, sooner or later.
    _ = Lines::default().write_fmt(text);
}

/// Prints even if the crash happened while somebody was printing, who does not go on meanwhile.
pub(crate) fn print_in_crash(text: fmt::Arguments<'_>) {
    _ = irq::without(|| Lines::default().write_fmt(text));
}

/// Bytes that go out at once: a line as most are, with its end.
const LINE_BYTES: usize = 120;

/// Gathers what is printed in parts and writes it by lines, so that a console which others use as well shows them whole.
struct Lines {
    bytes: [u8; LINE_BYTES],
    length: usize,
}

impl Default for Lines {
    fn default() -> Self {
        Self { bytes: [0; LINE_BYTES], length: 0 }
    }
}

impl Lines {
    fn push(&mut self, byte: u8) {
        if self.length == LINE_BYTES {
            self.flush();
        }
        self.bytes[self.length] = byte;
        self.length += 1;
    }

    /// Exercises `console::write_all`.
    fn flush(&mut self) {
        console::write_all(&self.bytes[..self.length]);
        self.length = 0;
    }
}

impl Write for Lines {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for byte in text.bytes() {
            if byte == b'\n' {
                self.push(b'\r');
            }
            self.push(byte);
            if byte == b'\n' {
                self.flush();
            }
        }
        Ok(())
    }
}

impl Drop for Lines {
    fn drop(&mut self) {
        self.flush();
    }
}

/// Writes bytes as they are.
pub(crate) fn write_raw(bytes: &[u8]) {
    let _lock = OUTPUT.lock();
    console::write_all(bytes);
}

/// Writes a program's text; what is not UTF-8 is left out.
pub(crate) fn write_text(bytes: &[u8]) {
    bytes.utf8_chunks().for_each(|chunk| print(format_args!("{}", chunk.valid())));
}

/// Waits for input and takes as much as there is room for.
pub(crate) fn read(buffer: &mut [u8]) -> usize {
    READERS.wait_until(|| {
        let mut input = INPUT.lock();
        let count = input.len().min(buffer.len());
        buffer.iter_mut().zip(input.drain(..count)).for_each(|(place, byte)| *place = byte);
        (count > 0 || buffer.is_empty()).then_some(count)
    })
}

fn on_input(_: Port) {
    take_input();
}

/// Exercises `console::read`.
fn take_input() {
    let mut chunk = [0; 64];
    loop {
        let count = console::read(&mut chunk);
        if count == 0 {
            break;
        }
        let mut input = INPUT.lock();
        let room = MAX_INPUT - input.len();
        input.extend(&chunk[..count.min(room)]);
    }
    READERS.wake_all();
}
