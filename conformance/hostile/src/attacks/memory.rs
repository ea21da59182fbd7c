//! Addresses and tables: the hypervisor's slots, frames that are not ours, tables that are malformed, that are data as
//! well, that change under the walk.

use super::roots;
use crate::harness::attempt::{self, BOTH, DONE, Mode, code};
use crate::harness::tables::{self, FRAME, G, P, PS, U, W};
use crate::harness::{call, check, check_locked, check_status, check_trap, check_vector, world};
use pvops_abi::call::Mmu;
use pvops_abi::layout::TrapFrame;

/// Page-fault error code: protection, write, user, reserved, fetch.
const USER: u64 = 4;
const RESERVED: u64 = 1 | 8;

pub(super) fn run() {
    hypervisor_slots();
    foreign_frames();
    reserved_bits();
    loops();
    tables_as_data();
    freed_tables();
    in_place();
    roots::run();
    tables::load_base_root();
    tables::flush_everything();
}

/// The mode's bit of an error code.
const fn user_bit(mode: Mode) -> u64 {
    match mode {
        Mode::Kernel => 0,
        Mode::User => USER,
    }
}

pub(super) fn read(mode: Mode, address: u64) -> TrapFrame {
    let mut state = attempt::snippet(mode, code!("mov rax, [rdi]"));
    state.rdi = address;
    attempt::run(&state)
}

fn write(mode: Mode, address: u64) -> TrapFrame {
    let mut state = attempt::snippet(mode, code!("mov [rdi], rsi"));
    state.rdi = address;
    state.rsi = 0x5a;
    attempt::run(&state)
}

/// Everything that the hypervisor may have there, and the edges; the guest's own tables say that it may.
fn hypervisor_slots() {
    let reserved = world::start_info().reserved_ranges[0];
    let root = tables::base_root();
    for slot in 256..272 {
        world::put(root + slot * 8, world::frames(4096, 4096) | P | W | U);
    }
    tables::flush_everything();
    let giga = 1u64 << 30;
    let slot = tables::SLOT_BYTES;
    let bases =
        [0, giga, 2 * giga, 3 * giga, slot, 2 * slot, 3 * slot, 4 * slot, 5 * slot, 6 * slot, 15 * slot];
    let offsets = [0, 8, 0xff8, 0x1000, 0x2000, 0x4ff8, 0x7ff8, 0x1_0000, 0x20_0000, 0x20_0f00, 0x1000_0000];
    let movs = code!("rep movsb");
    let locked = code!("lock cmpxchg [rdi], rdx");
    for base in bases {
        for offset in offsets {
            let address = reserved.start + base + offset;
            for mode in BOTH {
                let bit = user_bit(mode);
                check_trap(&read(mode, address), 14, bit, format_args!("read of {address:#x}"));
                check_trap(&write(mode, address), 14, bit | 2, format_args!("write to {address:#x}"));
                let mut state = attempt::state(mode);
                state.rip = address;
                check_trap(&attempt::run(&state), 14, bit | 0x10, format_args!("jump to {address:#x}"));
                let mut state = attempt::snippet(mode, locked);
                state.rdi = address;
                check_locked(&attempt::run(&state), bit, format_args!("locked write to {address:#x}"));
                let mut state = attempt::snippet(mode, movs);
                (state.rsi, state.rdi, state.rcx) = (address, state.rdi, 16);
                check_trap(&attempt::run(&state), 14, bit, format_args!("copy from {address:#x}"));
            }
            for id in [Mmu::Populate, Mmu::FlushPage, Mmu::FlushRange] {
                let reply =
                    call(id.id(), &[address, if id == Mmu::FlushPage { 0 } else { 64 }, u64::MAX, u64::MAX]);
                check_status(reply.status, format_args!("{id:?} of {address:#x}"));
                check(id != Mmu::Populate || reply.value == 0, format_args!("populate of {address:#x}"));
            }
        }
    }
    for mode in BOTH {
        for address in
            [reserved.last, reserved.last - 3, reserved.start - 4, 0x7fff_ffff_fffc, 0x8000_0000_0000]
        {
            check_vector(&read(mode, address), &[12, 13, 14], format_args!("read across {address:#x}"));
            check_vector(&write(mode, address), &[12, 13, 14], format_args!("write across {address:#x}"));
        }
    }
    for slot in 256..272 {
        world::put(root + slot * 8, world::get(world::boot().boot_root.0 + slot * 8));
    }
}

