//! The calls. Those of CPU are in [`cpu_calls`](super::cpu_calls), lists of calls in [`batch`]; [`fast`] is the table.
//!
//! Each function below checks its arguments as claims of a stranger and touches the caller's domain only. The
//! chapter of `spec/` with the extension's name states what each promises.

use super::batch;
use super::decode::{Arguments, arguments, extension_version};
use super::fast::{self, Reply};
use super::frames;
use crate::arch::x86_64::call_table::Number;
use crate::arch::x86_64::guest::{current_vcpu, domain};
use crate::arch::x86_64::registered::Ports;
use crate::arch::x86_64::{Frame, cpu, system_call, time};
use crate::domain::devices::{self, Change};
use crate::domain::events::{self, Binding, MAX_BOUND_PORTS};
use crate::domain::vcpu::Vcpu;
use crate::domain::{Domain, console, lifecycle, registry, turn};
use crate::lock::lock;
use crate::mmu::shadow::Failure;
use crate::sched::VcpuId;
use core::sync::atomic::Ordering;
use pvops_abi::call;
use pvops_abi::error::Error;
use pvops_abi::layout::{FlushAllFlags, LoadRootFlags, PortKind, ShutdownReason};
use pvops_abi::version;
use system_image::ExitStatus;

/// Most bytes of one console call: a line of text.
const MAX_CONSOLE_BYTES: usize = 128;
/// Most pages of one populate call: at the worst a walk each, and some tables.
const MAX_POPULATE_PAGES: u64 = 32;
/// Most calls of a batch that may be long by themselves; behind the last one the batch ends short.
const MAX_LONG_CALLS: u32 = 4;
/// It also ends short behind a long call when it has taken so long.
const LONG_BATCH_NS: u32 = 20_000;

/// Of a call that did what it was to do and has no value.
const DONE: Reply = Reply { status: 0, value: 0 };

/// A call of the guest kernel that needs all its registers: `rax` and `rdx` get status and value, all else stays.
pub fn call(domain: &Domain, vcpu: &Vcpu, frame: &mut Frame) {
    if frame.rax == call::Cpu::Iret.id().0 {
        frames::iret(vcpu, frame);
        return;
    }
    let Reply { status, value } = match fast::call(frame.rax) {
        // All calls come here in the build with mutants, some of which change what registers hold.
        Some(call) if cfg!(feature = "mutants") => system_call::make(call, arguments(frame)),
        _ => Reply::from(shutdown(domain, frame)),
    };
    frame.rax = status;
    frame.rdx = value;
    frame.rbx ^= u64::from(mutant!(RegisterClobbered) && status == Error::InvalidArgument.to_status() as u64);
    if mutant!(AddressLeaks) {
        frame.rcx = crate::mmu::HYPERVISOR_START;
    }
}

// --- BASE --------------------------------------------------------------------------------------------------

pub(super) fn version() -> Result<u64, Error> {
    Ok(u64::from(version::CURRENT.to_bits()) + u64::from(mutant!(VersionDiffers)))
}

pub(super) fn probe(extension: u64) -> Result<u64, Error> {
    Ok(extension_version(extension) | u64::from(mutant!(ProbeAdmitsMore) && extension == 8))
}

pub(super) fn clock() -> Result<u64, Error> {
    Ok(time::now_ns() ^ (u64::from(mutant!(ClockGoesBack)) << 20))
}

pub(super) fn batch(domain: &Domain, list: u64, count: u64) -> Result<u64, Error> {
    batch::run(&domain.memory, list, count, &mut Batch { began: time::now(), long_calls: 0 })
}

/// A batch that is being made.
struct Batch {
    /// Tick at which it began.
    began: u64,
    long_calls: u32,
}

impl batch::Calls for Batch {
    type Call = Number;

    #[inline]
    fn find(&self, id: u64) -> Number {
        fast::number(id)
    }

    #[inline]
    fn make(&mut self, call: Number, arguments: Arguments) -> Reply {
        let number = call.get();
        if number >= fast::FIRST_REFUSED && !(mutant!(BatchBlocks) && number == fast::BLOCK) {
            return Reply::from(Err(Error::InvalidArgument));
        }
        system_call::make(call.function(), arguments)
    }

    #[inline]
    fn is_enough(&mut self, call: Number) -> bool {
        call.get() >= fast::FIRST_LONG && self.is_enough_behind(call.get())
    }
}

