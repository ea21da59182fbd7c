//! Rewrites the sites. Called by [`crate::ops::init`], once, before the table of operations is published.
//!
//! That moment is what makes it safe. Interrupts are masked (checked here), there are no handlers yet, and no other
//! CPU runs: further ones are started through the table, which nobody has. So no site is executed while it is
//! rewritten, and a plain store per byte will do; what remains is that this CPU may have fetched old bytes, hence the
//! serializing instruction at the end (Intel SDM volume 3, 9.1.3). A CPU started later fetches new ones.
//!
//! Text is never writable where it is executed: bytes are stored through the boot tables' map of physical memory,
//! which must be writable and not executable ([`rights`]). The alternative, to make text writable for a while, would
//! need page tables that can be changed, which an environment may not give this early. First everything is
//! checked, then everything is written; what fails a check leaves all sites as they are, and they go on working.

use super::code::PlacedCode;
use super::operation::{CALL_BYTES, Operation};
use super::rights::{self, Translation};
use super::table::{self, Site};
use super::{Counts, Refusal, Status, thunks};
use crate::addr::{PhysAddr, VirtAddr};
use crate::boot::BootContext;
use crate::ops::Ops;
use crate::ops::mmu::{Decoded, Entry, Level};
use core::arch::x86_64::__cpuid;

/// Rewrites every site whose group has code for it.
pub(crate) fn apply(boot: &BootContext, ops: &Ops) -> Status {
    match try_apply(boot, ops) {
        Ok(counts) => Status::Patched(counts),
        Err(refusal) => Status::Refused(refusal),
    }
}

fn try_apply(boot: &BootContext, ops: &Ops) -> Result<Counts, Refusal> {
    if ops.irq.are_enabled() {
        return Err(Refusal::InterruptsEnabled);
    }
    if ops.mmu.current_root() != boot.boot_root {
        return Err(Refusal::OtherTables);
    }
    let patcher = Patcher { boot, ops };
    let mut counts = Counts::default();
    for site in sites() {
        let site = site?;
        patcher.check(site)?;
        match patcher.code(site) {
            Some(_) => counts.patched += 1,
            None => counts.left += 1,
        }
    }
    for site in sites() {
        let site = site?;
        if let Some(code) = patcher.code(site) {
            patcher.write(site, &code)?;
        }
    }
    // CPUID serializes.
    let _ = __cpuid(0);
    Ok(counts)
}

/// All sites, patched or not.
pub(super) fn sites() -> impl Iterator<Item = Result<Site, Refusal>> {
    let section = table::section();
    table::parse(section, section.as_ptr() as u64).map(|site| site.map_err(|_| Refusal::DamagedTable))
}

/// The bytes at a site now.
pub(super) fn read(site: Site) -> &'static [u8] {
    // SAFETY: the site lies in this kernel's text, which is mapped for good; it changes only in `apply`, while
    // nobody has such a slice.
    unsafe { core::slice::from_raw_parts(site.address.0 as *const u8, site.operation.site_bytes()) }
}

struct Patcher<'a> {
    boot: &'a BootContext,
    ops: &'a Ops,
}

