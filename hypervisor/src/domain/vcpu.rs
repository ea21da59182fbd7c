//! A vCPU: what the guest registered, and what the hypervisor keeps for it.

use super::{Domain, registry};
use crate::arch::x86_64::guest::Area;
use crate::arch::x86_64::switch::Saved;
use crate::arch::x86_64::{Frame, paging};
use crate::mmu::shadow::LoadedRoot;
use core::cell::Cell;

/// Virtual privilege.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mode {
    /// The guest kernel, in the kernel view.
    Kernel,
    /// A guest program, in the user view.
    User,
}

/// See the module. Touched only by the CPU that runs it.
#[derive(Debug)]
pub struct Vcpu {
    /// Its number in the domain.
    pub number: u32,
    /// The CPU it is placed on.
    pub cpu: u32,
    /// Its priority on that CPU.
    pub priority: u8,
    /// Virtual privilege now.
    pub mode: Cell<Mode>,
    /// The root that is loaded.
    pub root: Cell<LoadedRoot>,
    /// Where its area is registered.
    pub area: Cell<Option<Area>>,
    /// Guest-physical address of its trap table.
    pub trap_table: Cell<u64>,
    /// Gates in the table; 0: none registered.
    pub trap_count: Cell<u64>,
    /// Entry for events; 0: none.
    pub event_entry: Cell<u64>,
    /// Entry for system calls; 0: none.
    pub system_call_entry: Cell<u64>,
    /// Top of the stack for faults during delivery; 0: none.
    pub double_fault_stack: Cell<u64>,
    /// It sleeps until an event is pending.
    pub blocked: Cell<bool>,
    /// Guest-physical address of the root it starts with.
    pub first_root: u64,
    /// Its registers while another vCPU runs on its CPU.
    pub saved: Saved,
    /// Translations loaded at faults that the guest did not see.
    pub hidden_faults: Cell<u64>,
}

impl Vcpu {
    /// A vCPU that has registered nothing and starts in kernel mode at `frame`.
    #[must_use]
    pub fn new(number: u32, cpu: u32, priority: u8, first_root: u64, frame: Frame) -> Self {
        Self {
            number,
            cpu,
            priority,
            mode: Cell::new(Mode::Kernel),
            root: Cell::new(LoadedRoot { number: 0, kernel: 0, user: 0 }),
            area: Cell::new(None),
            trap_table: Cell::new(0),
            trap_count: Cell::new(0),
            event_entry: Cell::new(0),
            system_call_entry: Cell::new(0),
            double_fault_stack: Cell::new(0),
            blocked: Cell::new(false),
            first_root,
            saved: Saved::new(frame),
            hidden_faults: Cell::new(0),
        }
    }

    /// Loads the root it starts with, when it is current for the first time.
    pub fn load_first_root(&self, domain: &Domain) {
        // The pool of a new domain holds more than one root.
        if let Ok(loaded) = domain.mmu.lock().load_root(self.first_root, self.number, true) {
            self.set_root(domain, loaded);
        }
    }

    /// Makes `loaded` this vCPU's root, at once: a batch may release or evict the old one before it ends.
    pub fn set_root(&self, domain: &Domain, loaded: LoadedRoot) {
        self.root.set(loaded);
        registry::entry(domain.vcpu_id(self)).set_root(loaded.kernel);
        paging::load_view(loaded.kernel);
    }

    /// Whether an event may be delivered now: always in user mode, by the guest's flag in kernel mode.
    #[must_use]
    pub fn accepts_events(&self) -> bool {
        self.mode.get() == Mode::User || self.area.get().is_some_and(Area::events_enabled)
    }

    /// Whether an event waits for delivery.
    #[must_use]
    pub fn has_pending_event(&self) -> bool {
        self.area.get().is_some_and(Area::events_pending)
    }
}
