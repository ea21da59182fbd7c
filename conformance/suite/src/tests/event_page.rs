//! Behaviour: EVT.register_page checks place, size, version and reserved fields of the page.
//! Reason: the hypervisor writes to it at any time.
//! Method: pages that are wrong in one thing each. Last of all groups, see `tests`.

use crate::harness::Needs::Abi;
use crate::harness::abi::{call, refuses_bad_addresses};
use crate::harness::{Report, Test, events, world};
use core::sync::atomic::Ordering;
use pvops_abi::addr::PhysAddr;
use pvops_abi::call::Event;
use pvops_abi::error::Error;
use pvops_abi::layout::event::{EVENT_PAGE_VERSION, EventPage};

pub(super) const TESTS: &[Test] = &[
    Test { name: "event_page.in_use", requirement_ids: &[], needs: Abi, run: in_use },
    Test { name: "event_page.addresses", requirement_ids: &["GEN-003"], needs: Abi, run: addresses },
    Test { name: "event_page.header", requirement_ids: &["VER-005"], needs: Abi, run: header },
    Test { name: "event_page.reserved", requirement_ids: &["GEN-001"], needs: Abi, run: reserved },
];

const BYTES: u64 = size_of::<EventPage>() as u64;

fn addresses(report: &mut Report) {
    let register = |address| call(Event::RegisterPage.id(), &[address]);
    refuses_bad_addresses(report, "EVT.register_page", (BYTES, 4096), register);
}

fn page(size: u64, version: u64) -> u64 {
    let page = world::frame();
    world::word(page).store(size | version << 32, Ordering::Relaxed);
    page.0
}

fn header(report: &mut Report) {
    for (size, version) in [(0, 1), (BYTES / 2, 1), (BYTES, 0), (0xffff_ffff, 0xffff)] {
        let reply = call(Event::RegisterPage.id(), &[page(size, version)]);
        report.refused(format_args!("size {size}, version {version}"), reply, Error::InvalidArgument);
    }
}

fn reserved(report: &mut Report) {
    for (offset, value) in [(0, 1 << 48), (8, 1), (56, 1 << 63), (1088, 1), (4088, 1)] {
        let page = page(BYTES, EVENT_PAGE_VERSION.into());
        world::word(PhysAddr(page + offset)).fetch_or(value, Ordering::Relaxed);
        let reply = call(Event::RegisterPage.id(), &[page]);
        report.refused(format_args!("a reserved bit at {offset}"), reply, Error::InvalidArgument);
    }
}

/// Another page while a port is bound would lose the port's events.
fn in_use(report: &mut Report) {
    if events::bind_own().is_err() {
        return report.error("no port");
    }
    let reply = call(Event::RegisterPage.id(), &[page(BYTES, EVENT_PAGE_VERSION.into())]);
    report.refused(format_args!("another page while a port is bound"), reply, Error::WrongState);
}
