//! The book about a kernel's tables: pure bookkeeping over an abstract memory, tested on the host.
//!
//! Each announced table has a record and a copy. The copy holds what the operations wrote, so that any
//! difference to the table itself, but for the bits that the hardware sets, came from elsewhere.
//! Bounds: [`MAX_TABLES`] tables (then announcing fails), [`MAX_PENDING`] addresses waiting for a flush (then
//! only `flush_all` settles them).

use pvops_abi::addr::{PhysAddr, VirtAddr};
use pvops_abi::ops::mmu::{Decoded, Level, PageFlags, Retain, Slot};

use super::violation::Violation;
use crate::page_entry::decode;

/// Most tables at a time.
pub(super) const MAX_TABLES: usize = 2048;
/// Most changes waiting for their flush.
const MAX_PENDING: usize = 64;
/// Entries of a table.
const ENTRIES: usize = 512;
/// Bits that the hardware sets by itself.
const HARDWARE: u64 = PageFlags::ACCESSED.bits() | PageFlags::DIRTY.bits();
/// Bits that no translation depends on.
const UNTRANSLATED: u64 = PageFlags::SOFTWARE_0.bits() | PageFlags::SOFTWARE_1.bits();

/// Access to frames.
pub(super) trait Frames {
    /// The word at `index` of a table or of a copy.
    fn load(&self, frame: PhysAddr, index: usize) -> u64;
    /// Changes a word of a copy.
    fn store(&self, frame: PhysAddr, index: usize, raw: u64);
}

/// What a kernel flushed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Flush {
    /// Addresses `start..=last` of the current root.
    Range { start: u64, last: u64 },
    /// Everything of every root.
    All,
}

/// One announced table.
#[derive(Clone, Copy)]
struct Record {
    frame: PhysAddr,
    copy: PhysAddr,
    /// Entries of other tables that lead here.
    links: u32,
    level: Level,
}

/// A change of the current root that waits for its flush.
#[derive(Clone, Copy)]
struct Pending {
    start: u64,
    last: u64,
    /// The table that was unlinked, if it was one.
    unlinked: Option<PhysAddr>,
}

/// See the module.
pub(super) struct Ledger {
    records: [Option<Record>; MAX_TABLES],
    /// By record, for roots: entries changed while another root was loaded, and were not flushed. Apart from
    /// the records, so that a ledger without any is all zeros and takes no room in the ELF.
    stale: [bool; MAX_TABLES],
    /// Records beyond this were never used.
    used: usize,
    pending: [Pending; MAX_PENDING],
    pending_count: usize,
    /// More were waiting than fit: only a flush of everything settles that.
    pending_lost: bool,
    common_slots: [u64; 8],
    in_batch: bool,
}

impl Ledger {
    pub(super) const fn new() -> Self {
        const SETTLED: Pending = Pending { start: 0, last: 0, unlinked: None };
        Self {
            records: [const { None }; MAX_TABLES],
            stale: [false; MAX_TABLES],
            used: 0,
            pending: [SETTLED; MAX_PENDING],
            pending_count: 0,
            pending_lost: false,
            common_slots: [0; 8],
            in_batch: false,
        }
    }

    fn live(&self) -> impl Iterator<Item = &Record> {
        self.records[..self.used].iter().flatten()
    }

    fn find(&self, frame: PhysAddr) -> Option<&Record> {
        self.live().find(|record| record.frame == frame)
    }

    fn position(&self, frame: PhysAddr) -> Option<usize> {
        self.records[..self.used].iter().position(|record| record.is_some_and(|record| record.frame == frame))
    }

    fn find_mut(&mut self, frame: PhysAddr) -> Option<&mut Record> {
        self.records[..self.used].iter_mut().flatten().find(|record| record.frame == frame)
    }

    /// `frame` becomes a table; `copy` becomes its copy. `false`: there is no record free.
    pub(super) fn announce(
        &mut self,
        frames: &impl Frames,
        frame: PhysAddr,
        level: Level,
        copy: PhysAddr,
    ) -> Result<bool, Violation> {
        if !frame.is_page_aligned() {
            return Err(Violation::of_frame("a table is not page aligned", frame));
        }
        if self.find(frame).is_some() {
            return Err(Violation::of_frame("a table is announced twice", frame));
        }
        for index in 0..ENTRIES {
            self.check_entry(level, frames.load(frame, index))
                .map_err(|rule| Violation { index: Some(index), ..Violation::of_frame(rule, frame) })?;
        }
        let Some(free) = self.records.iter().position(Option::is_none) else { return Ok(false) };
        for index in 0..ENTRIES {
            let raw = frames.load(frame, index);
            frames.store(copy, index, raw);
            self.link(level, raw, 1);
        }
        self.records[free] = Some(Record { frame, copy, links: 0, level });
        self.stale[free] = false;
        self.used = self.used.max(free + 1);
        Ok(true)
    }