/// Leaves of each size, and tables of each level, at frames that this domain does not have.
fn foreign_frames() {
    let end = world::memory_end();
    let root = tables::base_root();
    let frames = [
        0,
        end,
        end + 0x1000,
        end * 2,
        0xfec0_0000,
        0xfee0_0000,
        1 << 30,
        1 << 40,
        FRAME,
        FRAME & !0x3fff_ffff,
    ];
    for level in 1..=4u8 {
        let address = tables::WINDOW + tables::SLOT_BYTES;
        let place = tables::entry(root, address, level);
        let old = world::get(place);
        for frame in frames {
            for large in [0, PS] {
                if level == 4 && large == PS || level == 1 && large == PS {
                    continue;
                }
                let is_leaf = level == 1 || large == PS;
                let span = if is_leaf { 1 << (12 + 9 * (level - 1)) } else { 4096 };
                let frame = frame & !(span - 1);
                world::put(place, frame | large | P | W | U);
                // A large page that begins in our memory holds some of it.
                let may_work = is_leaf && frame < end && level > 1;
                tables::flush_everything();
                for mode in BOTH {
                    for offset in [0, 0x1000 & (span - 1), span - 4096] {
                        let what =
                            format_args!("level {level} entry {:#x} at {offset:#x}", world::get(place));
                        let inside = may_work && (4096..end).contains(&(frame + offset));
                        let expected = if inside { &[DONE][..] } else { &[14] };
                        let trap = read(mode, address + offset);
                        // Reading page 0's neighbour is fine; writing would be our own funeral.
                        if is_leaf || offset == 0 {
                            check_vector(&trap, expected, what);
                            check(trap.vector != 14 || trap.error_code == RESERVED | user_bit(mode), what);
                        } else {
                            check_vector(&trap, &[DONE, 14], what);
                        }
                    }
                }
            }
        }
        world::put(place, old);
    }
    tables::flush_everything();
}

fn reserved_bits() {
    let root = tables::base_root();
    let address = tables::WINDOW + tables::SLOT_BYTES;
    for (level, bits) in [(2u8, 13..21), (3, 13..30), (4, 7..8)] {
        let place = tables::entry(root, address, level);
        let old = world::get(place);
        for bit in bits {
            world::put(place, 1 << bit | PS | P | W | U);
            tables::flush_everything();
            for mode in BOTH {
                let what = format_args!("reserved bit {bit} at level {level} in {mode:?} mode");
                check_trap(&read(mode, address), 14, RESERVED | user_bit(mode), what);
                check_trap(&write(mode, address), 14, RESERVED | 2 | user_bit(mode), what);
            }
        }
        world::put(place, old);
    }
    // Ignored ones, and all attributes at once.
    let frame = world::frame();
    for bit in [3, 4, 8, 9, 10, 11, 52, 58, 59, 62] {
        tables::map(root, address, frame, 1 << bit | W | U);
        tables::flush_everything();
        for mode in BOTH {
            check_vector(&write(mode, address), &[DONE], format_args!("ignored bit {bit} in {mode:?} mode"));
        }
    }
    tables::flush_everything();
}

