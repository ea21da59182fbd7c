//! Pages that come and go: an entry is stored into a table and the page is touched; an entry is cleared and flushed.
//!
//! New entries are stored as kernels do it, neither accessed nor dirty, and the first touch is a write: whoever fills a
//! translation has both to set. Every sample is a page, or region, that was never used in its root.

use super::{Mark, time};
use crate::measure::{SAMPLES, Span, figure, timed};
use crate::tables::{self, DATA, Place, SLOT_BYTES, USER_DATA};
use crate::world::{self, phys_to_virt, word};
use core::cell::Cell;
use core::sync::atomic::Ordering;
use pvops_abi::addr::{PAGE_SIZE, PhysAddr};
use pvops_abi::call::Mmu;
use pvops_abi::ops::CpuSet;
use pvops_abi::ops::mmu::{Level, mmu};

/// Pages of one populate call.
const POPULATED: u64 = 32;
/// Roots that are cached while pages are unmapped.
const ROOTS: usize = 64;
/// Roots for regions of 512 GiB, and such regions of each: neither slots nor tables would do for all samples in one.
const REGION_ROOTS: usize = 7;
const REGIONS_PER_ROOT: usize = SAMPLES / REGION_ROOTS;

pub(super) fn page() {
    let root = tables::base_root();
    let frame = world::frame();
    let window = tables::address(Place::Window);
    // The tables are present in every sense: each page table has a page that is in use.
    for region in (0..SAMPLES as u64 * PAGE_SIZE * 2).step_by(1 << 21) {
        tables::map(root, window + region, frame, DATA);
        tables::touch(window + region);
    }
    figure("map.page", Mark::MapPage as u16, Span::Whole, 1, |sample| {
        // Every other page, so that none of those above is meant.
        let address = window + (sample as u64 * 2 + 1) * PAGE_SIZE;
        let entry = phys_to_virt(tables::entry_of(root, address, Level::Pt, 0));
        let arguments = [entry, frame | DATA, address, 0, 0, 0, 0, 0, 0];
        // SAFETY: the entry is of a page that nobody uses, and so is the page.
        unsafe { timed!(Mark::MapPage, arguments, "mov [rdi], rsi", "mov [r8], rsi") }.whole()
    });
}

/// Links the lower tables and stores the page's entry: one store per level, then the touch.
pub(super) fn regions() {
    for region in [region_2m, region_1g, region_512g] {
        forget();
        region();
    }
    forget();
}

/// Drops all that is cached, so that nothing has to be reclaimed in the middle of an operation.
fn forget() {
    mmu().flush_all(CpuSet::single(0));
    time::rest();
}

/// Where the entries of each level for `address` stand, and what has to be stored there to map `frame`, using tables
/// that hold nothing else; `tables` are those of levels 1, 2, 3.
fn chain(root: u64, address: u64, frame: u64, lower: [u64; 3], top: Level) -> [u64; 9] {
    let own = tables::entry_of(root, address, top, 0);
    let [pt, pd, pdpt] = lower;
    // Regions begin at index 0 of all lower tables.
    let entries = [pt, pd, pdpt, 0].map(phys_to_virt);
    let mut place = [entries[0], entries[1], entries[2], 0];
    place[top as usize - 1] = phys_to_virt(own);
    let [t1, t2, t3] = lower.map(tables::table_entry);
    [place[0], frame | DATA, place[1], t1, place[2], t2, place[3], t3, address]
}

fn new_tables() -> [u64; 3] {
    [(); 3].map(|()| world::frame())
}

/// Clears what a sample stored into tables that the next one uses again.
fn clear(lower: [u64; 3]) {
    lower.into_iter().for_each(|table| word(table).store(0, Ordering::Relaxed));
}

fn region_2m() {
    let (root, frame, lower) = (tables::base_root(), world::frame(), new_tables());
    // A gigabyte of its own, with one region in use.
    let start = tables::address(Place::Window) + (8 << 30);
    tables::map(root, start, frame, DATA);
    tables::touch(start);
    figure("map.region_2m", Mark::MapRegion2M as u16, Span::Whole, 1, |sample| {
        clear(lower);
        // Two gigabytes are needed: the first sample in the second one finds no directory, and is not the median.
        let address = start + ((sample as u64 + 1) << 21);
        let arguments = chain(root, address, frame, lower, Level::Pd);
        // SAFETY: entries and page are of a region that nobody uses.
        unsafe {
            timed!(Mark::MapRegion2M, arguments, "mov [rdi], rsi", "mov [r8], r9", "mov [r11], rsi").whole()
        }
    });
}

fn region_1g() {
    let (root, frame, lower) = (tables::base_root(), world::frame(), new_tables());
    figure("map.region_1g", Mark::MapRegion1G as u16, Span::Whole, 1, |sample| {
        clear(lower);
        let address = tables::address(Place::Window) + ((sample as u64 + 16) << 30);
        let arguments = chain(root, address, frame, lower, Level::Pdpt);
        // SAFETY: as for the smaller region.
        unsafe {
            timed!(
                Mark::MapRegion1G,
                arguments,
                "mov [rdi], rsi",
                "mov [r8], r9",
                "mov [r10], r14",
                "mov [r11], rsi"
            )
            .whole()
        }
    });
}