    /// `frame` is a table no more; returns its copy's frame.
    pub(super) fn release(
        &mut self,
        frames: &impl Frames,
        frame: PhysAddr,
        level: Level,
        current_root: PhysAddr,
    ) -> Result<PhysAddr, Violation> {
        let broken = |rule| Err(Violation::of_frame(rule, frame));
        let Some(&record) = self.find(frame) else { return broken("a frame is released that is no table") };
        if record.level != level {
            return broken("a table is released at another level than it was announced at");
        }
        if record.links != 0 {
            return broken("a table is released that is still linked");
        }
        if frame == current_root {
            return broken("the root in use is released");
        }
        if self.waiting().iter().any(|pending| pending.unlinked == Some(frame)) {
            return broken("a table is released before the flush that follows its unlinking");
        }
        self.verify(frames)?;
        for index in 0..ENTRIES {
            self.link(level, frames.load(record.copy, index), -1);
        }
        if let Some(position) = self.position(frame) {
            self.records[position] = None;
        }
        Ok(record.copy)
    }

    /// The slot names a table, an entry of it, and an address that this entry can span.
    pub(super) fn check_slot(&self, slot: Slot) -> Result<(), Violation> {
        let broken = |rule| Err(Violation::of_slot(rule, slot));
        let Some(record) = self.find(slot.table) else {
            return broken("a slot is in a frame that is no table");
        };
        if record.level != slot.level {
            return broken("a slot has another level than its table");
        }
        if slot.index >= ENTRIES || slot.address.table_index(slot.level as u8) != slot.index {
            return broken("a slot's index is not that of its address");
        }
        if !slot.address.is_canonical() || !slot.address.0.is_multiple_of(slot.level.entry_bytes()) {
            return broken("a slot's address is not the first that its entry spans");
        }
        Ok(())
    }

    /// Reading asks less: other tables, the boot loader's say, may be looked at too.
    pub(super) fn check_read(&self, slot: Slot) -> Result<(), Violation> {
        if self.find(slot.table).is_none() { Ok(()) } else { self.check_slot(slot) }
    }

    /// Flags are cleared in present leaves only.
    pub(super) fn check_clearing(&self, frames: &impl Frames, slot: Slot) -> Result<(), Violation> {
        self.check_slot(slot)?;
        match decode(slot.level, frames.load(slot.table, slot.index)) {
            Decoded::Leaf(..) => Ok(()),
            _ => Err(Violation::of_slot("flags are cleared in an entry that is no leaf", slot)),
        }
    }

    /// The entry at `slot` is still the kernel's own, and `new` may follow it.
    pub(super) fn check_write(&self, frames: &impl Frames, slot: Slot, new: u64) -> Result<(), Violation> {
        self.check_slot(slot)?;
        if let Some(record) = self.find(slot.table)
            && differs(frames.load(slot.table, slot.index), frames.load(record.copy, slot.index))
        {
            return Err(Violation::of_slot("an entry was changed outside the operations", slot));
        }
        self.check_entry(slot.level, new).map_err(|rule| Violation::of_slot(rule, slot))
    }

