//! The calls, one function each, called by the entry code without a stored frame.
//!
//! They touch nothing but their arguments and the caller's domain, return to their caller and never end a domain. The
//! two that need the whole frame, `CPU.IRET` and `SCHED.SHUTDOWN`, have [`pvops_long_call`] in their place of the table
//! and are served by [`super::calls::call`]. A batch uses the same functions, so each call is written once.
//!
//! The table has two levels: a byte for each id, by which [`call_table`](crate::arch::x86_64::call_table) finds the
//! function. So most of it are zeros' bytes and not pointers, and there is nothing to relocate.

use super::{calls, cpu_calls};
use crate::arch::x86_64::call_table::Number;
use crate::arch::x86_64::guest::{current_vcpu, domain};
#[cfg(doc)]
use crate::arch::x86_64::system_call::pvops_long_call;
use crate::arch::x86_64::{cpu, time};
use crate::domain::Domain;
use crate::domain::vcpu::Vcpu;
use pvops_abi::call::{Base, CallId, Console, Cpu, Event, Mmu, Sched, Time};
use pvops_abi::error::Error;
use pvops_abi::layout::start_info::implementation;

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
pub const PLACES: usize = 8 * 16;

/// The place of `id`, if it can have one.
#[must_use]
pub const fn place(id: u64) -> Option<usize> {
    if id & !0x7_000f == 0 { Some((id >> 12 | id & 15) as usize) } else { None }
}

/// The place of a call of the ABI: all have one, or the table does not compile.
const fn place_of(CallId(id): CallId) -> usize {
    place(id).expect("extensions below 8, functions below 16")
}

/// The number of the call `id`; [`UNKNOWN`] if it is none.
#[must_use]
#[inline]
pub fn number(id: u64) -> Number {
    place(id).map_or(Number::UNKNOWN, Number::of)
}

/// Whether `id` is a call's.
#[must_use]
pub fn is_call(id: u64) -> bool {
    place(id).is_some_and(|place| NUMBERS[place] != UNKNOWN)
}

/// The call `id`, which may be [`unknown`]; `None`: one that does not return to its caller.
#[must_use]
pub fn call(id: u64) -> Option<Call> {
    let number = number(id);
    (number.get() != LONG).then(|| number.function())
}

/// Who called.
struct Caller {
    domain: &'static Domain,
    vcpu: &'static Vcpu,
}

/// Defines the functions and gives each its number, in their order; 0 is [`unknown`], the last [`pvops_long_call`].
macro_rules! calls {
    (long: $($long:expr),* ; fast: $($id:expr => $name:ident: |$caller:pat_param, $arguments:pat_param| $body:expr;)*) => {
        $(
            pub(crate) extern "C" fn $name(first: u64, second: u64, third: u64, fourth: u64) -> Reply {
                let $caller = Caller { domain: domain(), vcpu: current_vcpu() };
                let $arguments = [first, second, third, fourth];
                Reply::from($body)
            }
        )*
        /// The function of each place, by its number in [`call_functions`].
        pub const NUMBERS: [u8; PLACES] = {
            let mut numbers = [0; PLACES];
            let mut number = UNKNOWN;
            $(
                number += 1;
                numbers[place_of($id)] = number;
            )*
            number += 1;
            $(
                numbers[place_of($long)] = number;
            )*
            numbers
        };
        /// Writes the table of functions, in the order of their numbers, where it is used.
        macro_rules! call_functions {
            () => { function_table!{ unknown, $($name,)* pvops_long_call } };
        }
    };
}

/// The number of [`unknown`].
pub const UNKNOWN: u8 = 0;
/// The number of [`pvops_long_call`].
const LONG: u8 = NUMBERS[place_of(Sched::Shutdown.id())];
/// From this number on, a call may take as long as some tens of others.
pub const FIRST_LONG: u8 = FLUSH_PAGE;
/// The first of these; it does so only where a page is flushed in all roots.
pub const FLUSH_PAGE: u8 = NUMBERS[place_of(Mmu::FlushPage.id())];
/// From this number on, a batch refuses calls.
pub const FIRST_REFUSED: u8 = NUMBERS[place_of(Base::Batch.id())];
/// The number of SCHED.BLOCK.
pub const BLOCK: u8 = NUMBERS[place_of(Sched::Block.id())];

