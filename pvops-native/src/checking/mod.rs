//! The checking backend: the native MMU behind a bookkeeper that keeps a kernel honest.
//!
//! Everything that the contract of [`MmuOps`] asks of a kernel goes unnoticed on the metal as long as
//! the translations come out right. Other backends depend on it: this one panics, with the rule and the place,
//! when a kernel breaks it. Chosen by `backend=checking` on the command line; only 4 KiB leaves are allowed.
//!
//! What is verified:
//!
//! * tables: announced before they are linked, once, at one level; released after unlinking and flushing;
//! * entries: written at a slot that is one, to an announced table, leaves aligned, never writable and executable;
//! * memory: no table changes but through the operations (accessed and dirty bits apart), checked at each
//!   root load, flush and release against a copy kept in a frame of [`Kernel::alloc_frame`];
//! * flushes: whatever was removed or weakened in the current root is flushed before the next root load, and a
//!   root changed while another was loaded is loaded with [`Retain::Drop`];
//! * roots: announced, with the required mappings and equal common slots, loaded with interrupts masked.
//!
//! A kernel calls [`MmuOps::table_allocated`] without holding what its own [`Kernel::alloc_frame`] locks.

mod ledger;
#[cfg(target_os = "none")]
mod mmu;
mod violation;

#[cfg(target_os = "none")]
pub use backend::{BACKEND, CheckingBackend};

#[cfg(doc)]
use pvops_abi::ops::{
    Kernel,
    mmu::{MmuOps, Retain},
};

#[cfg(target_os = "none")]
mod backend {
    use pvops_abi::boot::{BootContext, Platform};
    use pvops_abi::ops::{Backend, Groups, InitError, Kernel};

    use super::mmu;

    /// Supplies the MMU group; the others come from [`crate::BACKEND`], which follows it among the candidates.
    #[derive(Debug)]
    pub struct CheckingBackend {
        /// Nobody else makes one: the state behind it is static.
        _private: (),
    }

    /// The bare machine, checking.
    pub static BACKEND: CheckingBackend = CheckingBackend { _private: () };

    impl Backend for CheckingBackend {
        fn name(&self) -> &'static str {
            "checking"
        }

        fn probe(&self, boot: &BootContext) -> bool {
            matches!(boot.platform, Platform::Metal { .. }) && boot.option("backend") == Some("checking")
        }

        fn start(
            &'static self,
            boot: &'static BootContext,
            kernel: &'static dyn Kernel,
        ) -> Result<Groups, InitError> {
            mmu::start(boot, kernel);
            Ok(Groups { mmu: Some(&mmu::CheckingMmu), ..Groups::default() })
        }
    }
}