/// Tables that point at themselves and at tables above them; each level can be the leaf's.
fn loops() {
    let root = tables::copy_of_base_root();
    let slot = tables::WINDOW_SLOT + 3;
    world::put(root + slot * 8, root | P | W | U);
    check(tables::load(root, 0) == 0, format_args!("a root that contains itself"));
    let index = slot;
    let through = |levels: u32| {
        (0..4).fold(0u64, |address, level| {
            address << 9 | if level < levels { index } else { tables::WINDOW_SLOT + 15 }
        }) << 12
    };
    for levels in 1..=4 {
        for mode in BOTH {
            for offset in [0, slot * 8, 0xff8] {
                let address = through(levels) + offset;
                check_vector(
                    &read(mode, address),
                    &[DONE, 14],
                    format_args!("read through the loop at {address:#x}"),
                );
            }
        }
    }
    // The word of the loop itself, written through the loop with what it holds.
    let at = through(4) + slot * 8;
    let trap = read(Mode::Kernel, at);
    check(
        trap.vector == DONE && trap.rax & FRAME == root,
        format_args!("the loop's own entry: {:#x}", trap.rax),
    );
    let mut state = attempt::snippet(
        Mode::Kernel,
        code!("mov rax, [rdi]", "mov [rdi], rax", "lock and qword ptr [rdi], -97"),
    );
    state.rdi = at;
    check_vector(&attempt::run(&state), &[DONE], format_args!("a write through the loop to the loop"));
    tables::flush_everything();
    // A ring of three tables, the last of which is a table and a leaf of itself.
    let ring = [world::frame(), world::frame(), world::frame()];
    for (index, table) in ring.into_iter().enumerate() {
        for entry in 0..512 {
            world::put(table + entry * 8, ring[(index + entry as usize) % 3] | P | W | U);
        }
    }
    world::put(root + (slot + 1) * 8, ring[0] | P | W | U);
    for step in 0..256u64 {
        let address =
            (slot + 1) * tables::SLOT_BYTES + ((step * 0x1234_5678_9000) & (tables::SLOT_BYTES - 8));
        for mode in BOTH {
            check_vector(&read(mode, address), &[DONE, 14], format_args!("the ring at {address:#x}"));
        }
    }
    // Writes destroy the ring while it is walked.
    for step in 0..256u64 {
        let address =
            (slot + 1) * tables::SLOT_BYTES + ((step * 0x0765_4321_9008) & (tables::SLOT_BYTES - 8));
        check_vector(
            &write(BOTH[step as usize % 2], address),
            &[DONE, 14],
            format_args!("a write at {address:#x}"),
        );
    }
    tables::load_base_root();
    tables::flush_everything();
    check_status(call(Mmu::ReleaseRoot.id(), &[root]).status, format_args!("release"));
}

/// A page table whose own frame it maps: the guest writes entries through themselves, with flush and without.
fn tables_as_data() {
    let root = tables::base_root();
    let base = tables::WINDOW + 4 * tables::SLOT_BYTES;
    let table = tables::entry(root, base, 1) & FRAME;
    let frames = world::frames(16 * 4096, 4096);
    let poke = code!("mov [rdi], rsi", "mov rax, [rdx]");
    world::put(table + 511 * 8, table | P | W | U);
    for round in 0..512u64 {
        let index = round * 7 % 511;
        let entry = match round % 5 {
            0 => 0,
            1 => world::memory_end() | P | W | U,
            2 => table | P | U,
            3 => u64::MAX,
            _ => (frames + round % 16 * 4096) | P | W | U | G,
        };
        for mode in BOTH {
            let mut state = attempt::snippet(mode, poke);
            state.rdi = base + 511 * 4096 + index * 8;
            state.rsi = entry;
            state.rdx = base + index * 4096;
            check_vector(
                &attempt::run(&state),
                &[DONE, 14],
                format_args!("entry {entry:#x} written through itself"),
            );
            if round % 3 == 0 {
                tables::flush(state.rdx);
                let works = matches!(round % 5, 2 | 4);
                check_vector(
                    &read(mode, state.rdx),
                    if works { &[DONE] } else { &[14] },
                    format_args!("{entry:#x}"),
                );
            }
        }
    }
    world::put(table + 511 * 8, 0);
    tables::flush_everything();
}

