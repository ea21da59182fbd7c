//! The translations of a domain that was not run yet; boot only.

use super::super::memory::{ShadowTables, Table};
use super::super::pool::Pool;
use super::{CachedRoot, MAX_ROOTS, MAX_VCPUS, NO_NUMBER, NO_ROOT, NO_SLOTS, STALE, Shadow};

/// A static, so that it goes with boot: a constant would stay.
static UNUSED: CachedRoot = CachedRoot {
    guest_root: NO_ROOT,
    kernel: Table::numbered(0),
    user: Table::numbered(0),
    last_used: 0,
    linked: STALE,
    vcpu: 0,
};

impl<T: ShadowTables> Shadow<T> {
    /// Nothing cached.
    pub fn new(tables: T, pool: Pool) -> Self {
        Self {
            tables,
            pool,
            roots: [UNUSED; MAX_ROOTS],
            common_slots: NO_SLOTS,
            common: None,
            common_changes: 0,
            global_outside_common: false,
            loaded: [NO_NUMBER; MAX_VCPUS],
            hints: [0; MAX_ROOTS],
            clock: 0,
            path: [0; 5],
            #[cfg(feature = "mutants")]
            last_loaded: None,
        }
    }
}