    /// An entry that a table of `level` may hold.
    fn check_entry(&self, level: Level, raw: u64) -> Result<(), &'static str> {
        match decode(level, raw) {
            Decoded::Absent => Ok(()),
            Decoded::Leaf(..) if level != Level::Pt => Err("a leaf is larger than the capabilities allow"),
            Decoded::Leaf(_, flags)
                if flags.contains(PageFlags::WRITABLE) && !flags.contains(PageFlags::NO_EXECUTE) =>
            {
                Err("a leaf is writable and executable")
            }
            Decoded::Leaf(..) => Ok(()),
            Decoded::Table(below) => match self.find(below) {
                None => Err("a table is linked that was not announced"),
                Some(record) if Some(record.level) != level.below() => {
                    Err("a table is linked at another level than it was announced at")
                }
                Some(_) => Ok(()),
            },
        }
    }

    /// Counts the link that an entry is, if it is one.
    fn link(&mut self, level: Level, raw: u64, change: i32) {
        if let Decoded::Table(below) = decode(level, raw)
            && let Some(record) = self.find_mut(below)
        {
            record.links = record.links.saturating_add_signed(change);
        }
    }

    /// The entry at `slot` was `old` and is `new`.
    pub(super) fn written(
        &mut self,
        frames: &impl Frames,
        slot: Slot,
        old: u64,
        new: u64,
        current_root: PhysAddr,
    ) {
        if let Some(record) = self.find(slot.table) {
            frames.store(record.copy, slot.index, new);
        }
        self.link(slot.level, new, 1);
        self.link(slot.level, old, -1);
        if !needs_flush(slot.level, old, new) {
            return;
        }
        if self.contains(frames, current_root, slot) {
            self.wait_for_flush(slot, old);
        } else {
            self.mark_stale(frames, slot);
        }
    }

    /// Whether the walk of `slot`'s address from `root` comes by its table.
    fn contains(&self, frames: &impl Frames, root: PhysAddr, slot: Slot) -> bool {
        let mut table = root;
        let mut level = Level::Pml4;
        while table != slot.table {
            let (Some(record), Some(below)) = (self.find(table), level.below()) else { return false };
            let raw = frames.load(record.copy, slot.address.table_index(level as u8));
            let Decoded::Table(next) = decode(level, raw) else { return false };
            (table, level) = (next, below);
        }
        level == slot.level && self.find(root).is_some()
    }

    fn wait_for_flush(&mut self, slot: Slot, old: u64) {
        let unlinked = match decode(slot.level, old) {
            Decoded::Table(table) => Some(table),
            _ => None,
        };
        let last = slot.address.0 + (slot.level.entry_bytes() - 1);
        match self.pending.get_mut(self.pending_count) {
            Some(free) => {
                *free = Pending { start: slot.address.0, last, unlinked };
                self.pending_count += 1;
            }
            None => self.pending_lost = true,
        }
    }

    fn mark_stale(&mut self, frames: &impl Frames, slot: Slot) {
        for index in 0..self.used {
            let Some(record) = self.records[index] else { continue };
            if record.level == Level::Pml4 && self.contains(frames, record.frame, slot) {
                self.stale[index] = true;
            }
        }
    }

    fn waiting(&self) -> &[Pending] {
        &self.pending[..self.pending_count]
    }

    /// The kernel flushed. A removed link is settled by any flush within what it spanned: the leaves below had
    /// to be flushed when they went.
    pub(super) fn flushed(&mut self, flush: Flush) {
        match flush {
            Flush::All => {
                self.pending_count = 0;
                self.pending_lost = false;
                self.stale[..self.used].fill(false);
            }
            Flush::Range { start, last } => {
                let mut kept = 0;
                for index in 0..self.pending_count {
                    let pending = self.pending[index];
                    if pending.last < start || pending.start > last {
                        self.pending[kept] = pending;
                        kept += 1;
                    }
                }
                self.pending_count = kept;
            }
        }
    }

    /// Every table is as the operations left it.
    pub(super) fn verify(&self, frames: &impl Frames) -> Result<(), Violation> {
        for record in self.live() {
            for index in 0..ENTRIES {
                let (now, kept) = (frames.load(record.frame, index), frames.load(record.copy, index));
                if now != kept && differs(now, kept) {
                    let violation =
                        Violation::of_frame("a table was changed outside the operations", record.frame);
                    return Err(Violation { index: Some(index), ..violation });
                }
            }
        }
        Ok(())
    }

    /// `root` may be loaded now.
    pub(super) fn check_root(
        &self,
        frames: &impl Frames,
        root: PhysAddr,
        retain: Retain,
        current_root: PhysAddr,
    ) -> Result<(), Violation> {
        let broken = |rule| Violation::of_frame(rule, root);
        let record = self.find(root).ok_or(broken("a root is loaded that was not announced"))?;
        if record.level != Level::Pml4 {
            return Err(broken("a table that is no root is loaded as one"));
        }
        if self.in_batch {
            return Err(broken("a root is loaded in a batch"));
        }
        self.verify(frames)?;
        if let Some(pending) = self.waiting().first() {
            let violation = broken("a root is loaded before a change of the last one was flushed");
            return Err(Violation { address: Some(VirtAddr(pending.start)), ..violation });
        }
        if self.pending_lost {
            return Err(broken("a root is loaded before many changes of the last one were flushed"));
        }
        let stale = self.position(root).is_some_and(|position| self.stale[position]);
        if stale && retain == Retain::Keep {
            return Err(broken("translations of a root are kept though its entries changed"));
        }
        self.check_common_slots(frames, root, current_root)
    }

    /// The declared slots of `root` equal those of the current root, if that is one of the kernel's.
    fn check_common_slots(
        &self,
        frames: &impl Frames,
        root: PhysAddr,
        current_root: PhysAddr,
    ) -> Result<(), Violation> {
        if self.find(current_root).is_none() {
            return Ok(());
        }
        let declared = |index: &usize| self.common_slots[index / 64] & 1 << (index % 64) != 0;
        let unequal = (0..ENTRIES)
            .filter(declared)
            .find(|index| differs(frames.load(root, *index), frames.load(current_root, *index)));
        match unequal {
            None => Ok(()),
            Some(index) => {
                let violation =
                    Violation::of_frame("a root's common slot differs from the last root's", root);
                Err(Violation { index: Some(index), ..violation })
            }
        }
    }

    /// `root` was loaded. What it has cached is fresh: it was flushed, dropped, or nothing had changed.
    pub(super) fn loaded(&mut self, root: PhysAddr) {
        if let Some(position) = self.position(root) {
            self.stale[position] = false;
        }
    }

    pub(super) fn set_common_slots(&mut self, slots: &[u64; 8]) {
        self.common_slots = *slots;
    }

    pub(super) fn begin_batch(&mut self) -> Result<(), Violation> {
        if core::mem::replace(&mut self.in_batch, true) {
            return Err(Violation::of_frame("a batch begins within a batch", PhysAddr(0)));
        }
        Ok(())
    }

    pub(super) fn end_batch(&mut self) -> Result<(), Violation> {
        if !core::mem::replace(&mut self.in_batch, false) {
            return Err(Violation::of_frame("a batch ends that never began", PhysAddr(0)));
        }
        Ok(())
    }

    /// The frame that `root` maps at `address`.
    pub(super) fn leaf_at(
        &self,
        frames: &impl Frames,
        root: PhysAddr,
        address: VirtAddr,
    ) -> Option<PhysAddr> {
        let (mut table, mut level) = (root, Level::Pml4);
        loop {
            let record = self.find(table)?;
            let raw = frames.load(record.copy, address.table_index(level as u8));
            match decode(level, raw) {
                Decoded::Absent => return None,
                Decoded::Leaf(phys, _) => return Some(phys),
                Decoded::Table(below) => (table, level) = (below, level.below()?),
            }
        }
    }
}

