//! Events by raw calls, on an event page of the guest's own that attacks may damage.

use super::{attempt, call, world};
use core::sync::atomic::{AtomicU64, Ordering};
use pvops_abi::call::{Event, Time};
use pvops_abi::layout::event::EVENT_PAGE_VERSION;
use pvops_abi::layout::{PortKind, TrapFrame};

static PAGE: AtomicU64 = AtomicU64::new(0);
static COUNT: AtomicU64 = AtomicU64::new(0);
/// How often the handler will arm a deadline in the past again.
static STORM: AtomicU64 = AtomicU64::new(0);

/// Offset of the pending words in the event page.
const PENDING: u64 = 64;
/// Offset of the mask words.
const MASK: u64 = 576;

/// Registers an event page of our own.
pub(crate) fn prepare() {
    let page = world::frame();
    world::put(page, 4096 | u64::from(EVENT_PAGE_VERSION) << 32);
    for word in 0..64 {
        world::put(page + MASK + word * 8, u64::MAX);
    }
    assert_eq!(call(Event::RegisterPage.id(), &[page]).status, 0, "the event page");
    PAGE.store(page, Ordering::Relaxed);
}

/// Guest-physical address of the event page.
pub(crate) fn page() -> u64 {
    PAGE.load(Ordering::Relaxed)
}

/// Binds and unmasks a port; its number, 0 if there is none.
pub(crate) fn bind(kind: PortKind) -> u64 {
    let reply = call(Event::Bind.id(), &[kind as u64, 0, 0]);
    if reply.status != 0 {
        return 0;
    }
    assert_eq!(call(Event::Unmask.id(), &[reply.value]).status, 0, "the port was bound");
    reply.value
}

/// Unbinds a port.
pub(crate) fn unbind(port: u64) {
    call(Event::Unbind.id(), &[port]);
}

/// Arms the deadline.
pub(crate) fn set_deadline(ns: u64) {
    assert_eq!(call(Time::SetDeadline.id(), &[ns]).status, 0, "any deadline is one");
}

/// The clock.
pub(crate) fn now_ns() -> u64 {
    call(Time::Clock.id(), &[]).value
}

/// Upcalls so far.
pub(crate) fn count() -> u64 {
    COUNT.load(Ordering::Relaxed)
}

/// Where that number stands, for code that must see it change between two instructions.
pub(crate) fn counter() -> *const u64 {
    COUNT.as_ptr()
}

/// Has each of the next `upcalls` arm a deadline in the past. Without an end the kernel would never come out.
pub(crate) fn set_storm(upcalls: u64) {
    STORM.store(upcalls, Ordering::Relaxed);
}

/// Lets events in, or masks them.
pub(crate) fn enable(on: bool) {
    world::BLOCK.area.events_enabled.store(on.into(), Ordering::SeqCst);
    if on {
        call(Event::Deliver.id(), &[]);
    }
}

/// The event entry.
pub(crate) fn on_event(frame: &mut TrapFrame) {
    COUNT.fetch_add(1, Ordering::Relaxed);
    let area = &world::BLOCK.area;
    area.events_pending.store(0, Ordering::SeqCst);
    area.selector.store(0, Ordering::SeqCst);
    for word in 0..64 {
        world::put(page() + PENDING + word * 8, 0);
    }
    let storm = STORM.load(Ordering::Relaxed);
    if storm > 0 {
        STORM.store(storm - 1, Ordering::Relaxed);
        set_deadline(0);
    }
    attempt::on_event(frame);
}
