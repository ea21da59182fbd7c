//! A vCPU: what the guest registered, and what the hypervisor keeps for it.

use super::Domain;
use super::registry::Entry;
use crate::arch::x86_64::registered::{Area, TrapTable, address_or_none, area_at};
use crate::arch::x86_64::switch::Saved;
use crate::arch::x86_64::{Frame, paging, time};
use crate::lock::lock;
use crate::mmu::shadow::LoadedRoot;
use core::cell::Cell;
use core::sync::atomic::{AtomicU32, AtomicU64};

/// Virtual privilege. The entry code knows the numbers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Mode {
    /// The guest kernel, in the kernel view.
    Kernel = 0,
    /// A guest program, in the user view.
    User = 1,
}

/// Calls that are remembered.
pub const LAST_CALLS: usize = 8;

/// A call that was made. Id 0 is no call's.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct MadeCall {
    /// Its id.
    pub id: u64,
    /// Its first argument.
    pub first_argument: u64,
}

/// The calls made last, for the dump. The entry code notes them.
#[derive(Debug)]
pub struct LastCalls {
    /// A ring.
    pub calls: [Cell<MadeCall>; LAST_CALLS],
    /// Byte offset in the ring of the next one.
    pub newest: Cell<u32>,
}

impl LastCalls {
    const fn new() -> Self {
        Self {
            calls: [const { Cell::new(MadeCall { id: 0, first_argument: 0 }) }; LAST_CALLS],
            newest: Cell::new(0),
        }
    }

    /// The call `age` calls before the newest; id 0: there was none.
    #[must_use]
    pub fn get(&self, age: usize) -> MadeCall {
        let next = self.newest.get() as usize / size_of::<MadeCall>();
        self.calls[next.wrapping_sub(1 + age) % LAST_CALLS].get()
    }

    fn forget(&self) {
        self.calls.iter().for_each(|call| call.set(MadeCall { id: 0, first_argument: 0 }));
    }
}

/// What a guest kernel registered, for the entry code; nothing of it where a change of mode takes more than that code
/// does: without an area, and with ports.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct ShortWays {
    /// Entry for system calls; 0: none.
    pub system_call_entry: u64,
    /// Entry for events; 0: none.
    pub event_entry: u64,
    /// The trap table.
    pub trap_table: TrapTable,
}

impl ShortWays {
    /// Everything goes the long way.
    pub const NONE: Self = Self { system_call_entry: 0, event_entry: 0, trap_table: TrapTable::NONE };
}

/// See the module. Touched only by the CPU that runs it, but for what is atomic. What is reached most comes first: within
/// 128 bytes, a field costs three bytes of code less at each access.
#[derive(Debug)]
#[repr(C)]
pub struct Vcpu {
    /// Virtual privilege now.
    pub mode: Cell<Mode>,
    /// It sleeps until an event is pending.
    pub blocked: Cell<bool>,
    /// The port of its timer, if one is bound; else 0. Changed under the lock of the bindings, as [`Self::own_ipis`].
    pub timer_port: AtomicU32,
    /// The root that is loaded.
    pub root: Cell<LoadedRoot>,
    /// The area's address, or that of one in which nothing is ever pending; for the entry code.
    pub area_address: Cell<u64>,
    /// Where its area is registered. Changed by [`Self::set_area`] only.
    pub area: Cell<Option<Area>>,
    /// What everybody knows of it.
    pub entry: &'static Entry,
    /// What the entry code may do by itself.
    pub short_ways: Cell<ShortWays>,
    /// Entry for events; 0: none.
    pub event_entry: Cell<u64>,
    /// Entry for system calls; 0: none.
    pub system_call_entry: Cell<u64>,
    /// Translations loaded at faults that the guest did not see.
    pub hidden_faults: Cell<u64>,
    /// Its trap table.
    pub trap_table: Cell<TrapTable>,
    /// Top of the stack for faults during delivery; 0: none.
    pub double_fault_stack: Cell<u64>,
    /// Its number in the domain.
    pub number: u32,
    /// The CPU it is placed on.
    pub cpu: u32,
    /// The ports that are bound to IPIs for it, one bit each.
    pub own_ipis: AtomicU64,
    /// Ticks for which it was ready while others ran.
    stolen: Cell<u64>,
    /// Guest-physical address of the root it starts with.
    pub first_root: u64,
    /// Host-physical address of a root with the domain's window and nothing of its memory.
    pub window_root: u64,
    /// The registers it starts with.
    pub first_frame: Frame,
    /// The calls it made last.
    pub last_calls: LastCalls,
    /// Its registers while another vCPU runs on its CPU.
    pub saved: Saved,
}

