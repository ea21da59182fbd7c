//! The memory of a process: pages come when they are touched, and are shared copy-on-write after a fork.
//!
//! All user memory lies in one PML4 slot. A page that the process may write carries [`PRIVATE`]; after a fork it
//! is read-only until it is written and then copied, or simply made writable again by its last user.

use super::image::{self, Image};
use crate::arch::raw;
use crate::cpu;
use crate::memory::frames;
use crate::memory::kernel_space::{self, SLOT_BYTES};
use crate::memory::tables::{self, Found, Leaf, MapError};
use alloc::vec::Vec;
use pvops_abi::addr::{PAGE_SIZE, PhysAddr, VirtAddr};
use pvops_abi::ops;
use pvops_abi::ops::mmu::{Entry, Level, PageFlags, Slot, mmu};

/// Marks pages that may be made writable.
const PRIVATE: PageFlags = PageFlags::SOFTWARE_0;
/// Offsets in the slot: image, then heap, and the stack at the end.
const IMAGE: u64 = 4 << 20;
const HEAP: u64 = 1 << 30;
const HEAP_LIMIT: u64 = 16 << 20;
const STACK_END: u64 = SLOT_BYTES - PAGE_SIZE;
const STACK_BYTES: u64 = 64 << 10;

/// What an access wants to do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Access {
    Read,
    Write,
    Execute,
}

/// Why an access cannot be allowed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Refused {
    /// There is nothing, or not for this kind of access.
    NotAllowed,
    /// Memory has run out.
    NoMemory,
}

impl From<MapError> for Refused {
    fn from(_: MapError) -> Self {
        Self::NoMemory
    }
}

/// See the module.
pub(crate) struct AddressSpace {
    /// Its page-table root.
    pub(crate) root: PhysAddr,
    base: u64,
    image: &'static Image,
    heap_end: u64,
    /// Page faults that brought a new page.
    pub(crate) demand_faults: u64,
    /// Pages copied because they were shared.
    pub(crate) copied_pages: u64,
}

impl AddressSpace {
    /// An address space in which nothing is present yet.
    pub(crate) fn new() -> Result<Self, Refused> {
        Ok(Self {
            root: kernel_space::new_root()?,
            base: kernel_space::user_base().0,
            image: image::embedded(),
            heap_end: HEAP,
            demand_faults: 0,
            copied_pages: 0,
        })
    }

    /// Where programs begin.
    pub(crate) fn entry(&self) -> u64 {
        self.base + IMAGE + self.image.entry
    }

    /// The first stack pointer.
    pub(crate) fn stack_top(&self) -> u64 {
        self.base + STACK_END
    }

    /// Makes the heap longer by `bytes`, rounded up to pages; returns where the new part begins.
    pub(crate) fn grow(&mut self, bytes: u64) -> Result<u64, Refused> {
        let room = HEAP + HEAP_LIMIT - self.heap_end;
        if bytes > room {
            return Err(Refused::NoMemory);
        }
        let start = self.heap_end;
        self.heap_end += bytes.next_multiple_of(PAGE_SIZE);
        Ok(self.base + start)
    }

    /// Makes the page at `address` present and fit for `access`: the page-fault handler's work. The address
    /// space is the current one.
    pub(crate) fn fault(&mut self, address: u64, access: Access) -> Result<(), Refused> {
        let page = VirtAddr(address).page_base();
        let rights = self.rights(page).ok_or(Refused::NotAllowed)?;
        let allowed = match access {
            Access::Read => true,
            Access::Write => rights.contains(PageFlags::WRITABLE),
            Access::Execute => !rights.contains(PageFlags::NO_EXECUTE),
        };
        if !allowed {
            return Err(Refused::NotAllowed);
        }
        match tables::find(self.root, page) {
            None => self.bring(page, rights, access),
            Some(leaf) if access == Access::Write && !leaf.flags.contains(PageFlags::WRITABLE) => {
                self.unshare(page, &leaf)
            }
            // It is there by now.
            Some(_) => Ok(()),
        }
    }

    /// Makes `bytes` from `address` present for the kernel to use on the process's behalf. Nothing outside the
    /// user slot passes.
    pub(crate) fn prepare(&mut self, address: u64, bytes: u64, access: Access) -> Result<(), Refused> {
        let end = address.checked_add(bytes).ok_or(Refused::NotAllowed)?;
        if address < self.base || end > self.base + SLOT_BYTES {
            return Err(Refused::NotAllowed);
        }
        let first = address / PAGE_SIZE;
        (first..end.div_ceil(PAGE_SIZE)).try_for_each(|page| self.fault(page * PAGE_SIZE, access))
    }

    /// A copy that shares all pages. Exercises `mmu::clear_flags`, a batch scope, and `mmu::flush_range`.
    pub(crate) fn fork(&mut self) -> Result<Self, Refused> {
        let mut child = Self::new()?;
        child.heap_end = self.heap_end;
        let leaves = self.leaves();
        leaves.iter().try_for_each(|leaf| child.share(leaf))?;
        // Only now that nothing can fail any more, the pages become read-only here as well.
        ops::irq::without(|| {
            mmu().batch_begin();
            leaves.iter().for_each(|leaf| _ = mmu().clear_flags(leaf.slot, PageFlags::WRITABLE));
            mmu().batch_end();
        });
        for (start, bytes) in self.areas() {
            mmu().flush_range(VirtAddr(start), bytes, cpu::online());
        }
        Ok(child)
    }

