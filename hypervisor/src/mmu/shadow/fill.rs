//! Fill: from a fault to a leaf in the right subtree.

use super::super::bits::{
    ACCESSED, CACHE_DISABLE, DIRTY, FRAME, GLOBAL, LARGE, NO_EXECUTE, PRESENT, USER, WRITABLE, WRITE_THROUGH,
};
use super::super::memory::{GuestTables, HostPage, PageKind, ShadowTables, Table};
use super::super::walk::{Access, Path, Translation, error, look, walk};
use super::super::{index, span};
use super::{CachedRoot, Failure, MOST_TABLES_AT_ONCE, OWN, PIECES, Shadow, TABLE_BITS};

/// Where a leaf of 4 KiB went: the table, and whether leaves there are not to be executed.
#[derive(Clone, Copy)]
struct Loaded {
    table: Table,
    no_execute: bool,
}

/// The shadow leaf of `level` for a translation.
#[inline]
fn leaf_entry(translation: Translation, level: u8, host: HostPage, no_execute: bool) -> u64 {
    let mut entry = host.address | PRESENT | USER | ACCESSED;
    if host.kind == PageKind::Registers {
        entry |= CACHE_DISABLE | WRITE_THROUGH;
    }
    if level > 1 {
        entry |= LARGE;
    }
    if mutant!(LeafKeepsGlobal) && translation.global {
        entry |= GLOBAL;
    }
    if translation.writable && (translation.dirty || mutant!(WritableWhileClean)) {
        entry |= WRITABLE | DIRTY;
    }
    if translation.no_execute || (no_execute && !mutant!(KernelRunsUserPages)) {
        entry |= NO_EXECUTE;
    }
    entry
}

/// Where a leaf goes.
struct Place {
    directory: Table,
    no_execute: bool,
}