impl Vcpu {
    /// A vCPU that has registered nothing and starts in kernel mode at `frame`.
    #[must_use]
    pub fn new(
        number: u32,
        cpu: u32,
        entry: &'static Entry,
        [first_root, window_root]: [u64; 2],
        frame: Frame,
    ) -> Self {
        Self {
            number,
            cpu,
            entry,
            timer_port: AtomicU32::new(0),
            own_ipis: AtomicU64::new(0),
            mode: Cell::new(Mode::Kernel),
            root: Cell::new(LoadedRoot::NONE),
            area: Cell::new(None),
            area_address: Cell::new(address_or_none(None)),
            trap_table: Cell::new(TrapTable::NONE),
            event_entry: Cell::new(0),
            system_call_entry: Cell::new(0),
            short_ways: Cell::new(ShortWays::NONE),
            double_fault_stack: Cell::new(0),
            blocked: Cell::new(false),
            first_root,
            first_frame: frame,
            window_root,
            last_calls: LastCalls::new(),
            saved: Saved::new(frame),
            stolen: Cell::new(0),
            hidden_faults: Cell::new(0),
        }
    }

    /// Loads the root it starts with, when it is current for the first time since its start.
    pub fn ensure_root(&self, domain: &Domain) {
        if !self.root.get().is_loaded() && !domain.chore.get().replaces_memory() {
            // The pool of a new domain holds more than one root.
            self.load_root(domain, self.first_root, true);
        }
    }

    /// Loads a guest root of the domain's memory; what is cached of it stays if `keep`. False: the pool is exhausted.
    #[inline(never)]
    pub fn load_root(&self, domain: &Domain, root: u64, keep: bool) -> bool {
        let loaded = lock(&domain.mmu).load_root(root, self.number, keep);
        if let Ok(loaded) = loaded {
            self.set_root(loaded);
        }
        loaded.is_ok()
    }

    /// Makes `loaded` this vCPU's root, at once: a batch may release or evict the old one before it ends.
    pub fn set_root(&self, loaded: LoadedRoot) {
        self.root.set(loaded);
        self.entry.set_root(loaded.kernel);
        paging::load_view(loaded.kernel);
    }

    /// What the guest registered is gone, as before its first instruction.
    pub fn forget_registrations(&self) {
        self.mode.set(Mode::Kernel);
        self.set_area(None);
        self.trap_table.set(TrapTable::NONE);
        self.short_ways.set(ShortWays::NONE);
        self.event_entry.set(0);
        self.system_call_entry.set(0);
        self.double_fault_stack.set(0);
        self.stolen.set(0);
        self.hidden_faults.set(0);
        self.blocked.set(false);
        self.last_calls.forget();
    }

    /// Registers its area.
    pub fn set_area(&self, area: Option<Area>) {
        self.area.set(area);
        self.area_address.set(address_or_none(area));
    }

    /// It has the CPU since the tick `now`.
    #[inline]
    pub fn end_wait(&self, now: u64) {
        self.stolen.set(self.stolen.get() + (now - self.entry.waits_since()));
        if let Some(area) = self.area.get() {
            area.set_stolen_ns(time::ns_for(self.stolen.get()));
        }
    }

    /// Tells the entry code what it may do by itself, after a change of what the guest registered.
    #[inline(never)]
    pub fn note_registrations(&self, domain: &Domain) {
        // The mutants of these ways are on the long one.
        let is_short = self.area.get().is_some() && !domain.devices.has_ports && !mutant!(any);
        let ways = ShortWays {
            system_call_entry: self.system_call_entry.get(),
            event_entry: self.event_entry.get(),
            trap_table: self.trap_table.get(),
        };
        self.short_ways.set(if is_short { ways } else { ShortWays::NONE });
    }

    /// Whether an event may be delivered now: always in user mode, by the guest's flag in kernel mode.
    #[must_use]
    pub fn accepts_events(&self) -> bool {
        mutant!(DeliveredWhileMasked) || self.mode.get() == Mode::User || self.area_or_none().events_enabled()
    }

    /// Its area, or one in which events are masked and none is pending.
    #[must_use]
    pub fn area_or_none(&self) -> Area {
        area_at(self.area_address.get())
    }

    /// Whether an event waits for delivery.
    #[must_use]
    pub fn has_pending_event(&self) -> bool {
        self.area_or_none().events_pending()
    }
}
