//! Fill: from a fault to a leaf in the right subtree.

use super::super::bits::{ACCESSED, DIRTY, FRAME, GLOBAL, LARGE, NO_EXECUTE, PRESENT, USER, WRITABLE};
use super::super::index;
use super::super::memory::{GuestTable, GuestTables, ShadowTables, Table};
use super::super::pool::KINDS;
use super::super::walk::{Access, Place, Translation, error, mark, walk};
use super::{COMMON, CachedRoot, Failure, MAX_ROOTS, MOST_TABLES_AT_ONCE, OWN, PIECES, Shadow, TABLE_BITS};

/// Fills of one populate that may find an entry changed under their walk.
const MOST_CHANGES: u64 = 4;

/// What [`Shadow::fill`] did; such that it comes back in registers.
enum Filled {
    /// It went over so many pages. 0: an entry changed under the walk; whoever comes here again finds what it is now.
    Pages(u64),
    /// See [`Failure::Fault`].
    Fault(u64),
    /// See [`Failure::PoolExhausted`].
    PoolExhausted,
}

/// A leaf that was loaded: where it went, and as what.
#[derive(Clone, Copy)]
struct Loaded {
    table: Table,
    entry: u64,
}

/// The shadow leaf for a translation, in a table that `directory` leads to.
#[inline(always)]
fn leaf_entry(translation: &Translation, directory: u64) -> u64 {
    let Translation { entry: guest, rights, host, .. } = *translation;
    let mut entry = host.bits() | PRESENT | USER | ACCESSED;
    if mutant!(LeafKeepsGlobal) {
        entry |= guest & GLOBAL;
    }
    let dirty = if mutant!(WritableWhileClean) { DIRTY } else { guest & DIRTY };
    let writable = rights & (dirty / (DIRTY / WRITABLE));
    entry |= writable | (writable * (DIRTY / WRITABLE));
    if directory & KINDS != 0 && !mutant!(KernelRunsUserPages) {
        // Not executable for the kernel, leaf by leaf: the bit of user mode, moved.
        entry |= (rights & USER) * (NO_EXECUTE / USER);
    }
    entry | !rights & NO_EXECUTE
}

impl<T: ShadowTables> Shadow<T> {
    /// Serves a fault at `address` in root `number`: loads the translation, or says what the guest sees.
    ///
    /// # Errors
    /// [`Failure`].
    pub fn fault(
        &mut self,
        memory: &impl GuestTables,
        number: usize,
        address: u64,
        access: Access,
    ) -> Result<(), Failure> {
        match self.fill(memory, number, address, access, 1) {
            Filled::Fault(code) => Err(Failure::Fault(code)),
            Filled::PoolExhausted => Err(Failure::PoolExhausted),
            Filled::Pages(_) => Ok(()),
        }
    }

    /// Loads the translations of up to `pages` pages from `address`, as kernel reads; stops at the first that the
    /// guest's tables do not allow. Returns how many pages it went over. Pages whose entries stand side by side and
    /// differ in nothing but the frame take one walk together.
    ///
    /// # Errors
    /// [`Failure::PoolExhausted`].
    pub fn populate(
        &mut self,
        memory: &impl GuestTables,
        number: usize,
        address: u64,
        pages: u64,
    ) -> Result<u64, Failure> {
        let access = if mutant!(PopulateDirties) { Access::KERNEL_WRITE } else { Access::KERNEL_READ };
        let (mut done, mut fills) = (0, 0);
        while done < pages && fills < pages + MOST_CHANGES {
            let Some(at) = address.checked_add(done * 4096) else { break };
            fills += 1;
            match self.fill(memory, number, at, access, pages - done) {
                Filled::Pages(filled) => done += filled,
                Filled::Fault(_) => break,
                Filled::PoolExhausted => return Err(Failure::PoolExhausted),
            }
        }
        Ok(done)
    }

    /// Loads the translation of `address` for `access`, and up to `most` - 1 behind it that stand beside it.
    #[inline(never)]
    fn fill(
        &mut self,
        memory: &impl GuestTables,
        number: usize,
        address: u64,
        access: Access,
        most: u64,
    ) -> Filled {
        let guest_root = self.roots[number % MAX_ROOTS].guest_root;
        let mut found = match walk(memory, guest_root, address, access, &mut self.path) {
            Ok(found) => found,
            Err(code) => return Filled::Fault(code),
        };
        // Common slots are kernel memory by declaration, whatever the entries say.
        let is_user = access.is_user();
        if is_user && self.is_common(index(address, 4)) {
            let cause = if mutant!(CommonSlotShownAbsent) { 0 } else { error::PRESENT };
            return Filled::Fault(access.error_code(cause));
        }
        if !mark(memory, guest_root, address, access, &self.path, &mut found) {
            return Filled::Pages(0);
        }
        if mutant!(FaultAroundUnmarked)
            && let Ok((_, next)) =
                walk(memory, guest_root, address.wrapping_add(4096), Access::KERNEL_READ, &mut self.path)
        {
            self.load(number, address.wrapping_add(4096), false, &next);
        }
        let (leaf, translation) = found;
        let Some(loaded) = self.load(number, address, is_user, &translation) else {
            return Filled::PoolExhausted;
        };
        if most > 1 && translation.level == 1 && translation.host.is_memory() {
            return Filled::Pages(
                1 + self.fill_neighbours(memory, leaf, translation.entry, loaded, most - 1),
            );
        }
        Filled::Pages(1)
    }

