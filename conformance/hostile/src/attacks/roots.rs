//! Roots full of garbage, and the MMU's calls with every odd argument.

use super::memory::read;
use crate::harness::attempt::{BOTH, DONE, Mode};
use crate::harness::tables::{self, NX, P, U, W};
use crate::harness::{call, check, check_status, check_vector, world};
use pvops_abi::call::Mmu;

pub(super) fn run() {
    garbage_roots();
    odd_arguments();
}

/// Roots in which everything but the kernel's own slots is garbage.
fn garbage_roots() {
    let garbage = world::frames(8 * 4096, 4096);
    let mut seed = 0x1234_5678_9abc_def1;
    for word in 0..8 * 512 {
        let value = super::random::next(&mut seed);
        let table = garbage + (value >> 13 & 7) * 4096;
        world::put(
            garbage + word * 8,
            if value & 3 == 0 { value } else { table | value & 0x8000_0000_0000_0fff | P },
        );
    }
    let root = world::frame();
    for index in 0..512 {
        let kept = world::get(tables::base_root() + index * 8);
        let ours = index == tables::USER_SLOT
            || index == tables::WINDOW_SLOT + 15
            || (272..512).contains(&index) && kept != 0;
        world::put(root + index * 8, if ours { kept } else { world::get(garbage + index * 8) });
    }
    let low_kernel = world::boot().kernel_start.0 / tables::SLOT_BYTES;
    check(low_kernel >= 256, format_args!("the kernel is in the upper half"));
    check(tables::load(root, 0) == 0, format_args!("a garbage root"));
    for _ in 0..1500 {
        let address = super::random::next(&mut seed) as i64 >> 17;
        let slot = (address as u64 >> 39) & 0x1ff;
        if slot == tables::USER_SLOT || slot == tables::WINDOW_SLOT + 15 || slot >= 272 {
            continue;
        }
        let mode = BOTH[(address & 1) as usize];
        check_vector(
            &read(mode, address as u64 & !7),
            &[DONE, 13, 14],
            format_args!("garbage at {address:#x}"),
        );
    }
    for bad in [0, 8, 1, 0xfff, world::memory_end(), world::memory_end() - 2048, u64::MAX, !0xfff, 1 << 52] {
        check(tables::load(bad, 0) == -3, format_args!("root {bad:#x}"));
    }
    tables::load_base_root();
    tables::flush_everything();
}

fn odd_arguments() {
    let addresses = [
        0,
        1,
        0xfff,
        tables::WINDOW,
        0x7fff_ffff_f000,
        0x7fff_ffff_ffff,
        0x8000_0000_0000,
        1 << 63,
        0xffff_7fff_ffff_f000,
        0xffff_8000_0000_0000,
        0xffff_87ff_ffff_ffff,
        0xffff_8800_0000_0000,
        u64::MAX - 4095,
        u64::MAX,
    ];
    let sizes = [
        0,
        1,
        63,
        64,
        65,
        4095,
        4096,
        64 * 4096,
        65 * 4096,
        1 << 39,
        1 << 47,
        1 << 63,
        u64::MAX - 4096,
        u64::MAX,
    ];
    for address in addresses {
        for size in sizes {
            let reply = call(Mmu::Populate.id(), &[address, size]);
            check_status(reply.status, format_args!("populate {address:#x} {size:#x}"));
            check(reply.value <= size, format_args!("populate {address:#x} {size:#x}: {}", reply.value));
            for set in [
                [0, u64::MAX],
                [1, 0],
                [0, 0],
                [2, 0],
                [1 << 63, 0],
                [1, u64::MAX - 1],
                [1, 63],
                [u64::MAX, 1],
            ] {
                let reply = call(Mmu::FlushRange.id(), &[address, size, set[0], set[1]]);
                check_status(reply.status, format_args!("flush of {address:#x} {size:#x} {set:x?}"));
            }
        }
        for set in [[1, 0], [0, u64::MAX], [u64::MAX, 0], [1, 1]] {
            check_status(
                call(Mmu::FlushPage.id(), &[address, set[0], set[1]]).status,
                format_args!("{address:#x}"),
            );
        }
    }
    for flags in [2, 3, 1 << 63, u64::MAX] {
        check(
            call(Mmu::FlushAll.id(), &[0, u64::MAX, flags]).status == -2,
            format_args!("flush flags {flags:#x}"),
        );
        check(tables::load(tables::base_root(), flags) == -2, format_args!("root flags {flags:#x}"));
    }
    // Every slot common, every second one, the hypervisor's, and ours: refused or done, and undone.
    let bitmap = world::frame();
    for words in [
        [u64::MAX; 8],
        [0x5555_5555_5555_5555; 8],
        [0, 0, 0, 0, 0xffff, 0, 0, 0],
        [1 << 2, 0, 0, 0, u64::MAX, 0, 0, 0],
        [1 << 4 | 1 << 63, 0, 0, 0, 0, 0, 0, 0],
        [0; 8],
    ] {
        for (index, word) in words.into_iter().enumerate() {
            world::put(bitmap + index as u64 * 8, word);
        }
        check_status(
            call(Mmu::SetCommonSlots.id(), &[bitmap]).status,
            format_args!("common slots {words:x?}"),
        );
        check_vector(
            &read(Mode::Kernel, tables::WINDOW),
            &[14],
            format_args!("with common slots {words:x?}"),
        );
        tables::map(tables::base_root(), tables::WINDOW, bitmap, W | U | NX);
        check_vector(&read(Mode::Kernel, tables::WINDOW), &[DONE], format_args!("a page in them"));
        check_vector(&read(Mode::User, tables::WINDOW), &[DONE, 14], format_args!("a user page in them"));
        world::put(tables::entry(tables::base_root(), tables::WINDOW, 1), 0);
        tables::flush_everything();
    }
}
