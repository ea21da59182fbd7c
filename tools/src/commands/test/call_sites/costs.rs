//! What operations cost, in instructions: QEMU advances the counter by one tick for each.

use std::time::Duration;

use super::super::case::{Context, ensure, expect_status};
use crate::boot::World;
use crate::building;
use crate::elf_file::ElfFile;
use crate::failure::{Failure, Kind};
use crate::machine::Machine;
use crate::results::{self, Run, Value};

/// What `run=ops` measures.
struct Cost {
    name: &'static str,
    /// Instructions that pad the native form.
    padding: u64,
    /// Most that it may take in a guest, patched. Operations that call the hypervisor are bounded elsewhere.
    in_guest: Option<u64>,
}

const COSTS: [Cost; 13] = [
    Cost { name: "op_irq_enable", padding: 1, in_guest: Some(3) },
    Cost { name: "op_irq_are_enabled", padding: 1, in_guest: Some(1) },
    Cost { name: "op_irq_save_and_restore", padding: 0, in_guest: Some(9) },
    Cost { name: "op_irq_disable", padding: 1, in_guest: Some(1) },
    Cost { name: "op_irq_save_and_disable", padding: 0, in_guest: Some(4) },
    Cost { name: "op_cpu_current", padding: 0, in_guest: Some(1) },
    Cost { name: "op_cpu_block", padding: 0, in_guest: Some(1) },
    Cost { name: "op_cpu_spin_hint", padding: 1, in_guest: Some(2) },
    Cost { name: "op_cpu_user_access", padding: 2, in_guest: Some(2) },
    Cost { name: "op_time_now_ns", padding: 0, in_guest: Some(20) },
    Cost { name: "op_mmu_load_root", padding: 1, in_guest: None },
    Cost { name: "op_mmu_flush_page", padding: 1, in_guest: None },
    // With what stands around it in the handler of the event.
    Cost { name: "op_irq_wait_with_event", padding: 4, in_guest: None },
];

/// Native patched is native hard-coded, padding aside; patched is never dearer than unpatched.
pub(super) fn each(context: &Context, limit: Duration) -> Result<(), Failure> {
    let demo = &context.kernels()?.demo;
    let hard_coded = hard_coded(context)?;
    let runs = [
        ("hard-coded", World::Native, &hard_coded, "run=ops"),
        ("native", World::Native, demo, "run=ops"),
        ("native unpatched", World::Native, demo, "run=ops patch=off"),
        ("guest", World::Hypervisor, demo, "run=ops"),
        ("guest unpatched", World::Hypervisor, demo, "run=ops patch=off"),
    ];
    let mut measured = Vec::new();
    for (title, world, kernel, cmdline) in runs {
        let values = Ok(count(context, world, kernel, cmdline, limit)?);
        measured.push(Run { title: title.into(), values });
    }
    let ticks = |run: usize, name: &str| {
        measured[run]
            .values
            .as_ref()
            .ok()
            .and_then(|values| results::number(values, name))
            .unwrap_or(u64::MAX)
    };
    let is_right = |cost: &Cost| {
        let [raw, native, native_unpatched, guest, guest_unpatched] =
            [0, 1, 2, 3, 4].map(|run| ticks(run, cost.name));
        let exact = cost.name != "op_irq_wait_with_event";
        let is_native = if exact { native == raw + cost.padding } else { native <= raw + cost.padding };
        is_native
            && native_unpatched != u64::MAX
            && native < native_unpatched
            && guest < guest_unpatched
            && cost.in_guest.is_none_or(|most| guest <= most)
    };
    let wrong: Vec<&str> = COSTS.iter().filter(|cost| !is_right(cost)).map(|cost| cost.name).collect();
    ensure(wrong.is_empty(), format_args!("{wrong:?}:\n{}", results::table(&measured)))
}

/// The whole workload, within a thousandth.
pub(super) fn whole_demo(context: &Context, limit: Duration) -> Result<(), Failure> {
    let busy = |kernel: &ElfFile| {
        let values = count(context, World::Native, kernel, "run=demo", limit)?;
        results::number(&values, "busy")
            .ok_or_else(|| Failure::new(Kind::CheckFailed, "the demo does not say how long it was busy"))
    };
    let hard_coded = busy(&hard_coded(context)?)?;
    let patched = busy(&context.kernels()?.demo)?;
    let difference = patched.abs_diff(hard_coded);
    ensure(
        difference * 1000 <= hard_coded,
        format_args!("{patched} instructions, hard-coded {hard_coded}: {difference} apart"),
    )
}

fn hard_coded(context: &Context) -> Result<ElfFile, Failure> {
    ElfFile::read(&building::hard_coded_demo(&context.workspace)?)
}

/// Runs the kernel with counted instructions, to the verdict `ok`.
fn count(
    context: &Context,
    world: World,
    kernel: &ElfFile,
    cmdline: &str,
    limit: Duration,
) -> Result<Vec<Value>, Failure> {
    let contents = world.contents(kernel, &context.kernels()?.hypervisor, cmdline)?;
    let machine = Machine { icount: true, ..Machine::default() };
    let ended = context.start(&contents, &machine, limit)?.finish()?;
    expect_status(&ended, 0)?;
    Ok(results::parse(&ended.console))
}
