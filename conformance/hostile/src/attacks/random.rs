//! Random calls, page tables, accesses and user programs, all from a seed that is printed: `seed=` repeats a run,
//! `count=` says how many calls; those that only put things back do not count. `count=0` never ends. `vary=1` mixes the
//! clock into the seed, so that a domain that begins anew does other things.

use super::calls;
use crate::harness::attempt::{self, BOTH, Mode, code};
use crate::harness::tables::{self, FRAME, P};
use crate::harness::{call, check, check_status, events, option, println, register_again, world};
use pvops_abi::call::{Base, CallId, Console, Cpu, Event, Mmu, Time};
use pvops_abi::layout::PortKind;

const DEFAULT_SEED: u64 = 0x70_766f_7073;
const DEFAULT_COUNT: u64 = 250_000;
/// Calls from one line on the console to the next.
const REPORTED: u64 = 10_000;
/// A random program runs at most this long.
const PROGRAM_NS: u64 = 200_000;
/// Frames that random tables and data stand in.
const ARENA_FRAMES: u64 = 64;
const ROOTS: u64 = 12;

/// xorshift64*: the next number.
pub(super) fn next(seed: &mut u64) -> u64 {
    *seed ^= *seed >> 12;
    *seed ^= *seed << 25;
    *seed ^= *seed >> 27;
    seed.wrapping_mul(0x2545_f491_4f6c_dd1d)
}

struct Run {
    seed: u64,
    arena: u64,
    roots: [u64; ROOTS as usize],
    words: [u64; 40],
    timer: u64,
}

pub(super) fn run() {
    let mut seed = option("seed", DEFAULT_SEED).max(1);
    if option("vary", 0) != 0 {
        seed = next(&mut seed) ^ events::now_ns();
    }
    let count = option("count", DEFAULT_COUNT);
    println!("random: seed={seed:#x} count={count}");
    let arena = world::frames(ARENA_FRAMES * 4096, 4096);
    let mut run = Run {
        seed,
        arena,
        roots: core::array::from_fn(|_| tables::copy_of_base_root()),
        words: calls::words(arena),
        timer: 0,
    };
    run.bind_timer();
    let mut statuses = [0u64; 9];
    let mut made = 0;
    for number in 0.. {
        if made == count && count != 0 {
            break;
        }
        match next(&mut run.seed) % 64 {
            0..=45 => {
                let Some(status) = run.random_call() else { continue };
                check_status(status, format_args!("step {number}"));
                statuses[status.unsigned_abs() as usize % 9] += 1;
                made += 1;
                if made.is_multiple_of(REPORTED) {
                    println!("random: {made} calls made");
                }
            }
            46..=53 => run.random_entry(),
            54..=61 => run.random_access(number),
            _ => run.random_program(number),
        }
    }
    println!("random: statuses {statuses:?}, {} upcalls", events::count());
    tables::load_base_root();
    register_again();
}

impl Run {
    fn next(&mut self) -> u64 {
        next(&mut self.seed)
    }

    /// A word out of the list, near one of it, small, in the arena, or any.
    fn word(&mut self) -> u64 {
        let word = self.words[self.next() as usize % self.words.len()];
        match self.next() % 8 {
            0..=2 => word,
            3 => word.wrapping_add(self.next() % 17).wrapping_sub(8),
            4 => self.next() % 70,
            5 | 6 => self.arena + self.next() % (ARENA_FRAMES * 512) * 8,
            _ => self.next(),
        }
    }

    /// Any call that does not end this guest by itself, or none. What it stands on is registered again where it was changed.
    fn random_call(&mut self) -> Option<i64> {
        let id = match self.next() % 16 {
            0 => CallId(self.word()),
            1 => CallId(((self.next() % 8) << 16) | (self.next() % 12)),
            2 => Mmu::LoadRoot.id(),
            3 => Console::Write.id(),
            _ => calls::CALLS[self.next() as usize % calls::CALLS.len()],
        };
        let mut arguments: [u64; 6] = core::array::from_fn(|_| self.word());
        // iret, block and shutdown are not for here; neither is writing over this guest's own code.
        match id {
            id if matches!(id.0, 0x2_0004 | 0x7_0001 | 0x7_0002) => return None,
            id if id == Mmu::LoadRoot.id() => {
                arguments[0] = match self.next() % 8 {
                    0 => self.bad_root(),
                    _ => self.roots[self.next() as usize % self.roots.len()],
                };
                arguments[1] &= 3;
                arguments[2] = u64::from(self.next().is_multiple_of(16));
            }
            id if id == Base::Batch.id() => return Some(self.random_batch()),
            id if id == Cpu::Cpuid.id() => arguments[2] = self.harmless(arguments[2]),
            id if id == Console::Write.id() => {
                arguments[1] = u64::from(self.next().is_multiple_of(8)) * self.next()
            }
            id if id == Console::Read.id() => arguments[0] = self.arena,
            id if id == Event::RegisterPage.id() || id == Cpu::RegisterArea.id() => {
                arguments[0] = self.harmless(arguments[0]);
            }
            id if id == Mmu::SetCommonSlots.id() && !self.next().is_multiple_of(64) => return None,
            _ => {}
        }
        let status = call(id, &arguments).status;
        if id.0 >> 16 == 2 && status == 0 {
            register_again();
        }
        Some(status)
    }

