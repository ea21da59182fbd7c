//! Time, console, scheduling and further CPUs: short groups that are little more than their calls.

use super::hypercall::{call0, call2};
use super::{code, physical, state, stubs};
use crate::addr::VirtAddr;
use crate::call::{Console as ConsoleCall, Sched as SchedCall, Time as TimeCall};
use crate::ops::console::ConsoleOps;
use crate::ops::sched::{SchedOps, ShutdownReason};
use crate::ops::smp::{SmpOps, StartError};
use crate::ops::time::TimeOps;
use crate::patch::{Code, Operation};
use core::arch::asm;
use spin::Mutex;

pub(super) struct Time;

impl TimeOps for Time {
    fn now_ns(&self) -> u64 {
        let now;
        // SAFETY: the stub changes these registers only and pushes no more than a return address.
        unsafe {
            asm!("call {now_ns}", now_ns = sym stubs::now_ns,
                 out("rax") now, out("rcx") _, out("rdx") _, out("r11") _);
        }
        now
    }

    fn wall_clock_ns(&self) -> u64 {
        call0(TimeCall::WallClock.id()).value
    }

    fn set_deadline(&self, deadline_ns: Option<u64>) {
        call2(TimeCall::SetDeadline.id(), deadline_ns.unwrap_or(u64::MAX), 0);
    }

    fn counter_hz(&self) -> u64 {
        state().start_info.tsc_hz
    }

    fn code(&self, operation: Operation) -> Option<Code> {
        code::time(operation)
    }
}

const BUFFER_BYTES: usize = 512;

/// Bytes on their way: calls take physical addresses, so they go through memory of known address.
#[repr(align(512))]
struct Buffer([u8; BUFFER_BYTES]);

static OUTPUT: Mutex<Buffer> = Mutex::new(Buffer([0; BUFFER_BYTES]));
static INPUT: Mutex<Buffer> = Mutex::new(Buffer([0; BUFFER_BYTES]));

/// Runs `work` on `buffer` and its guest-physical address; 0 when another context is using it.
fn with_buffer(buffer: &Mutex<Buffer>, work: impl FnOnce(&mut [u8; BUFFER_BYTES], u64) -> usize) -> usize {
    crate::ops::irq::without(|| {
        let Some(mut buffer) = buffer.try_lock() else { return 0 };
        let bytes = &mut buffer.0;
        match physical(VirtAddr(bytes.as_ptr() as u64)) {
            Some(address) => work(bytes, address.0),
            None => 0,
        }
    })
}

pub(super) struct Console;

impl ConsoleOps for Console {
    fn write(&self, bytes: &[u8]) -> usize {
        with_buffer(&OUTPUT, |buffer, address| {
            let length = bytes.len().min(BUFFER_BYTES);
            buffer[..length].copy_from_slice(&bytes[..length]);
            call2(ConsoleCall::Write.id(), address, length as u64).result().unwrap_or(0) as usize
        })
    }

    fn read(&self, target: &mut [u8]) -> usize {
        with_buffer(&INPUT, |buffer, address| {
            let room = target.len().min(BUFFER_BYTES);
            let length = call2(ConsoleCall::Read.id(), address, room as u64).result().unwrap_or(0) as usize;
            let length = length.min(room);
            target[..length].copy_from_slice(&buffer[..length]);
            length
        })
    }
}

pub(super) struct Sched;

impl SchedOps for Sched {
    fn yield_now(&self) {
        call0(SchedCall::Yield.id());
    }

    fn shutdown(&self, reason: ShutdownReason, code: u8) -> ! {
        // A hypervisor may refuse a reason (restarts are optional); powering off is never refused.
        loop {
            call2(SchedCall::Shutdown.id(), reason as u64, code.into());
            call2(SchedCall::Shutdown.id(), ShutdownReason::PowerOff as u64, code.into());
        }
    }
}

pub(super) struct Smp;

impl SmpOps for Smp {
    fn cpu_count(&self) -> usize {
        state().start_info.vcpu_count as usize
    }

    unsafe fn start(
        &self,
        _cpu: usize,
        _entry: extern "C" fn(u64) -> !,
        _stack_top: VirtAddr,
        _argument: u64,
    ) -> Result<(), StartError> {
        // SMP probes as absent in this version of the ABI's chapter.
        Err(StartError::NotSupported)
    }
}