    /// Loads up to `most` pages behind one of memory that was just loaded, while their entries stand in its table and
    /// differ from its entry in nothing but the frame; how many.
    #[inline(always)]
    fn fill_neighbours<M: GuestTables>(
        &mut self,
        memory: &M,
        leaf: Place<M::Table<'_>>,
        entry: u64,
        loaded: Loaded,
        most: u64,
    ) -> u64 {
        let Place { table: guest, index } = leaf;
        let flags = entry & !FRAME | ACCESSED;
        let leaf_flags = loaded.entry & !FRAME;
        let load = |index| {
            let entry = guest.load(index);
            let marked = entry | ACCESSED;
            // What is left of entries that differ in nothing else.
            let frame = marked ^ flags;
            if frame & !FRAME != 0 {
                return None;
            }
            let host = memory.page_of_memory(frame)?;
            if marked != entry && !guest.set_bits(index, entry, ACCESSED) {
                return None;
            }
            Some(host | leaf_flags)
        };
        // The guest's entries are in one table, so these are too.
        let next = index + 1;
        let end = next.saturating_add(most as usize).min(512);
        self.tables.write_several(loaded.table, next..end, load) as u64
    }

    /// Writes the leaf of a translation. `None`: the pool is too small.
    #[inline(always)]
    fn load(
        &mut self,
        number: usize,
        address: u64,
        user_access: bool,
        translation: &Translation,
    ) -> Option<Loaded> {
        #[cfg(feature = "mutants")]
        {
            self.last_loaded = Some((number, address, user_access, *translation));
        }
        let Translation { level, host_level, rights, .. } = *translation;
        let usual = match level {
            1 => self.usual_directory(number, address, user_access, rights),
            _ => None,
        };
        let (directory, at) = match usual {
            Some(directory) => (directory, index(address, 1)),
            None => {
                let directory = self.make_tables(number, address, user_access, rights, level, host_level)?;
                (directory, index(address, host_level))
            }
        };
        let table = self.tables.table_at(directory);
        if translation.entry & GLOBAL != 0 && directory & COMMON == 0 {
            self.global_outside_common = true;
        }
        let entry = leaf_entry(translation, directory);
        self.tables.write(table, at, entry);
        Some(Loaded { table, entry })
    }

    /// Loads the last translation again, whatever the tables say now: a load that a flush did not exclude.
    #[cfg(feature = "mutants")]
    pub fn load_again(&mut self) {
        if let Some((number, address, user_access, translation)) = self.last_loaded {
            // Without room it is not loaded, as any.
            self.load(number, address, user_access, &translation);
        }
    }

    /// The entry that leads to the table for a leaf of 4 KiB with these rights, where all is there that it takes.
    #[inline(always)]
    fn usual_directory(&self, number: usize, address: u64, user_access: bool, rights: u64) -> Option<u64> {
        let root = &self.roots[number % MAX_ROOTS];
        let view = if user_access { root.user } else { root.kernel };
        let next = |above, level| {
            let table = self.tables.table_below(above)?;
            Some(self.tables.read(table, index(address, level)))
        };
        let entry = next(next(self.tables.read(view, index(address, 4)), 3)?, 2)?;
        self.tables.table_below(entry)?;
        // What is borrowed has user leaves only.
        let is_right = entry & KINDS != 0 || rights & USER != 0;
        is_right.then_some(entry)
    }

    /// The entry that leads to the table for a leaf, whatever is there; what lacks is made. What is below the guest's own
    /// level is marked as pieces of a larger page; what a large leaf replaces is dropped.
    #[cold]
    #[inline(never)]
    fn make_tables(
        &mut self,
        number: usize,
        address: u64,
        user_access: bool,
        rights: u64,
        guest_level: u8,
        host_level: u8,
    ) -> Option<u64> {
        self.reserve(MOST_TABLES_AT_ONCE)?;
        let slot = index(address, 4);
        let CachedRoot { kernel, user, .. } = *self.root(number);
        let linked = self.tables.read(kernel, slot);
        let view = if self.is_common(slot) {
            self.common()?
        } else if rights & USER != 0 && (user_access || linked & OWN == 0) {
            user
        } else {
            kernel
        };
        let kind = self.pool.kind(view);
        let (mut table, mut level, mut was_other) = (view, 4, false);
        let directory = loop {
            let at = index(address, level);
            let old = self.tables.read(table, at);
            let mut entry = old;
            // A large leaf is replaced, and so is what was borrowed.
            let is_other = old & (PRESENT | LARGE | kind) != PRESENT | kind;
            if is_other {
                let below = self.pool.take(level - 1, kind)?;
                entry = self.tables.address(below) | TABLE_BITS | kind;
            }
            if level == guest_level {
                entry |= PIECES;
            }
            self.tables.write(table, at, entry);
            was_other |= is_other && old != 0;
            table = self.tables.table_at(entry);
            level -= 1;
            if level == host_level {
                break entry;
            }
        };
        if linked == 0 && view != kernel {
            let entry = self.tables.read(view, slot);
            let borrowed = if view == user && !mutant!(KernelRunsUserPages) { NO_EXECUTE } else { 0 };
            self.tables.write(kernel, slot, entry | borrowed);
            self.common_changes += u64::from(view != user);
        }
        if level > 1 {
            was_other |= self.drop_at(table, index(address, level));
        }
        if was_other {
            // Some CPUs stop when they find an instruction's page cached in two sizes (Intel erratum
            // "machine check error on page size change").
            self.tables.flush_all();
        }
        Some(directory)
    }
}
