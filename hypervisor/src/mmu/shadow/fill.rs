//! Fill: from a fault to a leaf in the right subtree.

use super::super::bits::{
    ACCESSED, CACHE_DISABLE, DIRTY, FRAME, GLOBAL, LARGE, NO_EXECUTE, PRESENT, USER, WRITABLE, WRITE_THROUGH,
};
use super::super::memory::{GuestTable, GuestTables, HostPage, PageKind, ShadowTables, Table};
use super::super::walk::{Access, Nothing, Passed, Translation, error, look, walk};
use super::super::{index, span};
use super::{CachedRoot, Failure, MAX_ROOTS, MOST_TABLES_AT_ONCE, OWN, PIECES, Shadow, TABLE_BITS};

/// A leaf of 4 KiB that was loaded.
pub(super) struct Loaded<T> {
    /// The guest's.
    pub(super) guest: Passed<T>,
    /// Where it went,
    pub(super) table: Table,
    /// and as what.
    pub(super) entry: u64,
}

/// The shadow leaf of `level` for a translation.
fn leaf_entry(translation: &Translation, level: u8, host: HostPage, no_execute: bool) -> u64 {
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

/// What [`Shadow::fill`] did; such that it comes back in registers.
enum Filled {
    /// It went over so many pages.
    Pages(u64),
    /// See [`Failure::Fault`].
    Fault(u64),
    /// See [`Failure::PoolExhausted`].
    PoolExhausted,
}

/// Where a leaf goes.
struct Place {
    directory: Table,
    no_execute: bool,
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
            Filled::Pages(_) => Ok(()),
            Filled::Fault(code) => Err(Failure::Fault(code)),
            Filled::PoolExhausted => Err(Failure::PoolExhausted),
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
        let mut done = 0;
        while done < pages {
            let Some(at) = address.checked_add(done * 4096) else { break };
            match self.fill(memory, number, at, access, pages - done) {
                Filled::Pages(filled) => done += filled,
                Filled::Fault(_) => break,
                Filled::PoolExhausted => return Err(Failure::PoolExhausted),
            }
        }
        Ok(done)
    }

    /// Loads the translation of `address` for `access`, and up to `most` - 1 behind it that stand beside it. Returns
    /// how many pages it went over.
    #[inline(never)]
    fn fill(
        &mut self,
        memory: &impl GuestTables,
        number: usize,
        address: u64,
        access: Access,
        most: u64,
    ) -> Filled {
        // The mutants of this way are on the long one.
        let found = if mutant!(any) {
            Err(Nothing::Unusual)
        } else {
            self.fill_usual(memory, number, address, access)
        };
        match found {
            Ok(loaded) if most > 1 => Filled::Pages(1 + self.fill_neighbours(memory, &loaded, most - 1)),
            Ok(_) => Filled::Pages(1),
            Err(Nothing::Fault(code)) => Filled::Fault(code),
            Err(Nothing::Unready) => self.fill_unready(memory, number, address, access, most),
            Err(Nothing::Unusual) => self.fill_any(memory, number, address, access),
        }
    }

    /// The same, where the tables have to be made ready first.
    #[cold]
    #[inline(never)]
    fn fill_unready(
        &mut self,
        memory: &impl GuestTables,
        number: usize,
        address: u64,
        access: Access,
        most: u64,
    ) -> Filled {
        // Whoever makes them unready again meanwhile goes the long way.
        if self.is_second_try || !self.make_ready(memory, number, address, access) {
            return self.fill_any(memory, number, address, access);
        }
        self.is_second_try = true;
        let filled = self.fill(memory, number, address, access, most);
        self.is_second_try = false;
        filled
    }

    /// The same for one page, whatever the tables are like.
    #[cold]
    #[inline(never)]
    fn fill_any(&mut self, memory: &impl GuestTables, number: usize, address: u64, access: Access) -> Filled {
        match self.load_any(memory, number, address, access) {
            Ok(()) => Filled::Pages(1),
            Err(Failure::Fault(code)) => Filled::Fault(code),
            Err(Failure::PoolExhausted) => Filled::PoolExhausted,
        }
    }

    fn load_any(
        &mut self,
        memory: &impl GuestTables,
        number: usize,
        address: u64,
        access: Access,
    ) -> Result<(), Failure> {
        let guest_root = self.roots[number % MAX_ROOTS].guest_root;
        if access.is_user() && self.is_common(index(address, 4)) {
            // Kernel memory by declaration, whatever the entries say; the refused access leaves no marks.
            let cause = if mutant!(CommonSlotShownAbsent) { 0 } else { error::PRESENT };
            let refused = look(memory, guest_root, address, access).map(|_| access.error_code(cause));
            return Err(Failure::Fault(refused.unwrap_or_else(|code| code)));
        }
        let translation = walk(memory, guest_root, address, access).map_err(Failure::Fault)?;
        if mutant!(FaultAroundUnmarked)
            && let Ok(next) = look(memory, guest_root, address.wrapping_add(4096), Access::KERNEL_READ)
        {
            self.load(memory, number, address.wrapping_add(4096), false, &next)?;
        }
        self.load(memory, number, address, access.is_user(), &translation)
    }

    /// Loads up to `most` pages behind one of memory that was just loaded, while their entries stand in its table and
    /// differ from its entry in nothing but the frame; how many.
    #[inline(never)]
    fn fill_neighbours<M: GuestTables>(
        &mut self,
        memory: &M,
        loaded: &Loaded<M::Table<'_>>,
        most: u64,
    ) -> u64 {
        let Passed { table: guest, index, entry } = loaded.guest;
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
        let end = (index + 1).saturating_add(most as usize).min(512);
        self.tables.write_several(loaded.table, index + 1..end, load) as u64
    }

    fn note_global(&mut self, translation: &Translation, address: u64) {
        if translation.global && !self.is_common(index(address, 4)) {
            self.global_outside_common = true;
        }
    }

    fn load(
        &mut self,
        memory: &impl GuestTables,
        number: usize,
        address: u64,
        user_access: bool,
        translation: &Translation,
    ) -> Result<(), Failure> {
        #[cfg(feature = "mutants")]
        {
            self.last_loaded = Some((number, address, user_access, *translation));
        }
        let (level, host) = match translation.level {
            0 => return Ok(()),
            1 => (1, translation.host),
            guest_level => Self::largest(memory, translation, address & (span(guest_level) - 1)),
        };
        self.load_leaf(number, address, user_access, translation, (level, host)).ok_or(Failure::PoolExhausted)
    }

    fn load_leaf(
        &mut self,
        number: usize,
        address: u64,
        user_access: bool,
        translation: &Translation,
        (level, host): (u8, HostPage),
    ) -> Option<()> {
        self.reserve(MOST_TABLES_AT_ONCE)?;
        let place = self.place(number, index(address, 4), translation.user, user_access)?;
        self.note_global(translation, address);
        let entry = leaf_entry(translation, level, host, place.no_execute);
        self.install(place.directory, address, [translation.level, level], entry)
    }

    /// Loads the last translation again, whatever the tables say now: a load that a flush did not exclude.
    #[cfg(feature = "mutants")]
    pub fn load_again(&mut self, memory: &impl GuestTables) {
        if let Some((number, address, user_access, translation)) = self.last_loaded {
            // Without room it is not loaded, as any.
            _ = self.load(memory, number, address, user_access, &translation);
        }
    }

    /// The largest leaf, at most the guest's, that the host allows around `offset` of the page.
    fn largest(memory: &impl GuestTables, translation: &Translation, offset: u64) -> (u8, HostPage) {
        let mut level = translation.level;
        while level > 1 {
            let start = translation.page + (offset & !(span(level) - 1));
            if let Some(host) = memory.to_host(start, span(level)) {
                return (level, host);
            }
            level -= 1;
        }
        (1, translation.host)
    }

    /// The subtree of `slot` that a leaf goes to.
    fn place(&mut self, number: usize, slot: usize, leaf_user: bool, user_access: bool) -> Option<Place> {
        let CachedRoot { kernel, user, .. } = self.roots[number % MAX_ROOTS];
        if self.is_common(slot) {
            let directory = self.common_directory(number, slot)?;
            return Some(Place { directory, no_execute: leaf_user });
        }
        let kernel_entry = self.entry_of(kernel, slot);
        if leaf_user && (user_access || kernel_entry & OWN == 0) {
            let entry = self.directory(number, user, slot, 0)?;
            if kernel_entry & PRESENT == 0 {
                let no_execute = if mutant!(KernelRunsUserPages) { 0 } else { NO_EXECUTE };
                self.fill_slot(number, kernel, slot, entry | no_execute);
            }
            return Some(Place { directory: self.tables.table_at(entry), no_execute: false });
        }
        let entry = self.directory(number, kernel, slot, OWN)?;
        if kernel_entry & PRESENT != 0 && kernel_entry & OWN == 0 {
            self.tables.flush_all();
        }
        Some(Place { directory: self.tables.table_at(entry), no_execute: leaf_user })
    }

    /// The entry of `slot` in a view, which leads to a subtree of the `kind`, [`OWN`], [`COMMON`](super::COMMON) or
    /// neither. One of another kind is replaced.
    #[inline(never)]
    pub(super) fn directory(&mut self, number: usize, view: Table, slot: usize, kind: u64) -> Option<u64> {
        let old = self.entry_of(view, slot);
        if old & PRESENT != 0 && old & kind == kind {
            return Some(old);
        }
        let table = self.pool.take(3)?;
        let entry = self.tables.address(table) | TABLE_BITS | kind;
        self.fill_slot(number, view, slot, entry);
        Some(entry)
    }

    /// Writes a leaf below `directory`, making the tables on the way. Levels: the guest's leaf, and the one that
    /// is written, which may be a piece of it.
    fn install(
        &mut self,
        directory: Table,
        address: u64,
        [guest_level, leaf_level]: [u8; 2],
        entry: u64,
    ) -> Option<()> {
        let mut table = directory;
        for level in (leaf_level + 1..=3).rev() {
            table = self.below(table, index(address, level), level, guest_level)?;
        }
        let at = index(address, leaf_level);
        let old = self.entry_of(table, at);
        self.tables.write(table, at, entry);
        if leaf_level > 1 && old & (PRESENT | LARGE) == PRESENT {
            self.drop_below_entry(old);
            self.tables.flush_all();
        }
        Some(())
    }

    /// The table below an entry of `level`, which is made if need be; what is below the guest's own level is marked as
    /// pieces of a larger page.
    fn below(&mut self, table: Table, at: usize, level: u8, guest_level: u8) -> Option<Table> {
        let old = self.entry_of(table, at);
        let mut entry = old;
        if old & (PRESENT | LARGE) != PRESENT {
            let below = self.pool.take(level - 1)?;
            entry = self.tables.address(below) | TABLE_BITS;
        }
        if level == guest_level {
            entry |= PIECES;
        }
        self.tables.write(table, at, entry);
        if old & PRESENT != 0 && old & LARGE != 0 {
            // Some CPUs stop when they find an instruction's page cached in two sizes (Intel erratum
            // "machine check error on page size change").
            self.tables.flush_all();
        }
        Some(self.tables.table_at(entry))
    }
}
