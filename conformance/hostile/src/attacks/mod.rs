//! The table of attacks. `spec/attacks.md` says what each consists of.

mod calls;
mod entries;
mod exhaustion;
mod frames;
mod instructions;
mod longest;
mod memory;
mod neighbours;
mod ports;
mod random;
mod registered;
mod roots;
mod segments;
mod stops;
mod user;

use crate::harness::{self, events, println, tables, world};

/// What the specification promises of an attack.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Expected {
    /// Each attempt gets its status or fault, and the kernel goes on.
    Survives,
    /// The domain is stopped, with a dump.
    Stopped,
}

/// A row of the table.
struct Attack {
    name: &'static str,
    class: &'static str,
    expected: Expected,
    run: fn(),
}

const fn survives(name: &'static str, class: &'static str, run: fn()) -> Attack {
    Attack { name, class, expected: Expected::Survives, run }
}

const fn stopped(name: &'static str, class: &'static str, run: fn()) -> Attack {
    Attack { name, class, expected: Expected::Stopped, run }
}

const ATTACKS: [Attack; 21] = [
    survives("instructions", "privileged and sensitive instructions, both modes", instructions::run),
    survives("entries", "software interrupts, flags, selectors, far transfers, iret, stacks", entries::run),
    survives("memory", "hypervisor's slots, foreign frames, malformed and moving tables", memory::run),
    survives("calls", "wild arguments, unknown ids, batches, shared structures in bad places", calls::run),
    survives("exhaustion", "pool, roots, ports, deadlines, masked events, yield, console", exhaustion::run),
    survives("user", "a user program against its own kernel", user::run),
    survives("ports", "a user program at its kernel's I/O ports, the kernel beside them", ports::run),
    survives("neighbours", "other domains' memory, roots and channels", neighbours::run),
    survives("ring", "a declared peer, rung without a pause", neighbours::ring),
    survives("rung", "the peer's end of it", neighbours::rung),
    survives("longest", "the longest calls, faults and batches without a pause", longest::run),
    survives("reboot", "a wish to begin anew, at once and again", stops::reboot),
    survives("random", "random calls, tables and user code from a seed", random::run),
    stopped("stop-stack", "a fault on a bad stack, no double-fault stack", stops::stack),
    stopped("stop-double", "a fault on a bad stack, double-fault stack bad too", stops::double),
    stopped("stop-gate", "a fault whose gate is not canonical", stops::gate),
    stopped("stop-handler", "all handlers at the hypervisor's addresses", stops::handler),
    stopped("stop-iret", "iret from a stack in the hypervisor's slots", stops::iret),
    stopped("stop-iret-odd", "iret from a stack that is not a multiple of 8", stops::misaligned_iret),
    stopped("stop-root", "a root without the kernel", stops::root),
    stopped("stop-area", "area, event page and kernel GS overwritten while events fire", stops::area),
];

/// Makes the attacks `names`, which commas separate, or prints the table. False: something was answered wrongly, or there
/// is no such attack.
pub(crate) fn perform(names: &str) -> bool {
    if names == "list" {
        for Attack { name, class, expected, .. } in &ATTACKS {
            let expected = match expected {
                Expected::Survives => "survives",
                Expected::Stopped => "stopped",
            };
            println!("attack: {name} expected {expected}: {class}");
        }
        return true;
    }
    names.split(',').all(perform_one)
}

fn perform_one(name: &str) -> bool {
    let Some(attack) = ATTACKS.iter().find(|attack| attack.name == name) else {
        println!("attack: {name} does not exist");
        return false;
    };
    println!("attack: {name} begins");
    let mark = world::mark();
    let (checks_before, began_ns) = (harness::totals().0, events::now_ns());
    (attack.run)();
    // The tables that it left behind stand in memory that is free again.
    tables::clear_windows();
    world::give_back(mark);
    let (checks, wrong) = harness::totals();
    let checks = checks - checks_before;
    let survived = attack.expected == Expected::Survives && wrong == 0 && checks > 0;
    if survived {
        let ms = (events::now_ns() - began_ns) / 1_000_000;
        println!("attack: {name} survived, {checks} checks in {ms} ms");
    } else {
        println!("attack: {name} failed, {wrong} of {checks} checks wrong");
    }
    survived
}
