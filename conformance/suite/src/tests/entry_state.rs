//! Behaviour: a domain starts with the registers that are specified, nothing registered, clean memory, and boot tables
//! that nobody needs once it has its own.
//! Reason: what is left over from somebody else is a leak, and what is not promised cannot be relied on.
//! Method: a stub in front of the suite's entry saves all registers and makes the first calls; the tests look at both,
//! at all memory that was never used, and overwrite what may be overwritten.

use crate::harness::Needs::Abi;
use crate::harness::abi::call;
use crate::harness::faults::{self, INVALID_OPCODE};
use crate::harness::tables::{self, load};
use crate::harness::{Report, Test, entry, events, world};
use core::arch::asm;
use core::sync::atomic::Ordering;
use pvops_abi::addr::{PAGE_SIZE, PhysAddr, VirtAddr};
use pvops_abi::boot::BootRegion;
use pvops_abi::call::{Base, Mmu};
use pvops_abi::error::Error;
use pvops_abi::layout::MemoryKind;
use pvops_abi::ops::event::{send, unmask};
use pvops_abi::ops::mmu::{Decoded, Level, Retain, mmu};
use pvops_abi::ops::{cpu, irq};

pub(super) const TESTS: &[Test] = &[
    Test { name: "entry.registers", requirement_ids: &["BOOT-001"], needs: Abi, run: registers },
    Test { name: "entry.extended_state", requirement_ids: &["BOOT-001"], needs: Abi, run: extended_state },
    Test {
        name: "entry.nothing_registered",
        requirement_ids: &["BOOT-002"],
        needs: Abi,
        run: nothing_registered,
    },
    Test { name: "entry.clean_memory", requirement_ids: &["BOOT-004"], needs: Abi, run: clean_memory },
    Test { name: "entry.reclaimed", requirement_ids: &["BOOT-007"], needs: Abi, run: reclaimed },
];

/// The flags at entry, as the processor shows them.
const ENTRY_FLAGS: u64 = 0x202;

fn registers(report: &mut Report) {
    let (at, info) = (entry::registers(), world::hypervisor());
    for value in at.general {
        report.equal("a general register", value, 0);
    }
    report.check(at.rdi.is_multiple_of(8) && at.rdi != 0, "rdi is the address of StartInfo");
    report.equal("rsp, below the boot stack's top", at.rsp, info.boot_stack_base + info.boot_stack_bytes - 8);
    report.equal("the top is a multiple of 16", (at.rsp + 8) % 16, 0);
    report.equal("the word at rsp", at.top_word, 0);
    report.equal("rflags", at.rflags, ENTRY_FLAGS);
    report.equal("FS and GS base", (at.fs_base, at.gs_base), (0, 0));
}

fn extended_state(report: &mut Report) {
    let at = entry::registers();
    let half = |offset: usize| u16::from_le_bytes([at.extended[offset], at.extended[offset + 1]]);
    report.equal("FCW", half(0), 0x37f);
    report.equal("MXCSR", half(24), 0x1f80);
    // x87 and SSE registers, and the upper halves of AVX (Intel SDM volume 1, 10.5 and 13.4).
    let is_zero = |bytes: &[u8]| bytes.iter().all(|byte| *byte == 0);
    report.check(is_zero(&at.extended[32..416]), "x87 and SSE registers are 0");
    report.check(at.xcr0 & 4 == 0 || is_zero(&at.extended[576..]), "AVX registers are 0");
    let offered = u64::from(cpu::cpuid(0xd, 0).eax) | u64::from(cpu::cpuid(0xd, 0).edx) << 32;
    report.equal("XCR0 has everything that is offered", at.xcr0, offered);
}

fn nothing_registered(report: &mut Report) {
    let calls = entry::early_calls();
    report.check(!calls.is_empty(), "calls were made before anything was registered");
    for early in calls {
        report.refused_call(early.id, format_args!("{}", early.what), early.reply, Error::WrongState);
    }
}

/// All free memory that the suite has not used yet.
fn clean_memory(report: &mut Report) {
    let used = world::used_frames();
    let mut words = 0;
    for region in world::boot().regions().iter().filter(|region| region.kind == MemoryKind::Usable) {
        let end = region.start.0 + region.bytes;
        let is_used = used.start <= region.start.0 && region.start.0 < used.end;
        let start = if is_used { used.end } else { region.start.0 };
        for phys in (start..end).step_by(8) {
            let word = world::word(PhysAddr(phys)).load(Ordering::Relaxed);
            if word != 0 {
                return report.equal("a word of memory that is free", (phys, word), (phys, 0));
            }
            words += 1;
        }
    }
    report.check(words > 0, "there is free memory");
    report.remark(format_args!("{} KiB", words / 128));
}

