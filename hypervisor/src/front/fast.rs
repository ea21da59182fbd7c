//! The calls that a guest makes all the time, one function each, called by the entry code without a stored frame.
//!
//! They touch nothing but their arguments and the caller's domain, return to their caller and never end a domain; the
//! others have [`pvops_long_call`] in their place of the table and find the whole frame in [`super::calls`]. A batch
//! and the long way use the same functions, so each call is written once.

use super::calls;
use crate::arch::x86_64::guest::{current_vcpu, domain};
use crate::arch::x86_64::system_call::pvops_long_call;
use crate::domain::Domain;
use crate::domain::vcpu::Vcpu;
use pvops_abi::call::{Base, CallId, Console, Cpu, Event, Mmu, Sched, Time};
use pvops_abi::error::Error;

/// What a call returns, in the registers in which the guest finds it.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Reply {
    /// `rax`
    pub status: u64,
    /// `rdx`
    pub value: u64,
}

/// A call: the arguments `rdi`, `rsi`, `rdx` and `r10`.
pub type Call = unsafe extern "C" fn(u64, u64, u64, u64) -> Reply;

impl From<Result<u64, Error>> for Reply {
    fn from(result: Result<u64, Error>) -> Self {
        match result {
            Ok(value) => Self { status: 0, value },
            Err(error) => Self { status: error.to_status() as u64, value: 0 },
        }
    }
}

/// Places of the table: extension below 8, function below 16.
const PLACES: usize = 8 * 16;

/// By extension and function.
pub static TABLE: [Call; PLACES] = table();

/// The place of `id`, if it can have one.
#[must_use]
pub const fn place(id: u64) -> Option<usize> {
    if id & !0x7_000f == 0 { Some((id >> 12 | id & 15) as usize) } else { None }
}

/// The call `id`, if it is one of these.
#[must_use]
pub fn call(id: u64) -> Option<Call> {
    let call = *TABLE.get(place(id)?)?;
    (call as usize != pvops_long_call as *const () as usize).then_some(call)
}

/// Makes a call of the table.
#[must_use]
pub fn make(call: Call, first: u64, second: u64, third: u64, fourth: u64) -> Reply {
    crate::arch::x86_64::system_call::make(call, [first, second, third, fourth])
}

/// Who called.
struct Caller {
    domain: &'static Domain,
    vcpu: &'static Vcpu,
}

/// Defines the functions and puts them into their places.
macro_rules! calls {
    (long: $($long:expr),* ; fast: $($id:expr => $name:ident: |$caller:pat_param, $arguments:pat_param| $body:expr;)*) => {
        $(
            extern "C" fn $name(first: u64, second: u64, third: u64, fourth: u64) -> Reply {
                let $caller = Caller { domain: domain(), vcpu: current_vcpu() };
                let $arguments = [first, second, third, fourth];
                Reply::from($body)
            }
        )*
        const fn table() -> [Call; PLACES] {
            let mut table = [unknown as Call; PLACES];
            $(
                let CallId(id) = $long;
                table[(id >> 12 | id & 15) as usize] = pvops_long_call;
            )*
            $(
                let CallId(id) = $id;
                table[(id >> 12 | id & 15) as usize] = $name;
            )*
            table
        }
    };
}

/// What has no function.
extern "C" fn unknown(_: u64, _: u64, _: u64, _: u64) -> Reply {
    if mutant!(UnknownIsInvalid) {
        return Reply::from(Err(Error::InvalidArgument));
    }
    Reply { status: Error::NotSupported.to_status() as u64, value: 0 }
}

