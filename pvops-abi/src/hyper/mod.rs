//! The hypercall backend: every group of operations on any hypervisor that speaks the ABI.
//!
//! Flag operations and page-table writes are plain stores; everything else is a call through the hypercall
//! page ([`call`]). The entry stubs are in `entry`; each group has its own file; what their call sites become is in
//! `code` and `stubs`.

mod code;
mod context;
mod cpu;
mod entry;
mod event;
mod hypercall;
mod irq;
mod mmu;
mod rest;
mod stubs;

pub use context::boot_context;
pub use hypercall::{Reply, call};

use crate::addr::{PhysAddr, VirtAddr};
use crate::boot::{BootContext, Platform};
use crate::layout::StartInfo;
use crate::ops::mmu::Level;
use crate::ops::{Backend, Groups, InitError, Kernel, entry_format};
use core::sync::atomic::{AtomicU64, Ordering};
use spin::Once;

/// The backend, for [`crate::ops::init`].
pub static BACKEND: HyperBackend = HyperBackend;

/// See the module.
#[derive(Debug)]
pub struct HyperBackend;

/// What the operations need; set once by `start`.
struct State {
    start_info: &'static StartInfo,
    kernel: &'static dyn Kernel,
}

static STATE: Once<State> = Once::new();
/// Guest-physical address of the root loaded last. One for all vCPUs while there is one.
static CURRENT_ROOT: AtomicU64 = AtomicU64::new(0);

fn state() -> &'static State {
    STATE.get().expect("the table is built only after start")
}

impl Backend for HyperBackend {
    fn name(&self) -> &'static str {
        "hypercall"
    }

    fn probe(&self, boot: &BootContext) -> bool {
        matches!(boot.platform, Platform::Hypervisor { .. })
    }

    fn start(
        &'static self,
        boot: &'static BootContext,
        kernel: &'static dyn Kernel,
    ) -> Result<Groups, InitError> {
        let Platform::Hypervisor { start_info } = boot.platform else {
            return Err(self.missing("started by a boot loader"));
        };
        STATE.call_once(|| State { start_info, kernel });
        CURRENT_ROOT.store(start_info.boot_root, Ordering::Relaxed);
        hypercall::use_page(VirtAddr(start_info.hypercall_page_virt));
        cpu::use_boot_block();
        event::register_page().map_err(|_| self.missing("the event page was refused"))?;
        Ok(Groups {
            irq: Some(&irq::Irq),
            cpu: Some(&cpu::Cpu),
            mmu: Some(&mmu::Mmu),
            time: Some(&rest::Time),
            event: Some(&event::Events),
            console: Some(&rest::Console),
            sched: Some(&rest::Sched),
            smp: Some(&rest::Smp),
        })
    }
}

impl HyperBackend {
    const fn missing(&self, reason: &'static str) -> InitError {
        InitError::Backend { name: "hypercall", reason }
    }
}

/// The guest-physical address behind `address` in the current root, for structures that are shared by
/// physical address. Reads the tables by plain loads.
fn physical(address: VirtAddr) -> Option<PhysAddr> {
    use crate::ops::mmu::Decoded;
    let mut table = PhysAddr(CURRENT_ROOT.load(Ordering::Relaxed));
    let mut level = Level::Pml4;
    loop {
        let entry = mmu::load(table, address.table_index(level as u8));
        match entry_format::decode(level, entry) {
            Decoded::Absent => return None,
            Decoded::Leaf(frame, _) => {
                return Some(PhysAddr(frame.0 + (address.0 & (level.entry_bytes() - 1))));
            }
            Decoded::Table(next) => {
                table = next;
                level = level.below()?;
            }
        }
    }
}