impl Patcher<'_> {
    /// What goes into a site, if its group has something.
    fn code(&self, site: Site) -> Option<PlacedCode> {
        use Operation as O;
        let operation = site.operation;
        let code = match operation {
            O::IrqDisable
            | O::IrqEnable
            | O::IrqSaveAndDisable
            | O::IrqRestore
            | O::IrqAreEnabled
            | O::IrqEnableAndWait => self.ops.irq.code(operation),
            O::CpuCurrent | O::CpuBlock | O::CpuSpinHint | O::CpuUserAccessBegin | O::CpuUserAccessEnd => {
                self.ops.cpu.code(operation)
            }
            O::MmuLoadRoot | O::MmuFlushPage => self.ops.mmu.code(operation),
            O::TimeNow => self.ops.time.code(operation),
        };
        code?.place(operation, site.address.0)
    }

    /// Whether the site is one of ours, as the compiler made it, and can be written.
    fn check(&self, site: Site) -> Result<(), Refusal> {
        let first = site.address.0;
        let end = first.wrapping_add(site.operation.site_bytes() as u64);
        let image = self.boot.kernel_start.0..=self.boot.kernel_start.0 + self.boot.kernel_bytes;
        if end < first || !image.contains(&first) || !image.contains(&end) {
            return Err(Refusal::OutsideImage);
        }
        if read(site)[..CALL_BYTES] != call(site) {
            return Err(Refusal::OtherBytes);
        }
        self.alias(site.address)?;
        // A site may lie across two pages.
        self.alias(VirtAddr(end - 1))?;
        Ok(())
    }

    /// Where a byte of text can be written: in the map of physical memory.
    fn alias(&self, address: VirtAddr) -> Result<VirtAddr, Refusal> {
        let text = self.translate(address);
        let (byte, _) = text.ok_or(Refusal::NotMapped)?;
        let alias = VirtAddr(self.boot.physical_map.0.wrapping_add(byte.0));
        rights::check(text, self.translate(alias))?;
        Ok(alias)
    }

    /// Walks the boot tables by plain loads.
    fn translate(&self, address: VirtAddr) -> Translation {
        let mut table = self.boot.boot_root;
        let mut level = Level::Pml4;
        loop {
            let index = address.table_index(level as u8) as u64;
            let place = self.boot.physical_map.0.wrapping_add(table.0 + 8 * index) as *const u64;
            // SAFETY: the boot tables are in memory that the boot tables map at `physical_map`; the CPU may set
            // bits in them meanwhile, hence volatile.
            let entry = Entry::from_raw(unsafe { place.read_volatile() });
            match self.ops.mmu.decode(level, entry) {
                Decoded::Absent => return None,
                Decoded::Leaf(frame, flags) => {
                    return Some((PhysAddr(frame.0 + (address.0 & (level.entry_bytes() - 1))), flags));
                }
                Decoded::Table(next) => {
                    table = next;
                    level = level.below()?;
                }
            }
        }
    }

    /// Writes a site that [`Self::check`] has passed, and looks where it is executed.
    fn write(&self, site: Site, code: &PlacedCode) -> Result<(), Refusal> {
        for (byte, address) in code.bytes().iter().zip(site.address.0..) {
            let alias = self.alias(VirtAddr(address))?;
            // SAFETY: the alias is writable memory, and nobody executes the site (see the module). What is written
            // does what the site's contract says: each group vouches for its code.
            unsafe { (alias.0 as *mut u8).write_volatile(*byte) };
        }
        let stored = (site.address.0..).zip(code.bytes()).all(|(address, byte)| {
            // SAFETY: the site is mapped text.
            unsafe { (address as *const u8).read_volatile() == *byte }
        });
        if stored { Ok(()) } else { Err(Refusal::NotStored) }
    }
}

/// How a site begins before it is patched: with a call of its thunk.
fn call(site: Site) -> [u8; CALL_BYTES] {
    let end = site.address.0 + CALL_BYTES as u64;
    let distance = thunk(site.operation).wrapping_sub(end) as u32;
    let [a, b, c, d] = distance.to_le_bytes();
    [0xe8, a, b, c, d]
}

fn thunk(operation: Operation) -> u64 {
    let thunk: extern "C" fn() = match operation {
        Operation::IrqDisable => thunks::irq_disable,
        Operation::IrqEnable => thunks::irq_enable,
        Operation::IrqSaveAndDisable => thunks::irq_save_and_disable,
        Operation::IrqRestore => thunks::irq_restore,
        Operation::IrqAreEnabled => thunks::irq_are_enabled,
        Operation::IrqEnableAndWait => thunks::irq_enable_and_wait,
        Operation::CpuCurrent => thunks::cpu_current,
        Operation::CpuBlock => thunks::cpu_block,
        Operation::CpuSpinHint => thunks::cpu_spin_hint,
        Operation::CpuUserAccessBegin => thunks::cpu_user_access_begin,
        Operation::CpuUserAccessEnd => thunks::cpu_user_access_end,
        Operation::MmuLoadRoot => thunks::mmu_load_root,
        Operation::MmuFlushPage => thunks::mmu_flush_page,
        Operation::TimeNow => thunks::time_now_ns,
    };
    thunk as *const () as u64
}