impl Batch {
    /// Behind one that may have been long.
    #[inline(never)]
    fn is_enough_behind(&mut self, number: u8) -> bool {
        let was_long = match number {
            fast::FIRST_REFUSED.. => false,
            fast::FLUSH_PAGE => lock(&domain().mmu).flushes_pages_in_all_roots(),
            _ => true,
        };
        if !was_long {
            return false;
        }
        self.long_calls += 1;
        self.long_calls == MAX_LONG_CALLS || time::now() - self.began > time::ticks(LONG_BATCH_NS)
    }
}

// --- EVT ---------------------------------------------------------------------------------------------------

pub(super) fn register_page(domain: &Domain, address: u64) -> Result<u64, Error> {
    if !lock(&domain.bindings).is_empty() {
        return Err(Error::WrongState);
    }
    domain.ports.set(Some(Ports::at(&domain.memory, address)?));
    Ok(0)
}

pub(super) fn bind(domain: &Domain, kind: u64, argument: u64, vcpu: u64) -> Result<u64, Error> {
    let kind = PortKind::try_from(kind)?;
    if vcpu >= domain.vcpu_count as u64 {
        return Err(Error::InvalidArgument);
    }
    let ports = domain.ports.get().ok_or(Error::WrongState)?;
    let vcpu = vcpu as u32;
    if domain.vcpu(vcpu).area.get().is_none() {
        return Err(Error::WrongState);
    }
    match kind {
        PortKind::Timer | PortKind::Console | PortKind::Ipi if argument == 0 => {}
        PortKind::Doorbell if argument < domain.channels.len() as u64 => {}
        PortKind::Device if domain.devices.has_interrupt(argument) => {}
        _ => return Err(Error::InvalidArgument),
    }
    let binding = Binding { kind, argument: argument as u32, vcpu };
    let mut bindings = lock(&domain.bindings);
    let port = bindings.bind(binding)?;
    // Under the lock, so that the first occurrence comes after it.
    if !mutant!(BindLeavesOpen) {
        ports.set_mask(port);
    }
    if !mutant!(BindLeavesPending) {
        ports.clear_pending(port);
    }
    tell_source(domain, binding, port, Change::Bound);
    Ok(port.into())
}

pub(super) fn unbind(domain: &Domain, port: u64) -> Result<u64, Error> {
    let mut bindings = lock(&domain.bindings);
    let binding = bindings.unbind(port)?;
    tell_source(domain, binding, port as u32, Change::Unbound);
    Ok(0)
}

/// Whoever finds the port of a source without looking through the bindings learns that it is bound, or no longer.
#[inline(never)]
fn tell_source(domain: &Domain, Binding { kind, argument, vcpu }: Binding, port: u32, change: Change) {
    let vcpu = domain.vcpu(vcpu);
    let is_bound = change == Change::Bound;
    match kind {
        PortKind::Timer => vcpu.timer_port.store(if is_bound { port } else { 0 }, Ordering::Relaxed),
        PortKind::Device => devices::note(domain.number, argument, change),
        PortKind::Ipi => {
            vcpu.own_ipis.fetch_xor(1 << port, Ordering::Relaxed);
        }
        _ => {}
    }
}

/// What `port` is bound to.
#[inline(never)]
fn binding(port: u64) -> Result<Binding, Error> {
    lock(&domain().bindings).get(port)
}

pub(super) fn end_interrupt(domain: &Domain, port: u64) -> Result<u64, Error> {
    let Binding { kind, argument, .. } = binding(port)?;
    if kind == PortKind::Device {
        devices::note(domain.number, argument, Change::Ended);
    }
    Ok(0)
}

#[inline(always)]
pub(super) fn send(domain: &Domain, port: u64) -> Reply {
    let vcpu = current_vcpu();
    if port < MAX_BOUND_PORTS as u64 && vcpu.own_ipis.load(Ordering::Relaxed) >> port & 1 != 0 {
        events::post_to_self(domain, vcpu, port as u32);
        return DONE;
    }
    send_to_others(port)
}

#[inline(never)]
fn send_to_others(port: u64) -> Reply {
    let domain = domain();
    let send = |binding: Binding| match binding.kind {
        PortKind::Ipi => {
            events::post(domain, port as u32, binding.vcpu);
            Ok(0)
        }
        PortKind::Doorbell => {
            let end = domain.channels.get(binding.argument as usize).ok_or(Error::Denied)?;
            let channel = if mutant!(DoorbellOfOthers) { 1 } else { end.peer_channel };
            trace!(Doorbell, end.peer.into(), channel.into());
            registry::post(VcpuId { domain: end.peer, vcpu: 0 }, 1 << channel);
            Ok(0)
        }
        _ => Err(Error::Denied),
    };
    Reply::from(binding(port).and_then(send))
}