    /// An address that is the arena's, or not in memory at all.
    fn harmless(&mut self, address: u64) -> u64 {
        let is_ours = (self.arena..self.arena + ARENA_FRAMES * 4096 - 64).contains(&address);
        if is_ours || address >= world::memory_end() { address } else { self.arena }
    }

    fn bad_root(&mut self) -> u64 {
        let word = self.word();
        if word.is_multiple_of(4096) && word < world::memory_end() { word + 8 } else { word }
    }

    /// A batch of calls that store nothing but their own status.
    fn random_batch(&mut self) -> i64 {
        let list = self.arena + self.next() % (ARENA_FRAMES - 2) * 4096 + self.next() % 64 * 8;
        let count = self.next() % 70;
        let harmless = [
            Time::Clock.id(),
            Base::Probe.id(),
            Event::Send.id(),
            Mmu::FlushPage.id(),
            Mmu::FlushRange.id(),
            Mmu::FlushAll.id(),
            Mmu::Populate.id(),
            Base::Batch.id(),
            CallId(u64::MAX),
            Event::Unmask.id(),
        ];
        for index in 0..count.min(64) {
            let id = harmless[self.next() as usize % harmless.len()];
            world::put(list + index * 72, id.0);
            for place in 1..7 {
                let word = self.word();
                world::put(list + index * 72 + place * 8, word);
            }
        }
        call(Base::Batch.id(), &[list, count]).status
    }

    /// Writes an entry somewhere into the arena, which all experimental slots of all roots lead into.
    fn random_entry(&mut self) {
        let place = self.arena + self.next() % (ARENA_FRAMES * 512) * 8;
        let flags = self.next() & 0x8000_0000_0000_0fff;
        let frame = match self.next() % 8 {
            0..=4 => self.arena + self.next() % ARENA_FRAMES * 4096,
            5 => self.arena & !0x1f_ffff,
            6 => self.word(),
            _ => self.next(),
        };
        // Write rights only where the frame cannot be of this guest's own memory.
        let is_arena = (self.arena..self.arena + ARENA_FRAMES * 4096).contains(&(frame & FRAME));
        let rights = if is_arena && flags & tables::PS == 0 { 7 } else { 5 };
        world::put(place, (frame & FRAME) | flags & !7 & !tables::PS | rights & self.next() | P);
        if self.next().is_multiple_of(4) {
            // A large page, never writable: it may show what is behind the arena.
            world::put(place, (frame & FRAME & !0x1f_ffff) | flags & !2 | tables::PS);
        }
        let root = self.roots[self.next() as usize % self.roots.len()];
        let slot = tables::WINDOW_SLOT + self.next() % 8;
        let table = self.arena + self.next() % ARENA_FRAMES * 4096;
        world::put(root + slot * 8, table | 5 | self.next() & 2);
    }

    fn random_address(&mut self) -> u64 {
        let indices = self.next();
        match indices % 16 {
            0 => self.word(),
            1 => self.next(),
            _ => {
                (tables::WINDOW_SLOT + indices / 16 % 8) * tables::SLOT_BYTES + (self.next() & 0x7f_ffff_ffff)
            }
        }
    }

    fn random_access(&mut self, number: u64) {
        let mode = BOTH[self.next() as usize % 2];
        let table =
            [code!("mov rax, [rdi]"), code!("lock or qword ptr [rdi], 0"), code!("mov rcx, 16", "rep movsb")];
        let code = table[self.next() as usize % table.len()];
        let mut state = attempt::snippet(mode, code);
        state.rdi = if mode == Mode::Kernel { self.kernel_address() } else { self.random_address() };
        state.rsi = self.random_address();
        let trap = attempt::run(&state);
        check(
            matches!(trap.vector, 4 | 12 | 13 | 14),
            format_args!("access {number}: vector {}", trap.vector),
        );
    }

    /// Where the kernel writes: the experimental slots, through which only the arena is writable.
    fn kernel_address(&mut self) -> u64 {
        let slot = tables::WINDOW_SLOT + self.next() % 8;
        slot * tables::SLOT_BYTES + (self.next() & 0x7f_ffff_fff8)
    }

    /// Random bytes in user mode, with random registers; the deadline ends what does not end.
    fn random_program(&mut self, number: u64) {
        let mut program = [0; 48];
        for byte in &mut program {
            *byte = self.next() as u8;
        }
        let mut state = attempt::bytes(Mode::User, &program);
        for register in
            [&mut state.rax, &mut state.rbx, &mut state.rcx, &mut state.rdx, &mut state.rsi, &mut state.r8]
        {
            *register = self.word();
        }
        state.rflags = self.next() & 0x3f_fcff;
        if self.next().is_multiple_of(4) {
            state.rsp = self.word();
        }
        self.bind_timer();
        events::set_deadline(events::now_ns() + PROGRAM_NS);
        let trap = attempt::run_until_event(&state);
        events::set_deadline(u64::MAX);
        let from_user = trap.is_user() || trap.vector == 13;
        check(from_user, format_args!("program {number}: vector {}", trap.vector));
    }

    /// The port may have been unbound by a call, or its mask changed.
    fn bind_timer(&mut self) {
        call(Event::Unbind.id(), &[self.timer]);
        // Any port may be the timer's by now.
        (1..64).for_each(events::unbind);
        check_status(
            call(Event::RegisterPage.id(), &[events::page()]).status,
            format_args!("the event page"),
        );
        register_again();
        self.timer = events::bind(PortKind::Timer);
        check(self.timer != 0, format_args!("the timer's port"));
    }
}
