//! A domain: its memory, translations, vCPUs, event ports and console.
//!
//! The structure of the domain that a CPU runs stands at one constant address in that domain's address spaces
//! and is mapped in no other's.

pub mod console;
pub mod crash;
pub mod devices;
pub mod events;
pub mod lifecycle;
pub mod registry;
pub mod restart;
pub mod turn;
pub mod vcpu;

use crate::arch::x86_64::guest::GuestMemory;
use crate::arch::x86_64::paging::PoolTables;
use crate::arch::x86_64::pristine::Pristine;
use crate::arch::x86_64::registered::Ports;
use crate::lock::lock;
use crate::mmu::shadow::Shadow;
use core::cell::Cell;
use core::sync::atomic::Ordering;
use lifecycle::Chore;
use restart::RestartLog;
use spin::Mutex;
use system_image::layout::MAX_CHANNELS;
use system_image::{ChannelEnd, CrashPolicy};
use vcpu::Vcpu;

/// vCPUs that a domain can have: room is kept for no more.
pub const MAX_VCPUS: usize = system_image::limits::MAX_VCPUS;
/// Bytes of a name, padded with zeros.
pub const NAME_BYTES: usize = 32;
/// No name.
pub const NO_NAME: [u8; NAME_BYTES] = [0; NAME_BYTES];

/// See the module. In an order in which what is used together stands together, and large things last.
#[derive(Debug)]
#[repr(C)]
pub struct Domain {
    /// Its number in the system image.
    pub number: u16,
    /// Whether the machine's console is its; if not, what it writes goes nowhere and nothing arrives.
    pub has_console: bool,
    /// What happens when it crashes.
    pub crash_policy: CrashPolicy,
    /// What it does instead of running its guest.
    pub chore: Cell<Chore>,
    /// Why it is dumped.
    pub crash: Cell<crash::Cause>,
    /// Where its event page is registered.
    pub ports: Cell<Option<Ports>>,
    /// The devices that it drives itself.
    pub devices: devices::Devices,
    /// See `vcpus`.
    pub vcpu_count: usize,
    /// Its memory.
    pub memory: GuestMemory,
    /// What that held at first.
    pub pristine: Pristine,
    /// When it was started anew because it had crashed.
    pub restarts: RestartLog,
    /// Its ends of channels to other domains, by the numbers under which it binds them.
    pub channels: heapless::Vec<ChannelEnd, MAX_CHANNELS>,
    /// What its ports are bound to.
    pub bindings: Mutex<events::Bindings>,
    /// Its cached translations. The lock also keeps a fill from installing what a flush is removing.
    pub mmu: Mutex<Shadow<PoolTables>>,
    /// Its vCPUs; the first `vcpu_count` exist.
    pub vcpus: [Vcpu; MAX_VCPUS],
}

impl Domain {
    /// Its vCPU `number`; the first one's if there is none such.
    #[must_use]
    pub fn vcpu(&self, number: u32) -> &Vcpu {
        self.vcpus.get(number as usize).unwrap_or(&self.vcpus[0])
    }

    /// What the guest registered and bound is gone, as before its first instruction.
    pub fn forget_registrations(&self) {
        devices::silence(self.number);
        self.ports.set(None);
        let mut bindings = lock(&self.bindings);
        bindings.clear();
        for vcpu in &self.vcpus {
            vcpu.timer_port.store(0, Ordering::Relaxed);
            vcpu.own_ipis.store(0, Ordering::Relaxed);
        }
    }
}