/// With tables of its own, the suite overwrites all that it may and goes on; then it puts everything back.
fn reclaimed(report: &mut Report) {
    irq::disable();
    let root = copy_table(world::boot().boot_root, Level::Pml4);
    mmu().table_allocated(root, Level::Pml4).expect("a frame of memory can be a table");
    load(root, Retain::Drop);
    report.accepted("MMU.FLUSH_ALL", call(Mmu::FlushAll.id(), &[0, u64::MAX, 1]));
    let (stack, nowhere) = (stack_pages(), tables::window());
    let mut saved = [None; 16];
    let regions = world::boot().regions().iter().filter(|region| is_reclaimable(region));
    for (place, region) in saved.iter_mut().zip(regions) {
        let copy = world::frames(region.bytes, PAGE_SIZE).expect("memory for a copy");
        for_each_word(region, &stack, |offset, word| {
            world::word(PhysAddr(copy.0 + offset))
                .store(word.swap(TRASH, Ordering::Relaxed), Ordering::Relaxed);
        });
        *place = Some((region, copy));
    }
    live_on(report, nowhere);
    let mut touched = 0;
    for (region, copy) in saved.into_iter().flatten() {
        for_each_word(region, &stack, |offset, word| {
            let old = world::word(PhysAddr(copy.0 + offset)).load(Ordering::Relaxed);
            touched += u32::from(word.swap(old, Ordering::Relaxed) != TRASH);
        });
    }
    report.equal("words that somebody else wrote", touched, 0);
    report.check(saved[0].is_some(), "there is memory to reclaim");
}

/// In reclaimed memory: no entry of a page table that leads anywhere, no address, no size.
const TRASH: u64 = 0x5a5a_5a5a_5a5a_5a5a;

fn is_reclaimable(region: &BootRegion) -> bool {
    matches!(region.kind, MemoryKind::BootReclaimable | MemoryKind::StartInfo)
}

/// Words of a region but for those of the stack that this runs on.
fn for_each_word(
    region: &BootRegion,
    stack: &[(u64, u64)],
    mut work: impl FnMut(u64, &core::sync::atomic::AtomicU64),
) {
    for offset in (0..region.bytes).step_by(8) {
        let phys = region.start.0 + offset;
        if !stack.iter().any(|(start, end)| (*start..*end).contains(&phys)) {
            work(offset, world::word(PhysAddr(phys)));
        }
    }
}

/// Where the boot stack lies, page by page.
fn stack_pages() -> [(u64, u64); 64] {
    let (base, bytes) = (world::boot().boot_stack.0, world::boot().boot_stack_bytes);
    let mut pages = [(0, 0); 64];
    for (place, offset) in pages.iter_mut().zip((0..bytes).step_by(PAGE_SIZE as usize)) {
        let phys = physical(VirtAddr(base + offset));
        *place = (phys, phys + PAGE_SIZE);
    }
    pages
}

/// The guest-physical address of a page that the boot tables map.
fn physical(address: VirtAddr) -> u64 {
    let (mut table, mut level) = (world::boot().boot_root, Level::Pml4);
    loop {
        match mmu().decode(level, entry_at(table, address.table_index(level as u8) as u64)) {
            Decoded::Table(next) => {
                (table, level) = (next, level.below().expect("tables are above the last"))
            }
            Decoded::Leaf(frame, _) => return frame.0 + (address.0 & (level.entry_bytes() - 1)),
            Decoded::Absent => panic!("the boot stack is mapped"),
        }
    }
}

fn entry_at(table: PhysAddr, index: u64) -> pvops_abi::ops::mmu::Entry {
    pvops_abi::ops::mmu::Entry::from_raw(world::word(PhysAddr(table.0 + index * 8)).load(Ordering::Relaxed))
}

/// A copy of a table and of all tables below it.
fn copy_table(table: PhysAddr, level: Level) -> PhysAddr {
    let copy = world::frame();
    for index in 0..512 {
        let entry = entry_at(table, index);
        let raw = match (mmu().decode(level, entry), level.below()) {
            (Decoded::Table(next), Some(below)) => entry.to_raw() - next.0 + copy_table(next, below).0,
            _ => entry.to_raw(),
        };
        world::word(PhysAddr(copy.0 + index * 8)).store(raw, Ordering::Relaxed);
    }
    copy
}

/// A little of everything: calls, faults, events, roots.
fn live_on(report: &mut Report, nowhere: VirtAddr) {
    report.accepted("BASE.VERSION", call(Base::Version.id(), &[]));
    // SAFETY: faults, and is caught.
    let attempt = faults::catch(|| unsafe { asm!("ud2") });
    report.faults("ud2", attempt, INVALID_OPCODE, 0);
    report.faults("a read of nothing", faults::read(nowhere), faults::PAGE_FAULT, 0);
    report.accepted("MMU.FLUSH_ALL", call(Mmu::FlushAll.id(), &[0, u64::MAX, 1]));
    report.works("a read of memory", faults::read(world::phys_to_virt(world::frame())));
    let Ok(port) = events::bind_own() else { return report.error("no port") };
    unmask(port);
    irq::enable();
    send(port);
    report.check(events::await_deliveries(port, 1), "an event");
    irq::disable();
}