    /// Pages present now.
    pub(crate) fn present_pages(&self) -> usize {
        self.leaves().len()
    }

    fn leaves(&self) -> Vec<Leaf> {
        let mut leaves = Vec::new();
        self.visit(|found| {
            if let Found::Leaf(leaf) = found {
                leaves.push(leaf);
            }
        });
        leaves
    }

    /// Rights of a page, whether it is present or not.
    fn rights(&self, page: VirtAddr) -> Option<PageFlags> {
        let offset = page.0.checked_sub(self.base)?;
        let data = PageFlags::PRESENT | PageFlags::USER | PageFlags::WRITABLE | PageFlags::NO_EXECUTE;
        match offset {
            IMAGE..HEAP => self.image.rights(offset - IMAGE),
            HEAP.. if offset < self.heap_end => Some(data),
            _ if (STACK_END - STACK_BYTES..STACK_END).contains(&offset) => Some(data),
            _ => None,
        }
    }

    /// Start and length of what may be present.
    fn areas(&self) -> [(u64, u64); 3] {
        [
            (self.base + IMAGE, self.image.bytes.next_multiple_of(PAGE_SIZE)),
            (self.base + HEAP, self.heap_end - HEAP),
            (self.base + STACK_END - STACK_BYTES, STACK_BYTES),
        ]
    }

    /// Maps a new page. A new entry needs no flush. Exercises `mmu::populate`.
    fn bring(&mut self, page: VirtAddr, rights: PageFlags, access: Access) -> Result<(), Refused> {
        let frame = frames::allocate().ok_or(Refused::NoMemory)?;
        let offset = page.0 - self.base;
        if offset < HEAP {
            self.image.fill(frame, offset - IMAGE, self.base + IMAGE);
        }
        tables::map_page(self.root, page, frame, with_mark(rights) | marks(access))
            .inspect_err(|_| frames::release(frame))?;
        mmu().populate(page, 1);
        self.demand_faults += 1;
        Ok(())
    }

    /// Makes a shared page this process's own. Exercises `mmu::exchange` and `mmu::flush_page`.
    fn unshare(&mut self, page: VirtAddr, leaf: &Leaf) -> Result<(), Refused> {
        let flags = leaf.flags | PageFlags::WRITABLE | marks(Access::Write);
        if frames::users(leaf.frame) == 1 {
            mmu().exchange(leaf.slot, mmu().leaf(Level::Pt, leaf.frame, flags));
            mmu().flush_page(page, cpu::online());
            return Ok(());
        }
        let own = frames::allocate().ok_or(Refused::NoMemory)?;
        raw::copy_frame(leaf.frame, own);
        mmu().exchange(leaf.slot, mmu().leaf(Level::Pt, own, flags));
        // Nobody may use the old translation when the old frame finds another user.
        mmu().flush_page(page, cpu::online());
        frames::release(leaf.frame);
        self.copied_pages += 1;
        Ok(())
    }

    /// Maps a page of another space here too, read-only. The caller makes it so in the other one.
    fn share(&mut self, leaf: &Leaf) -> Result<(), Refused> {
        if !frames::share(leaf.frame) {
            return Err(Refused::NoMemory);
        }
        let state = PageFlags::WRITABLE | PageFlags::ACCESSED | PageFlags::DIRTY;
        tables::map_page(self.root, leaf.slot.address, leaf.frame, leaf.flags - state)
            .inspect_err(|_| frames::release(leaf.frame))?;
        Ok(())
    }

    fn slot(&self) -> Slot {
        tables::root_slot(self.root, VirtAddr(self.base))
    }

    fn visit(&self, mut show: impl FnMut(Found)) {
        tables::visit(self.slot(), &mut show);
    }
}

/// A writable page is private from the start, so that a fork has only one flag to clear.
fn with_mark(rights: PageFlags) -> PageFlags {
    if rights.contains(PageFlags::WRITABLE) { rights | PRIVATE } else { rights }
}

/// What the access that is about to be repeated will mark: whoever has to set marks, processor or hypervisor, is spared
/// the work, and a page that is dirty is populated writable.
fn marks(access: Access) -> PageFlags {
    match access {
        Access::Write => PageFlags::ACCESSED | PageFlags::DIRTY,
        Access::Read | Access::Execute => PageFlags::ACCESSED,
    }
}

impl Drop for AddressSpace {
    /// The root is loaded nowhere. Releasing it first drops every translation that was cached under it, so the
    /// tables and pages below need no flush of their own.
    fn drop(&mut self) {
        let (mut lower, mut pages) = (Vec::new(), Vec::new());
        self.visit(|found| match found {
            Found::Table(table, level) => lower.push((table, level)),
            Found::Leaf(leaf) => pages.push(leaf.frame),
        });
        mmu().set(self.slot(), Entry::ABSENT);
        tables::release_table(self.root, Level::Pml4);
        lower.into_iter().for_each(|(table, level)| tables::release_table(table, level));
        pages.into_iter().for_each(frames::release);
    }
}