/// A program's access to a common slot: kernel memory by declaration, whatever the entries say; the refused access
/// leaves no marks.
#[inline(never)]
fn refused_in_common(memory: &impl GuestTables, guest_root: u64, address: u64, access: Access) -> Failure {
    let cause = if mutant!(CommonSlotShownAbsent) { 0 } else { error::PRESENT };
    let refused = look(memory, guest_root, address, access).map(|_| access.error_code(cause));
    Failure::Fault(refused.unwrap_or_else(|code| code))
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
        let guest_root = self.roots[number].guest_root;
        if access.user && self.is_common(index(address, 4)) {
            return Err(refused_in_common(memory, guest_root, address, access));
        }
        let path = walk(memory, guest_root, address, access).map_err(Failure::Fault)?;
        if mutant!(FaultAroundUnmarked)
            && let Ok(next) = look(memory, guest_root, address.wrapping_add(4096), Access::KERNEL_READ)
        {
            self.load(memory, number, address.wrapping_add(4096), false, next.translation)?;
        }
        self.load(memory, number, address, access.user, path.translation).map(|_| ())
    }

    /// Loads the translations of up to `pages` pages from `address`, as kernel reads; stops at the first that the
    /// guest's tables do not allow. Returns how many pages it went over. Pages whose entries stand side by side, with
    /// the same rights of user mode, take one walk together.
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
        let guest_root = self.roots[number].guest_root;
        let mut done = 0;
        while done < pages {
            let Some(at) = address.checked_add(done * 4096) else { break };
            let access = Access { write: mutant!(PopulateDirties), ..Access::KERNEL_READ };
            let Ok(path) = walk(memory, guest_root, at, access) else { break };
            let loaded = self.load(memory, number, at, false, path.translation)?;
            done += 1;
            if let Some(loaded) = loaded {
                done += self.load_neighbours(memory, &path, loaded, at, pages - done);
            }
        }
        Ok(done)
    }

    /// Loads up to `most` pages behind the one at `address`, which was just loaded; how many.
    fn load_neighbours(
        &mut self,
        memory: &impl GuestTables,
        path: &Path,
        loaded: Loaded,
        address: u64,
        most: u64,
    ) -> u64 {
        let first = index(address, 1);
        for pages in 1..=most {
            let Some(translation) = path.neighbour(memory, pages) else { return pages - 1 };
            if translation.user != path.translation.user {
                return pages - 1;
            }
            self.note_global(translation, address);
            let entry = leaf_entry(translation, 1, translation.host, loaded.no_execute);
            // The guest's entries are in one table, so these are too.
            self.tables.write(loaded.table, first + pages as usize, entry);
        }
        most
    }

    fn note_global(&mut self, translation: Translation, address: u64) {
        if translation.global && !self.is_common(index(address, 4)) {
            self.global_outside_common = true;
        }
    }

    /// `None`: there was nothing to load, or it is a large page.
    fn load(
        &mut self,
        memory: &impl GuestTables,
        number: usize,
        address: u64,
        user_access: bool,
        translation: Translation,
    ) -> Result<Option<Loaded>, Failure> {
        #[cfg(feature = "mutants")]
        {
            self.last_loaded = Some((number, address, user_access, translation));
        }
        let (level, host) = match translation.level {
            0 => return Ok(None),
            1 => (1, translation.host),
            guest_level => Self::largest(memory, translation, address & (span(guest_level) - 1)),
        };
        self.reserve(MOST_TABLES_AT_ONCE)?;
        let place = self.place(number, index(address, 4), translation.user, user_access)?;
        let no_execute = place.no_execute;
        self.note_global(translation, address);
        let entry = leaf_entry(translation, level, host, no_execute);
        let table = self.install(place.directory, address, [translation.level, level], entry)?;
        Ok((translation.level == 1).then_some(Loaded { table, no_execute }))
    }

    /// Loads the last translation again, whatever the tables say now: a load that a flush did not exclude.
    #[cfg(feature = "mutants")]
    pub fn load_again(&mut self, memory: &impl GuestTables) {
        if let Some((number, address, user_access, translation)) = self.last_loaded {
            // Without room it is not loaded, as any.
            _ = self.load(memory, number, address, user_access, translation);
        }
    }

    /// The largest leaf, at most the guest's, that the host allows around `offset` of the page.
    #[inline(never)]
    fn largest(memory: &impl GuestTables, translation: Translation, offset: u64) -> (u8, HostPage) {
        let large = (2..=translation.level).rev().find_map(|level| {
            let start = translation.page + (offset & !(span(level) - 1));
            memory.to_host(start, span(level)).map(|host| (level, host))
        });
        large.unwrap_or((1, translation.host))
    }

    /// The subtree of `slot` that a leaf goes to.
    fn place(
        &mut self,
        number: usize,
        slot: usize,
        leaf_user: bool,
        user_access: bool,
    ) -> Result<Place, Failure> {
        let CachedRoot { kernel, user, .. } = self.roots[number];
        if self.is_common(slot) {
            let directory = self.common_directory(number, slot)?;
            return Ok(Place { directory, no_execute: leaf_user });
        }
        let kernel_entry = self.tables.read(kernel, slot);
        if leaf_user && (user_access || kernel_entry & OWN == 0) {
            let user_entry = self.tables.read(user, slot);
            let directory = if user_entry & PRESENT != 0 {
                self.tables.table_at(user_entry & FRAME)
            } else {
                let directory = self.take(3)?;
                self.fill_slot(number, user, slot, self.tables.address(directory) | TABLE_BITS);
                directory
            };
            if kernel_entry & PRESENT == 0 {
                let no_execute = if mutant!(KernelRunsUserPages) { 0 } else { NO_EXECUTE };
                let borrowed = self.tables.address(directory) | TABLE_BITS | no_execute;
                self.fill_slot(number, kernel, slot, borrowed);
            }
            return Ok(Place { directory, no_execute: false });
        }
        if kernel_entry & OWN != 0 {
            let directory = self.tables.table_at(kernel_entry & FRAME);
            return Ok(Place { directory, no_execute: leaf_user });
        }
        let directory = self.take(3)?;
        self.fill_slot(number, kernel, slot, self.tables.address(directory) | TABLE_BITS | OWN);
        if kernel_entry & PRESENT != 0 {
            self.tables.flush_all();
        }
        Ok(Place { directory, no_execute: leaf_user })
    }

    /// Writes a leaf below `directory`, making the tables on the way. Levels: the guest's leaf, and the one that
    /// is written, which may be a piece of it.
    #[inline]
    fn install(
        &mut self,
        directory: Table,
        address: u64,
        [guest_level, leaf_level]: [u8; 2],
        entry: u64,
    ) -> Result<Table, Failure> {
        let mut table = directory;
        if leaf_level < 3 {
            table = self.below::<3>(table, address, guest_level)?;
        }
        if leaf_level < 2 {
            table = self.below::<2>(table, address, guest_level)?;
            self.tables.write(table, index(address, 1), entry);
            return Ok(table);
        }
        let at = index(address, leaf_level);
        let old = self.tables.read(table, at);
        self.tables.write(table, at, entry);
        if old & PRESENT != 0 && old & LARGE == 0 {
            self.pool.drop_subtree(self.tables.table_at(old & FRAME));
            self.tables.flush_all();
        }
        Ok(table)
    }

    /// The table below the entry of `LEVEL` for `address`.
    #[inline(always)]
    fn below<const LEVEL: u8>(
        &mut self,
        table: Table,
        address: u64,
        guest_level: u8,
    ) -> Result<Table, Failure> {
        let at = index(address, LEVEL);
        let old = self.tables.read(table, at);
        let is_table = old & PRESENT != 0 && old & LARGE == 0;
        if is_table && guest_level != LEVEL {
            return Ok(self.tables.table_at(old & FRAME));
        }
        self.make_below(table, at, LEVEL, guest_level)
    }

    /// The same where there is none yet, or where it holds pieces of a larger page of the guest's.
    #[inline(never)]
    fn make_below(&mut self, table: Table, at: usize, level: u8, guest_level: u8) -> Result<Table, Failure> {
        let old = self.tables.read(table, at);
        let next = if old & PRESENT != 0 && old & LARGE == 0 {
            self.tables.table_at(old & FRAME)
        } else {
            let next = self.take(level - 1)?;
            self.tables.write(table, at, self.tables.address(next) | TABLE_BITS);
            if old & PRESENT != 0 {
                // Some CPUs stop when they find an instruction's page cached in two sizes (Intel erratum
                // "machine check error on page size change").
                self.tables.flush_all();
            }
            next
        };
        if level == guest_level {
            let entry = self.tables.read(table, at) | PIECES;
            self.tables.write(table, at, entry);
        }
        Ok(next)
    }
}
