//! The hypervisor's own page tables, built through the boot loader's map of physical memory.
//!
//! Per CPU one PML4 and one directory-pointer table for slot 256: image and registers are shared by all CPUs,
//! this CPU's pages are not. Domains add their window (slots 257..=259). These entries are what every shadow
//! root of the CPU and domain carries.
//!
//! Boot itself runs on a second pair, which shows all of the image and the boot loader's slots as well. Nothing is unmapped
//! when boot is over: each CPU goes on in its other root, in which boot's part never was.

use super::super::cpu;
use super::super::layout::{
    BOOT_DYNAMIC, BOOT_PHYSICAL, CPU_PAGES, DOMAIN_MEMORY, IMAGE, IO_APIC, LOCAL_APIC, cpu_pages,
};
use super::memory::{BootMemory, bytes_at};
use crate::mmu::bits::{
    ACCESSED, CACHE_DISABLE, DIRTY, FRAME, LARGE, NO_EXECUTE, PRESENT, WRITABLE, WRITE_THROUGH,
};
use crate::mmu::{HYPERVISOR_FIRST_SLOT, HYPERVISOR_SLOTS, index, span};
use core::arch::asm;

const PAGE: u64 = 4096;
const TABLE: u64 = PRESENT | WRITABLE | ACCESSED;
/// Data that only the hypervisor touches.
pub const DATA: u64 = PRESENT | WRITABLE | ACCESSED | DIRTY | NO_EXECUTE;
const REGISTERS: u64 = DATA | CACHE_DISABLE | WRITE_THROUGH;

unsafe extern "C" {
    /// End of what is needed once, with which the image begins; whole pages, from the linker script.
    static __boot_end: u8;
    /// End of the image in memory.
    static _end: u8;
}

fn read(table: u64, at: usize) -> u64 {
    let mut word = [0; 8];
    word.copy_from_slice(&bytes_at(table, PAGE)[at * 8..at * 8 + 8]);
    u64::from_le_bytes(word)
}

/// Sets an entry of a table.
pub fn write(table: u64, at: usize, entry: u64) {
    bytes_at(table, PAGE)[at * 8..at * 8 + 8].copy_from_slice(&entry.to_le_bytes());
}

/// Maps the page of `level` at `virt` below `table`, which is a table of `from` level.
pub fn map(memory: &mut BootMemory, table: u64, from: u8, level: u8, virt: u64, phys: u64, flags: u64) {
    let mut table = table;
    for upper in (level + 1..=from).rev() {
        let at = index(virt, upper);
        let entry = read(table, at);
        table = if entry & PRESENT != 0 {
            entry & FRAME
        } else {
            let new = memory.take_page();
            write(table, at, new | TABLE);
            new
        };
    }
    let large = if level > 1 { LARGE } else { 0 };
    write(table, index(virt, level), phys | flags | large);
}

/// Where the loaded tables map `virt`: physical address and leaf entry.
fn translate(virt: u64) -> Option<(u64, u64)> {
    let mut table = cpu::root() & FRAME;
    for level in (1..=4).rev() {
        let entry = read(table, index(virt, level));
        if entry & PRESENT == 0 {
            return None;
        }
        if level == 1 || (level < 4 && entry & LARGE != 0) {
            let mask = span(level) - 1;
            return Some(((entry & FRAME & !mask) + (virt & mask), entry));
        }
        table = entry & FRAME;
    }
    None
}

/// What all CPUs share of slot 256.
pub struct SharedTables {
    /// All of the image, for boot.
    image: u64,
    /// What is kept of it.
    resident: u64,
    registers: u64,
}

impl SharedTables {
    /// Maps the image as the boot loader placed it, and the interrupt controllers.
    pub fn new(memory: &mut BootMemory, io_apic: u64) -> Self {
        let [image, resident, registers] = [(); 3].map(|()| memory.take_page());
        let (boot_end, end) = (address_of!(__boot_end), address_of!(_end));
        for virt in (IMAGE..end).step_by(PAGE as usize) {
            if let Some((phys, entry)) = translate(virt) {
                let flags = entry & (PRESENT | WRITABLE | NO_EXECUTE) | ACCESSED | DIRTY;
                let mut show = |table| map(memory, table, 2, 1, virt, phys & !(PAGE - 1), flags);
                show(image);
                if virt >= boot_end {
                    show(resident);
                }
            }
        }
        let local_apic = cpu::read_msr(0x1b) & FRAME;
        map(memory, registers, 2, 1, LOCAL_APIC, local_apic, REGISTERS);
        map(memory, registers, 2, 1, IO_APIC, io_apic, REGISTERS);
        Self { image, resident, registers }
    }
}