pub(super) fn unmask(domain: &Domain, port: u64) -> Result<u64, Error> {
    let binding = binding(port)?;
    let ports = domain.ports.get().ok_or(Error::WrongState)?;
    ports.clear_mask(port as u32);
    if ports.is_pending(port as u32) && !mutant!(UnmaskForgets) {
        events::notify(domain, port as u32, binding.vcpu);
    }
    Ok(0)
}

// --- MMU ---------------------------------------------------------------------------------------------------

fn exhausted(_: Failure) -> Error {
    Error::NoResources
}

/// How often a vCPU set (mask, number of its lowest; all ones: everybody) names the caller: once or not. It names only
/// vCPUs that exist. While there is one vCPU per domain, a set concerns the caller or nobody.
#[inline(never)]
fn concerned([mask, base]: [u64; 2]) -> Result<u64, Error> {
    if base == u64::MAX {
        return Ok(1);
    }
    if mask == 0 {
        return Ok(0);
    }
    let highest = 63 - u64::from(mask.leading_zeros());
    if base.checked_add(highest).is_none_or(|highest| highest >= domain().vcpu_count as u64) {
        return Err(Error::InvalidArgument);
    }
    let distance = u64::from(current_vcpu().number).wrapping_sub(base);
    Ok(if distance < 64 { mask >> distance & 1 } else { 0 })
}

#[inline(always)]
pub(super) fn load_root(domain: &Domain, vcpu: &Vcpu, root: u64, flags: u64, user_root: u64) -> Reply {
    if flags == LoadRootFlags::KEEP.bits() && user_root == 0 {
        // What is cached was checked.
        let cached = lock(&domain.mmu).load_cached_root(root, vcpu.number);
        if let Some(loaded) = cached {
            vcpu.set_root(loaded);
            return DONE;
        }
    }
    reply_of_any_root(root, flags, user_root)
}

/// A reply, so that nothing is left to do behind it.
#[inline(never)]
fn reply_of_any_root(root: u64, flags: u64, user_root: u64) -> Reply {
    Reply::from(load_any_root(domain(), current_vcpu(), root, flags, user_root))
}

#[inline(always)]
fn load_any_root(domain: &Domain, vcpu: &Vcpu, root: u64, flags: u64, user_root: u64) -> Result<u64, Error> {
    let flags = if mutant!(LoadRootTakesAnyFlag) { flags & 1 } else { flags };
    let flags = LoadRootFlags::from_bits(flags).ok_or(Error::InvalidArgument)?;
    if user_root != 0 {
        return Err(Error::InvalidArgument);
    }
    domain.memory.check(root, 4096, 4096)?;
    let keep = flags.contains(LoadRootFlags::KEEP);
    let loaded = lock(&domain.mmu).load_root(root, vcpu.number, keep).map_err(exhausted)?;
    vcpu.set_root(loaded);
    Ok(0)
}

#[inline(always)]
pub(super) fn flush_page(domain: &Domain, vcpu: &Vcpu, address: u64, set: [u64; 2]) -> Reply {
    let is_usual = set == [1 << (vcpu.number % 64), 0] && !mutant!(any);
    if is_usual {
        lock(&domain.mmu).flush_page(vcpu.root.get().number, address);
        return DONE;
    }
    let bytes = if mutant!(FlushPageDoesNothing) { 0 } else { 1 };
    fast::flush_range(address, bytes, set[0], set[1])
}

pub(super) fn flush_range(
    domain: &Domain,
    vcpu: &Vcpu,
    [address, bytes]: [u64; 2],
    set: [u64; 2],
) -> Result<u64, Error> {
    let bytes = if mutant!(FlushRangeTooShort) { bytes.div_ceil(2) } else { bytes };
    if concerned(set)? != 0 && bytes != 0 {
        lock(&domain.mmu).flush_range(vcpu.root.get().number, address, bytes);
        #[cfg(feature = "mutants")]
        if mutant!(FillAfterFlush) && bytes == 1 {
            lock(&domain.mmu).load_again();
        }
    }
    Ok(0)
}

pub(super) fn flush_all(domain: &Domain, vcpu: &Vcpu, set: [u64; 2], flags: u64) -> Result<u64, Error> {
    let flags = FlushAllFlags::from_bits(flags).ok_or(Error::InvalidArgument)?;
    if mutant!(CallsClobberVectors) {
        cpu::initialize_extended_state();
    }
    if concerned(set)? != 0 && !mutant!(FlushAllDoesNothing) {
        let every_root = flags.contains(FlushAllFlags::EVERY_ROOT);
        lock(&domain.mmu).flush_all(vcpu.root.get().number, every_root);
    }
    Ok(0)
}

