//! How an operation is measured, and the line that comes of it.
//!
//! A measured sequence stands between two readings of the counter, inside marks. What the readings themselves cost is
//! measured in the same way, with nothing between them, and subtracted; `calibration.three` shows that three
//! instructions then read as 3.

use core::sync::atomic::{AtomicU32, Ordering};
use spin::Mutex;

/// Prints a line.
macro_rules! println {
    ($($argument:tt)*) => {{
        use core::fmt::Write as _;
        _ = writeln!(pvops_abi::ops::console::Writer, $($argument)*);
    }};
}
pub(crate) use println;

/// Displacement of mark 0, and the mark that ends what another began: known to `hypermark-plugin`.
pub(crate) const MARK: u32 = 0x7076_0000;
pub(crate) const END_MARK: u32 = MARK + 0xffff;

/// Samples of each operation.
pub(crate) const SAMPLES: usize = 1001;

/// Instructions of a handler that read the counter and keep it: no part of what is measured.
pub(crate) const HANDLER_READING: u32 = 2;

/// Low halves of the counter: at the operation's first instruction, in the handler that it led to (0: none), and behind
/// its last instruction.
#[derive(Clone, Copy)]
pub(crate) struct Stamps {
    pub(crate) start: u32,
    pub(crate) handler: u32,
    pub(crate) end: u32,
}

/// Executes instructions between two readings of the counter. The nine arguments are in `rdi rsi r8 r9 r10 r14 r15
/// rcx r11`; `rax rcx rdx r8..r11 rdi rsi` may be changed. Handlers leave their reading in `r13`.
macro_rules! timed {
    ($mark:expr, $arguments:expr $(, $instruction:literal)* $(,)?) => {{
        let arguments: [u64; 9] = $arguments;
        let (start, handler, end): (u64, u64, u64);
        core::arch::asm!(
            "nop dword ptr [rax + {mark}]",
            "rdtsc",
            "mov r12d, eax",
            $($instruction,)*
            "rdtsc",
            "nop dword ptr [rax + {end_mark}]",
            mark = const $crate::measure::MARK + $mark as u32,
            end_mark = const $crate::measure::END_MARK,
            inout("rdi") arguments[0] => _,
            inout("rsi") arguments[1] => _,
            inout("r8") arguments[2] => _,
            inout("r9") arguments[3] => _,
            inout("r10") arguments[4] => _,
            inout("r14") arguments[5] => _,
            inout("r15") arguments[6] => _,
            inout("rcx") arguments[7] => _,
            inout("r11") arguments[8] => _,
            out("r12") start,
            inout("r13") 0u64 => handler,
            out("rax") end,
            out("rdx") _,
        );
        $crate::measure::Stamps { start: start as u32, handler: handler as u32, end: end as u32 }
    }};
}
pub(crate) use timed;

/// What two readings cost by themselves.
static OVERHEAD: AtomicU32 = AtomicU32::new(0);

/// Measures it.
pub(crate) fn calibrate() {
    let mut series = Series::new();
    for _ in 0..SAMPLES {
        // SAFETY: nothing between the readings.
        let stamps = unsafe { timed!(crate::micro::Mark::Empty, [0; 9]) };
        series.add(stamps.end.wrapping_sub(stamps.start));
    }
    OVERHEAD.store(series.median(), Ordering::Relaxed);
}

impl Stamps {
    /// From the first instruction to the first behind the last.
    pub(crate) fn whole(self) -> u32 {
        self.end.wrapping_sub(self.start).wrapping_sub(OVERHEAD.load(Ordering::Relaxed))
    }

    /// From the first instruction to the handler's first.
    pub(crate) fn entry(self) -> u32 {
        assert!(self.handler != 0, "the handler ran");
        self.handler.wrapping_sub(self.start).wrapping_sub(OVERHEAD.load(Ordering::Relaxed))
    }

    /// [`Self::whole`] without what the handler spent on its reading.
    pub(crate) fn round_trip(self) -> u32 {
        self.whole().wrapping_sub(HANDLER_READING)
    }
}

/// Which part of a recorded sequence a figure is about.
#[derive(Clone, Copy)]
pub(crate) enum Span {
    /// From the first reading to the last.
    Whole,
    /// From the first reading to the handler's.
    Entry,
    /// From the first reading to the last, without the handler's.
    RoundTrip,
    /// From an interrupt to the handler's reading.
    Interrupt,
}

/// Samples of one operation.
pub(crate) struct Series {
    values: [u32; SAMPLES],
    count: usize,
}

impl Series {
    pub(crate) const fn new() -> Self {
        Self { values: [0; SAMPLES], count: 0 }
    }

    pub(crate) fn clear(&mut self) {
        self.count = 0;
    }

    /// Samples beyond [`SAMPLES`] are not kept.
    pub(crate) fn add(&mut self, value: u32) {
        if self.count < SAMPLES {
            self.values[self.count] = value;
            self.count += 1;
        }
    }

    fn median(&mut self) -> u32 {
        self.values[..self.count].sort_unstable();
        self.values[self.count / 2]
    }

    /// Prints the operation's line: `operation: NAME MARK SPAN PER SAMPLES MINIMUM MEDIAN MAXIMUM`. Each sample did the
    /// operation `per` times.
    pub(crate) fn report(&mut self, name: &str, mark: u16, span: Span, per: u32) {
        let median = self.median();
        let span = match span {
            Span::Whole => "whole",
            Span::Entry => "entry",
            Span::RoundTrip => "round-trip",
            Span::Interrupt => "interrupt",
        };
        let (least, most) = (self.values[0], self.values[self.count - 1]);
        println!("operation: {name} {mark} {span} {per} {} {least} {median} {most}", self.count);
    }
}

/// Space for two figures of one operation; too large for the stack.
pub(crate) static SERIES: Mutex<[Series; 2]> = Mutex::new([Series::new(), Series::new()]);

/// Reports what `sample` returns, [`SAMPLES`] times.
pub(crate) fn figure(name: &str, mark: u16, span: Span, per: u32, mut sample: impl FnMut(usize) -> u32) {
    let mut series = SERIES.lock();
    let series = &mut series[0];
    series.clear();
    (0..SAMPLES).for_each(|index| series.add(sample(index)));
    series.report(name, mark, span, per);
}

/// Reports the way to the handler and the way there and back, as `NAME.entry` and `NAME.round_trip`.
pub(crate) fn two_figures(names: [&str; 2], mark: u16, mut sample: impl FnMut(usize) -> Stamps) {
    let mut series = SERIES.lock();
    let [entry, round_trip] = &mut *series;
    entry.clear();
    round_trip.clear();
    for index in 0..SAMPLES {
        let stamps = sample(index);
        entry.add(stamps.entry());
        round_trip.add(stamps.round_trip());
    }
    entry.report(names[0], mark, Span::Entry, 1);
    round_trip.report(names[1], mark, Span::RoundTrip, 1);
}