/// Roots and tables are freed and filled with data while they are loaded or cached, without a flush; then used again.
fn freed_tables() {
    let address = tables::WINDOW + 5 * tables::SLOT_BYTES;
    let secret = world::frame();
    world::put(secret, 0x5ec2e7);
    let mark = world::mark();
    for round in 0..64u64 {
        world::give_back(mark);
        let root = tables::copy_of_base_root();
        tables::map(root, address, secret, W | U);
        check(tables::load(root, round & 1) == 0, format_args!("round {round}"));
        check_vector(&read(BOTH[round as usize % 2], address), &[DONE, 14], format_args!("a cached page"));
        let leaf = tables::entry(root, address, 1);
        // The page table becomes data, while the root is loaded.
        for word in 0..512 {
            world::put((leaf & FRAME) + word * 8, (word * 0x0101_0101_0101_0101) ^ round);
        }
        for mode in BOTH {
            check_vector(&read(mode, address), &[DONE, 14], format_args!("a page behind a freed table"));
            check_vector(&write(mode, address + 0x5000), &[DONE, 14], format_args!("its neighbour"));
        }
        tables::load_base_root();
        // The root becomes data too; sometimes the hypervisor hears of it.
        if round % 4 == 0 {
            check(call(Mmu::ReleaseRoot.id(), &[root]).status == 0, format_args!("release of a root"));
            check_status(
                call(Mmu::ReleaseRoot.id(), &[root]).status,
                format_args!("release of a released root"),
            );
        }
        for word in 0..512 {
            world::put(root + word * 8, !word);
        }
    }
    check(
        call(Mmu::ReleaseRoot.id(), &[tables::base_root()]).status == -4,
        format_args!("release of the loaded root"),
    );
    tables::flush_everything();
}

/// Entries that change between small, large and table in place, flushed by one address of many, or not at all.
fn in_place() {
    let root = tables::base_root();
    let address = tables::WINDOW + 6 * tables::SLOT_BYTES;
    let memory = world::frames(4 << 20, 2 << 20);
    let directory = tables::entry(root, address, 2);
    let pointer = tables::entry(root, address, 3);
    let table = world::frame();
    for index in 0..512 {
        world::put(table + index * 8, (memory + (index ^ 1) * 4096) | P | W | U);
    }
    let kept = world::get(pointer);
    for round in 0..256u64 {
        let entry = [
            memory | PS | P | W | U,
            table | P | W | U,
            (memory + (2 << 20)) | PS | P | U,
            memory | PS | P | W,
            0,
        ];
        let entry = entry[round as usize % 5];
        world::put(directory, entry);
        if round % 7 == 0 {
            world::put(pointer, PS | P | U | W);
        }
        let at = address + ((round * 0x3_7000) & 0x1f_f000);
        if round % 2 == 0 {
            tables::flush(at ^ 0x10_0000);
        }
        for mode in BOTH {
            check_vector(&read(mode, at), &[DONE, 14], format_args!("round {round}: read"));
            // Under the 1 GiB page every address is some of our memory, the kernel's too: no writes there.
            if round % 7 != 0 {
                let mut state = attempt::snippet(mode, code!("rep movsb"));
                (state.rsi, state.rdi, state.rcx) = (at, (at + 0x1ff0) | 0xff0, 4096);
                if state.rdi >> 21 == at >> 21 && state.rdi + 4096 < address + (2 << 20) {
                    check_vector(&attempt::run(&state), &[DONE, 14], format_args!("round {round}: copy"));
                }
            }
        }
        if round % 7 == 0 {
            world::put(pointer, kept);
            tables::flush(address);
        }
    }
    world::put(directory, 0);
    tables::flush_everything();
}
