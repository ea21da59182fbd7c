//! System calls: what a program asks for, checked and done.
//!
//! The entry decodes once and dispatches by one `match`; every pointer of a program goes through [`UserRange`].

use crate::arch::raw;
use crate::memory::kernel_space;
use crate::process::address_space::Access;
use crate::process::{self, Process};
use crate::workloads::pipe;
use crate::{console, cpu, demo, threads};
use core::sync::atomic::Ordering;
use demo_programs::{FAILED, MESSAGE_BYTES, Program, Statistic, SystemCall};
use pvops_abi::addr::PAGE_SIZE;
use pvops_abi::layout::TrapFrame;
use pvops_abi::ops::{self, time};

/// The system-call entry: interrupts masked, on the calling thread's kernel stack.
pub(crate) fn on_system_call(frame: &mut TrapFrame) {
    ops::irq::enable();
    frame.rax = match SystemCall::from_number(frame.rax) {
        Some(SystemCall::Exit) => process::exit(frame.rdi),
        Some(call) => dispatch(call, frame).unwrap_or(FAILED),
        None => FAILED,
    };
    ops::irq::disable();
}

fn dispatch(call: SystemCall, frame: &TrapFrame) -> Option<u64> {
    let (first, second) = (frame.rdi, frame.rsi);
    match call {
        // Handled above: nothing may be held here when it does not return.
        SystemCall::Exit => None,
        SystemCall::Write => UserRange::new(first, second).write_to_console(),
        SystemCall::Read => UserRange::new(first, second).read_from_console(),
        SystemCall::GetProcess => Some(process::current().id),
        SystemCall::Yield => {
            threads::yield_now();
            Some(0)
        }
        SystemCall::Sleep => {
            threads::sleep(first);
            Some(0)
        }
        SystemCall::Clock => Some(time::now_ns()),
        SystemCall::Fork => process::fork(frame).ok(),
        SystemCall::Wait => process::wait_for_child(first),
        SystemCall::Spawn => spawn(Program::from_number(first)?, second),
        SystemCall::Grow => process::current().memory().as_mut()?.grow(first).ok(),
        SystemCall::OnFault => on_fault(first),
        SystemCall::KernelAddress => demo::kernel_address(first as usize),
        SystemCall::Send => UserRange::new(first, second).send(),
        SystemCall::Receive => UserRange::new(first, second).receive(),
        SystemCall::Statistic => Some(statistic(&process::current(), Statistic::from_number(first)?)),
    }
}

fn spawn(program: Program, argument: u64) -> Option<u64> {
    let parent = process::current().id;
    process::spawn(program, argument, Some(parent)).ok().map(|child| child.id)
}

fn on_fault(landing: u64) -> Option<u64> {
    let base = kernel_space::user_base().0;
    let is_users = landing == 0 || (base..base + kernel_space::SLOT_BYTES).contains(&landing);
    is_users.then(|| process::current().fault_landing.store(landing, Ordering::Relaxed)).map(|()| 0)
}

fn statistic(process: &Process, which: Statistic) -> u64 {
    let memory = process.memory();
    let of_memory = memory.as_ref().map_or((0, 0), |memory| (memory.demand_faults, memory.copied_pages));
    match which {
        Statistic::DemandFaults => of_memory.0,
        Statistic::CopiedPages => of_memory.1,
        Statistic::HiddenFaults => cpu::hidden_faults(),
    }
}

/// A range that a program claims to be its own. Nothing is known about it until each part is copied.
struct UserRange {
    start: u64,
    bytes: u64,
}

impl UserRange {
    fn new(start: u64, bytes: u64) -> Self {
        Self { start, bytes }
    }

    /// Copies at most a page at a time; what cannot be read ends it.
    fn write_to_console(&self) -> Option<u64> {
        let mut chunk = [0; 256];
        let mut done = 0;
        while done < self.bytes {
            let part = self.part(done, chunk.len());
            part.prepare(Access::Read)?;
            let chunk = &mut chunk[..part.bytes as usize];
            raw::copy_from_user(part.start, chunk);
            console::write_text(chunk);
            done += part.bytes;
        }
        Some(done)
    }

    fn read_from_console(&self) -> Option<u64> {
        let mut chunk = [0; 256];
        let part = self.part(0, chunk.len());
        // Refused before waiting, not after.
        part.prepare(Access::Write)?;
        let count = console::read(&mut chunk[..part.bytes as usize]);
        part.prepare(Access::Write)?;
        raw::copy_to_user(part.start, &chunk[..count]);
        Some(count as u64)
    }

    fn send(&self) -> Option<u64> {
        let mut message = [0; MESSAGE_BYTES];
        let message = message.get_mut(..usize::try_from(self.bytes).ok()?)?;
        self.prepare(Access::Read)?;
        raw::copy_from_user(self.start, message);
        pipe::send(message);
        Some(0)
    }

    fn receive(&self) -> Option<u64> {
        let mut message = [0; MESSAGE_BYTES];
        let message = message.get_mut(..usize::try_from(self.bytes).ok()?)?;
        // Refused before waiting, not after.
        self.prepare(Access::Write)?;
        pipe::receive(message);
        self.prepare(Access::Write)?;
        raw::copy_to_user(self.start, message);
        Some(0)
    }

    /// What lies `done` bytes in, up to `most` bytes and the end of a page.
    fn part(&self, done: u64, most: usize) -> Self {
        let start = self.start.wrapping_add(done);
        let in_page = PAGE_SIZE - start % PAGE_SIZE;
        Self { start, bytes: (self.bytes - done).min(in_page).min(most as u64) }
    }

    fn prepare(&self, access: Access) -> Option<()> {
        process::current().memory().as_mut()?.prepare(self.start, self.bytes, access).ok()
    }
}