pub(super) fn populate(domain: &Domain, vcpu: &Vcpu, address: u64, pages: u64) -> Result<u64, Error> {
    let pages = pages.min(MAX_POPULATE_PAGES);
    let root = vcpu.root.get().number;
    lock(&domain.mmu).populate(&domain.memory, root, address, pages).map_err(exhausted)
}

pub(super) fn release_root(domain: &Domain, root: u64) -> Result<u64, Error> {
    domain.memory.check(root, 4096, 4096)?;
    if lock(&domain.mmu).release_root(root) { Ok(0) } else { Err(Error::WrongState) }
}

pub(super) fn set_common_slots(domain: &Domain, address: u64) -> Result<u64, Error> {
    let slots = domain.memory.load::<[u64; 8]>(address)?;
    lock(&domain.mmu).set_common_slots(slots).map_err(exhausted)?;
    Ok(0)
}

// --- TIME --------------------------------------------------------------------------------------------------

pub(super) fn set_deadline(domain: &Domain, vcpu: &Vcpu, deadline_ns: u64) -> Result<u64, Error> {
    let entry = vcpu.entry;
    let early_ns = if mutant!(DeadlineEarly) { 30_000 } else { 0 };
    let tick = match deadline_ns {
        registry::NEVER => registry::NEVER,
        _ => time::tick_at(deadline_ns.saturating_sub(early_ns)),
    };
    if mutant!(DeadlineNotReplaced) && entry.deadline() < tick {
        return Ok(0);
    }
    if mutant!(DeadlineTakesBack) {
        (1..64).for_each(|port| domain.ports.get().into_iter().for_each(|ports| ports.clear_pending(port)));
    }
    let is_over = tick <= time::now();
    if is_over && !mutant!(PastDeadlineLost) {
        events::raise_timer(domain, vcpu);
    }
    let tick = match is_over {
        true if mutant!(DeadlineTwice) => time::tick_in(100_000),
        true => registry::NEVER,
        false => tick,
    };
    entry.set_deadline(tick);
    turn::wake_at(tick);
    Ok(0)
}

// --- CONS --------------------------------------------------------------------------------------------------

pub(super) fn write_console(domain: &Domain, address: u64, bytes: u64) -> Result<u64, Error> {
    domain.memory.with_bytes(address, bytes, |text| {
        let text = &text[..text.len().min(MAX_CONSOLE_BYTES)];
        if domain.has_console { console::write(domain.number, text) as u64 } else { text.len() as u64 }
    })
}

pub(super) fn read_console(domain: &Domain, address: u64, room: u64) -> Result<u64, Error> {
    let room = if mutant!(ConsoleUnchecked) { room & 127 } else { room };
    domain.memory.with_bytes(address, room, |room| {
        let mut read = 0;
        for place in room.iter().take(MAX_CONSOLE_BYTES) {
            if mutant!(ConsoleStoresMore) {
                place.store(0, Ordering::Relaxed);
            }
            let Some(byte) = console::take(domain.number) else { break };
            place.store(byte, Ordering::Relaxed);
            read += 1;
        }
        read
    })
}

// --- SCHED -------------------------------------------------------------------------------------------------

pub(super) fn yield_now() -> Result<u64, Error> {
    turn::yield_now();
    Ok(0)
}

/// Without an area the vCPU could never be told that an event is there.
pub(super) fn block(vcpu: &Vcpu) -> Result<u64, Error> {
    vcpu.area.get().ok_or(Error::WrongState)?.set_events_enabled(!mutant!(BlockKeepsMask));
    vcpu.blocked.set(true);
    cpu().reschedule.set(true);
    Ok(0)
}

fn shutdown(domain: &Domain, frame: &Frame) -> Result<u64, Error> {
    const POWER_OFF: u64 = ShutdownReason::PowerOff as u64;
    const REBOOT: u64 = ShutdownReason::Reboot as u64;
    const CRASH: u64 = ShutdownReason::Crash as u64;
    match frame.rdi {
        POWER_OFF if mutant!(ShutdownReturns) => Ok(0),
        POWER_OFF => domain.stop(ExitStatus::from_guest(frame.rsi)),
        REBOOT => lifecycle::reboot(domain),
        CRASH => lifecycle::crash(domain, "the kernel reported itself broken", 0),
        _ => Err(Error::InvalidArgument),
    }
}