/// Whether an entry is another than what was written, beyond what the hardware does to it. The hardware only
/// sets its bits, and only in present entries.
fn differs(now: u64, written: u64) -> bool {
    let hardware = if written & PageFlags::PRESENT.bits() != 0 { HARDWARE } else { 0 };
    (now ^ written) & !hardware != 0
}

/// Whether translations made by `old` may say more, or something else, than `new`.
fn needs_flush(level: Level, old: u64, new: u64) -> bool {
    const RIGHTS: PageFlags = PageFlags::WRITABLE.union(PageFlags::USER);
    if old & PageFlags::PRESENT.bits() == 0 {
        return false;
    }
    let (was, is) = match (decode(level, old), decode(level, new)) {
        (Decoded::Table(was), Decoded::Table(is)) => (was, is),
        (Decoded::Leaf(was, _), Decoded::Leaf(is, _)) => (was, is),
        _ => return true,
    };
    let (old_flags, new_flags) = (PageFlags::from_bits_truncate(old), PageFlags::from_bits_truncate(new));
    let narrowed = old_flags.intersection(RIGHTS) - new_flags;
    let other = RIGHTS.bits() | PageFlags::NO_EXECUTE.bits() | UNTRANSLATED | HARDWARE;
    let lost_marks = old & !new & HARDWARE != 0;
    was != is
        || !narrowed.is_empty()
        || new_flags.contains(PageFlags::NO_EXECUTE) && !old_flags.contains(PageFlags::NO_EXECUTE)
        || (old ^ new) & !other != 0
        || lost_marks
}

#[cfg(test)]
#[path = "ledger_tests.rs"]
mod tests;