/// One CPU's tables.
pub struct CpuTables {
    root: u64,
    boot_root: u64,
    has_io_bitmap: bool,
    #[cfg(feature = "trace")]
    trace_ring: u64,
}

impl CpuTables {
    /// Tables and pages of a CPU.
    pub fn new(memory: &mut BootMemory, shared: &SharedTables) -> Self {
        let [root, pointers, boot_root, boot_pointers] = [(); 4].map(|()| memory.take_page());
        write(root, HYPERVISOR_FIRST_SLOT, pointers | TABLE);
        write(boot_root, HYPERVISOR_FIRST_SLOT, boot_pointers | TABLE);
        write(pointers, index(LOCAL_APIC, 3), shared.registers | TABLE);
        for page in cpu_pages::MAPPED {
            let phys = memory.take_page();
            map(memory, pointers, 3, 1, CPU_PAGES + u64::from(page) * PAGE, phys, DATA);
        }
        #[cfg(feature = "trace")]
        let trace_ring = super::trace::map_ring(memory, pointers);
        bytes_at(boot_pointers, PAGE).copy_from_slice(bytes_at(pointers, PAGE));
        write(pointers, index(IMAGE, 3), shared.resident | TABLE);
        write(boot_pointers, index(IMAGE, 3), shared.image | TABLE);
        Self {
            root,
            boot_root,
            has_io_bitmap: false,
            #[cfg(feature = "trace")]
            trace_ring,
        }
    }

    /// Physical address of its ring.
    #[cfg(feature = "trace")]
    #[must_use]
    pub fn trace_ring(&self) -> u64 {
        self.trace_ring
    }

    /// Gives the CPU an I/O bitmap, in which every port is closed.
    pub fn map_io_bitmap(&mut self, memory: &mut BootMemory) {
        if core::mem::replace(&mut self.has_io_bitmap, true) {
            return;
        }
        for page in cpu_pages::IO_BITMAP_PAGES {
            let phys = memory.take_page();
            bytes_at(phys, PAGE).fill(u8::MAX);
            map(memory, self.root, 4, 1, CPU_PAGES + page * PAGE, phys, DATA);
        }
    }

    /// Physical address of the PML4.
    #[must_use]
    pub fn root(&self) -> u64 {
        self.root
    }

    /// Physical address of the PML4 that shows boot too.
    #[must_use]
    pub fn boot_root(&self) -> u64 {
        self.boot_root
    }

    /// Sets an entry of the boot's PML4.
    pub fn set_boot_slot(&mut self, slot: usize, entry: u64) {
        write(self.boot_root, slot, entry);
    }

    /// The PML4 entries of the hypervisor's slots.
    #[must_use]
    pub fn hypervisor_entries(&self) -> [u64; HYPERVISOR_SLOTS] {
        core::array::from_fn(|slot| read(self.root, HYPERVISOR_FIRST_SLOT + slot))
    }

    /// Links the boot loader's slots, for boot.
    pub fn keep_boot_slots(&mut self) {
        let old = cpu::root() & FRAME;
        for slot in index(BOOT_PHYSICAL, 4)..HYPERVISOR_FIRST_SLOT + HYPERVISOR_SLOTS {
            self.set_boot_slot(slot, read(old, slot));
        }
        debug_assert!(index(BOOT_DYNAMIC, 4) > index(BOOT_PHYSICAL, 4));
    }
}

const _: () = assert!(index(DOMAIN_MEMORY, 4) == HYPERVISOR_FIRST_SLOT + 1);

/// Goes on in `next` on the top of this CPU's own stack: the boot loader's is about to go.
pub fn continue_on_own_stack(next: extern "C" fn() -> !) -> ! {
    // SAFETY: this CPU's stack is mapped and not in use; the caller's frame is never returned to.
    unsafe {
        asm!(
            "mov rsp, {stack}",
            "xor ebp, ebp",
            "call {next}",
            "ud2",
            stack = in(reg) CPU_PAGES + cpu_pages::FIRST_STACK_TOP,
            next = in(reg) next,
            options(noreturn),
        )
    }
}