fn region_512g() {
    let (frame, lower) = (world::frame(), new_tables());
    let root = Cell::new(0);
    figure("map.region_512g", Mark::MapRegion512G as u16, Span::Whole, 1, |sample| {
        let region = sample % REGIONS_PER_ROOT;
        clear(lower);
        if region == 0 {
            let old = root.replace(tables::new_root());
            tables::load(root.get());
            if old != 0 {
                mmu().table_released(PhysAddr(old), Level::Pml4);
                time::rest();
            }
        }
        let address = tables::address(Place::Empty) + (region as u64) * SLOT_BYTES;
        let arguments = chain(root.get(), address, frame, lower, Level::Pml4);
        // SAFETY: as for the smaller regions.
        unsafe {
            timed!(
                Mark::MapRegion512G,
                arguments,
                "mov [rdi], rsi",
                "mov [r8], r9",
                "mov [r10], r14",
                "mov [r15], rcx",
                "mov [r11], rsi"
            )
            .whole()
        }
    });
    tables::load(tables::base_root());
}

/// Stores 32 entries that stand side by side and populates them, in as few calls as the hypervisor allows; touching the
/// pages then costs nothing.
pub(super) fn populate() {
    let (root, frame) = (tables::base_root(), world::frame());
    let start = tables::address(Place::Window) + (4 << 30);
    let hidden_faults = || world::BLOCK.area.hidden_faults.load(Ordering::Relaxed);
    for region in (0..SAMPLES as u64 * POPULATED * PAGE_SIZE).step_by(1 << 21) {
        tables::map(root, start + region, frame, DATA);
        tables::touch(start + region);
    }
    let mut faults_after = 0;
    figure("map.populate", Mark::Populate as u16, Span::Whole, POPULATED as u32, |sample| {
        let address = start + sample as u64 * POPULATED * PAGE_SIZE;
        let entry = phys_to_virt(tables::entry_of(root, address, Level::Pt, 0));
        let arguments = [
            entry,
            frame | DATA,
            address,
            POPULATED,
            0,
            Mmu::Populate.id().0,
            world::call_stub(),
            POPULATED,
            0,
        ];
        // SAFETY: entries and pages are nobody else's.
        let stamps = unsafe {
            timed!(
                Mark::Populate,
                arguments,
                "2:",
                "mov [rdi], rsi",
                "add rdi, 8",
                "add rsi, r10",
                "dec ecx",
                "jnz 2b",
                // The call may stop early and says how many pages it did.
                "3:",
                "mov eax, r14d",
                "mov rdi, r8",
                "mov rsi, r9",
                "call r15",
                "test eax, eax",
                "jnz 4f",
                "sub r9, rdx",
                "shl rdx, 12",
                "add r8, rdx",
                "test r9, r9",
                "jnz 3b",
                "4:",
            )
        };
        let before = hidden_faults();
        (0..POPULATED).for_each(|page| _ = read(address + page * PAGE_SIZE));
        faults_after += hidden_faults() - before;
        stamps.whole()
    });
    assert!(faults_after == 0, "pages that were populated fault: {faults_after} times");
}

fn read(address: u64) -> u64 {
    // SAFETY: callers name pages that they mapped.
    unsafe { (address as *const u64).read_volatile() }
}

/// A page goes away while many roots are cached: one of the current root's user pages, and a kernel page that all roots
/// share.
pub(super) fn unmap() {
    let roots = [(); ROOTS - 1].map(|()| tables::new_root());
    let base = tables::base_root();
    let (user, common) =
        (tables::address(Place::User) + (1 << 30), tables::address(Place::Common) + (1 << 30));
    let frame = world::frame();
    tables::map(base, common, frame, DATA);
    for root in roots.into_iter().chain([base]) {
        tables::load(root);
        tables::touch(common);
    }
    unmap_one("unmap.user", user, frame | USER_DATA);
    unmap_one("unmap.kernel", common, frame | DATA);
    for root in roots {
        mmu().table_released(PhysAddr(root), Level::Pml4);
    }
}

/// Clears the entry at `$place` and flushes by a call: this vCPU, in the current root.
macro_rules! unmap_by_call {
    ($mark:expr, $place:expr, $address:expr) => {
        timed!(
            $mark,
            [0, 0, $place, 0, $address, Mmu::FlushPage.id().0, world::call_stub(), 0, 0],
            "mov [r8], r9",
            "mov eax, r14d",
            "mov rdi, r10",
            "mov esi, 1",
            "xor edx, edx",
            "call r15"
        )
    };
}

/// The same on the bare machine.
macro_rules! unmap_by_instruction {
    ($mark:expr, $place:expr, $address:expr) => {
        timed!($mark, [0, 0, $place, 0, $address, 0, 0, 0, 0], "mov [r8], r9", "invlpg [r10]")
    };
}

fn unmap_one(name: &str, address: u64, present: u64) {
    let entry = tables::entry_of(tables::base_root(), address, Level::Pt, present & tables::USER);
    let is_guest = world::start_info().is_some();
    let mark = if name == "unmap.user" { Mark::UnmapUser } else { Mark::UnmapKernel };
    figure(name, mark as u16, Span::Whole, 1, |_| {
        word(entry).store(present, Ordering::Relaxed);
        tables::touch(address);
        let place = phys_to_virt(entry);
        // SAFETY: the page is not used any more.
        let stamps = unsafe {
            match (is_guest, mark) {
                (true, Mark::UnmapUser) => unmap_by_call!(Mark::UnmapUser, place, address),
                (true, _) => unmap_by_call!(Mark::UnmapKernel, place, address),
                (false, Mark::UnmapUser) => unmap_by_instruction!(Mark::UnmapUser, place, address),
                (false, _) => unmap_by_instruction!(Mark::UnmapKernel, place, address),
            }
        };
        stamps.whole()
    });
}