calls! {
    long:
    Base::Implementation.id(), Base::ImplementationVersion.id(),
    Cpu::RegisterArea.id(), Cpu::SetTrapTable.id(), Cpu::SetEntries.id(), Cpu::SetDoubleFaultStack.id(),
    Cpu::Iret.id(), Cpu::SetSegmentBase.id(), Cpu::Cpuid.id(), Cpu::SetXcr0.id(), Cpu::FpuAreaSize.id(),
    Event::RegisterPage.id(), Event::Bind.id(), Event::Unbind.id(),
    Mmu::ReleaseRoot.id(), Mmu::SetCommonSlots.id(),
    Time::WallClock.id(),
    Console::Write.id(), Console::Read.id(),
    Sched::Shutdown.id();
    fast:
    Base::Version.id() => version: |_, _| calls::version();
    Base::Probe.id() => probe: |_, [extension, ..]| calls::probe(extension);
    Base::Batch.id() => batch: |caller, [list, count, ..]| calls::batch(caller.domain, caller.vcpu, list, count);
    Event::Send.id() => send: |caller, [port, ..]| calls::send(caller.domain, port);
    Event::Unmask.id() => unmask: |caller, [port, ..]| calls::unmask(caller.domain, port);
    Event::Eoi.id() => end_interrupt: |caller, [port, ..]| calls::end_interrupt(caller.domain, port);
    // Going back delivers; there is nothing else to do.
    Event::Deliver.id() => deliver: |_, [unused, ..]|
        if mutant!(UnusedMustBeZero) && unused != 0 { Err(Error::InvalidArgument) } else { Ok(0) };
    Mmu::LoadRoot.id() => load_root: |caller, [root, flags, user_root, _]|
        calls::load_root(caller.domain, caller.vcpu, root, flags, user_root);
    Mmu::FlushPage.id() => flush_page: |caller, [address, mask, base, _]|
        calls::flush_page(caller.domain, caller.vcpu, address, [mask, base]);
    Mmu::FlushRange.id() => flush_range: |caller, [address, bytes, mask, base]|
        calls::flush(caller.domain, caller.vcpu, [address, bytes], [mask, base]);
    Mmu::FlushAll.id() => flush_all: |caller, [mask, base, flags, _]|
        calls::flush_all(caller.domain, caller.vcpu, [mask, base], flags);
    Mmu::Populate.id() => populate: |caller, [address, pages, ..]|
        calls::populate(caller.domain, caller.vcpu, address, pages);
    Time::Clock.id() => clock: |_, _| calls::clock();
    Time::SetDeadline.id() => set_deadline: |caller, [deadline_ns, ..]|
        calls::set_deadline(caller.domain, caller.vcpu, deadline_ns);
    Sched::Yield.id() => yield_now: |_, _| calls::yield_now();
    Sched::Block.id() => block: |caller, _| calls::block(caller.vcpu);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::front::decode::function;

    #[test]
    fn every_call_has_a_place_of_its_own_and_no_other_id_has_one() {
        assert_eq!(place(Mmu::FlushAll.id().0), Some(0x43));
        assert_eq!(place(Cpu::Iret.id().0), Some(0x24));
        for id in [0x8_0000, 0x1_0010, 0x1_0000_0001_0000, 1 << 63, 0x10_0000, u64::MAX] {
            assert_eq!(place(id), None, "{id:#x}");
        }
        let mut places: Vec<_> =
            (0..8).flat_map(|high| (0..16).map(move |low| place(high << 16 | low))).collect();
        places.sort_unstable();
        places.dedup();
        assert_eq!(places.len(), PLACES);
    }

    #[test]
    fn what_may_end_a_domain_or_needs_registers_goes_the_long_way() {
        for id in [Cpu::Iret.id(), Sched::Shutdown.id(), Console::Write.id(), Cpu::RegisterArea.id()] {
            assert!(call(id.0).is_none());
        }
        assert!(call(Base::Version.id().0).is_some());
        assert!(call(u64::MAX).is_none());
    }

    #[test]
    fn the_table_knows_what_the_decoder_knows() {
        for id in (0..8).flat_map(|high| (0..16).map(move |low| high << 16 | low)) {
            let is_unknown = call(id).is_some_and(|call| call as usize == unknown as *const () as usize);
            assert_eq!(is_unknown, function(id).is_err(), "{id:#x}");
        }
    }
}