/// What has no function.
pub(crate) extern "C" fn unknown(_: u64, _: u64, _: u64, _: u64) -> Reply {
    if mutant!(UnknownIsInvalid) {
        return Reply::from(Err(Error::InvalidArgument));
    }
    Reply { status: Error::NotSupported.to_status() as u64, value: 0 }
}

calls! {
    long: Cpu::Iret.id(), Sched::Shutdown.id();
    fast:
    Base::Version.id() => version: |_, _| calls::version();
    Base::Probe.id() => probe: |_, [extension, ..]| calls::probe(extension);
    Event::Send.id() => send: |caller, [port, ..]| calls::send(caller.domain, port);
    Event::Unmask.id() => unmask: |caller, [port, ..]| calls::unmask(caller.domain, port);
    Event::Eoi.id() => end_interrupt: |caller, [port, ..]| calls::end_interrupt(caller.domain, port);
    // Going back delivers; there is nothing else to do.
    Event::Deliver.id() => deliver: |_, [unused, ..]|
        if mutant!(UnusedMustBeZero) && unused != 0 { Err(Error::InvalidArgument) } else { Ok(0) };
    Time::Clock.id() => clock: |_, _| calls::clock();
    Time::SetDeadline.id() => set_deadline: |caller, [deadline_ns, ..]|
        calls::set_deadline(caller.domain, caller.vcpu, deadline_ns);
    Sched::Yield.id() => yield_now: |_, _| calls::yield_now();
    Base::Implementation.id() => implementation: |_, _| Ok(implementation::PVOPS_HYPERVISOR.into());
    Base::ImplementationVersion.id() => implementation_version: |_, _| Ok(1);
    Cpu::RegisterArea.id() => register_area: |caller, [address, ..]|
        cpu_calls::register_area(caller.domain, caller.vcpu, address);
    Cpu::SetTrapTable.id() => set_trap_table: |caller, [address, count, ..]|
        cpu_calls::set_trap_table(caller.domain, caller.vcpu, address, count);
    Cpu::SetEntries.id() => set_entries: |caller, [event, system_call, ..]|
        cpu_calls::set_entries(caller.domain, caller.vcpu, event, system_call);
    Cpu::SetDoubleFaultStack.id() => set_double_fault_stack: |caller, [top, ..]|
        cpu_calls::set_double_fault_stack(caller.vcpu, top);
    Cpu::SetSegmentBase.id() => set_segment_base: |caller, [which, base, ..]|
        cpu_calls::set_segment_base(caller.vcpu, which, base);
    Cpu::Cpuid.id() => cpuid: |caller, [leaf, subleaf, address, _]|
        cpu_calls::store_cpuid(caller.domain, leaf, subleaf, address);
    Cpu::SetXcr0.id() => set_xcr0: |_, [value, ..]| cpu_calls::set_xcr0(value);
    Cpu::FpuAreaSize.id() => fpu_area_size: |_, _| Ok(cpu::cpuid(0xd, 0)[1].into());
    Event::Bind.id() => bind: |caller, [kind, argument, vcpu, _]| calls::bind(caller.domain, kind, argument, vcpu);
    Event::Unbind.id() => unbind: |caller, [port, ..]| calls::unbind(caller.domain, port);
    Time::WallClock.id() => wall_clock: |_, _| Ok(time::wall_ns());
    // Those that may be long by themselves, [`FIRST_LONG`] and up.
    Mmu::FlushPage.id() => flush_page: |caller, [address, mask, base, _]|
        calls::flush_page(caller.domain, caller.vcpu, address, [mask, base]);
    Mmu::LoadRoot.id() => load_root: |caller, [root, flags, user_root, _]|
        calls::load_root(caller.domain, caller.vcpu, root, flags, user_root);
    Mmu::FlushRange.id() => flush_range: |caller, [address, bytes, mask, base]|
        calls::flush_range(caller.domain, caller.vcpu, [address, bytes], [mask, base]);
    Mmu::FlushAll.id() => flush_all: |caller, [mask, base, flags, _]|
        calls::flush_all(caller.domain, caller.vcpu, [mask, base], flags);
    Mmu::Populate.id() => populate: |caller, [address, pages, ..]|
        calls::populate(caller.domain, caller.vcpu, address, pages);
    Mmu::ReleaseRoot.id() => release_root: |caller, [root, ..]| calls::release_root(caller.domain, root);
    Mmu::SetCommonSlots.id() => set_common_slots: |caller, [address, ..]|
        calls::set_common_slots(caller.domain, address);
    Event::RegisterPage.id() => register_page: |caller, [address, ..]| calls::register_page(caller.domain, address);
    Console::Write.id() => write_console: |caller, [address, bytes, ..]|
        calls::write_console(caller.domain, address, bytes);
    Console::Read.id() => read_console: |caller, [address, room, ..]|
        calls::read_console(caller.domain, address, room);
    // In a batch they would take effect only behind its last entry, or within themselves: [`FIRST_REFUSED`] and up.
    Base::Batch.id() => batch: |caller, [list, count, ..]| calls::batch(caller.domain, list, count);
    Sched::Block.id() => block: |caller, _| calls::block(caller.vcpu);
}
pub(crate) use call_functions;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::front::decode::extension_version;

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
        for id in [Cpu::Iret.id(), Sched::Shutdown.id()] {
            assert!(call(id.0).is_none());
        }
        for (id, function) in [
            (Base::Version.id(), version as Call),
            (Cpu::Cpuid.id(), cpuid),
            (Console::Read.id(), read_console),
            (Sched::Block.id(), block),
        ] {
            assert_eq!(call(id.0).map(|call| call as usize), Some(function as usize), "{:#x}", id.0);
        }
    }

    #[test]
    fn numbers_say_which_calls_a_batch_counts_and_which_it_refuses() {
        for id in (0..8).flat_map(|high| (0..16).map(move |low| high << 16 | low)).filter(|id| is_call(*id)) {
            let number = number(id).get();
            let is_refused = [Base::Batch.id(), Sched::Block.id(), Sched::Shutdown.id(), Cpu::Iret.id()]
                .contains(&CallId(id));
            let is_long = [4, 6].contains(&(id >> 16)) || id == Event::RegisterPage.id().0;
            assert_eq!(number >= FIRST_REFUSED, is_refused, "{id:#x}");
            assert_eq!((FIRST_LONG..FIRST_REFUSED).contains(&number), is_long, "{id:#x}");
        }
        assert_eq!(number(1 << 32 | Base::Version.id().0).get(), UNKNOWN);
    }

    #[test]
    fn calls_of_the_abi_are_in_the_table_and_nothing_else_is() {
        for id in (0..0x20).flat_map(|high| (0..0x20).map(move |low| high << 16 | low)) {
            let number = id as u16;
            let exists = match id >> 16 {
                1 => Base::try_from(number).is_ok(),
                2 => Cpu::try_from(number).is_ok(),
                3 => Event::try_from(number).is_ok(),
                4 => Mmu::try_from(number).is_ok(),
                5 => Time::try_from(number).is_ok(),
                6 => Console::try_from(number).is_ok(),
                7 => Sched::try_from(number).is_ok(),
                _ => false,
            };
            assert_eq!(is_call(id), exists, "{id:#x}");
            let is_unknown = call(id).is_some_and(|call| call as usize == unknown as *const () as usize);
            assert_eq!(is_unknown, !exists, "{id:#x}");
            assert_eq!(extension_version(id >> 16) != 0, is_call(id & !0xffff), "{id:#x}");
        }
    }
}
