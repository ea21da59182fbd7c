//! Guests that must work: the demo in all worlds, power-off, the smallest guest.

use std::time::Duration;

use super::case::{BOOT_LIMIT, Case, Context, Needs, ensure, expect_status, expect_text};
use super::host::Pv;
use crate::boot::World;
use crate::commands::demo;
use crate::disk_image::{Contents, End};
use crate::failure::Failure;
use crate::machine::{DEBUG_EXIT_PORT, Firmware, Machine};
use crate::manifest::Manifest;
use crate::outcome::Outcome;
use crate::results;
use crate::session::{Ended, last_lines};

/// All of them.
pub fn cases() -> Vec<Case> {
    let mut every_world = Case::boot("demo: the same kernel in every world", demo_command);
    every_world.needs = Needs::AllCpus;
    every_world.limit = 4 * BOOT_LIMIT;
    let mut cases = vec![
        every_world,
        Case::boot("demo: on the checking backend", checking_backend),
        Case::boot("demo: under instruction counting, twice the same, native", |context, limit| {
            repeatable(context, World::Native, limit)
        }),
        Case::boot("demo: under instruction counting, twice the same, hypervisor", |context, limit| {
            repeatable(context, World::Hypervisor, limit)
        }),
    ];
    for world in [World::Native, World::Hypervisor] {
        for firmware in [Firmware::Bios, Firmware::Uefi] {
            let name = format!("boot: powered off without a status, {}", demo::title(world, firmware, 1));
            cases.push(Case::boot(name, move |context, limit| powered_off(context, world, firmware, limit)));
        }
    }
    for (world, name, ring) in [(World::Native, "native", 0), (World::Hypervisor, "hypervisor", 3)] {
        cases.push(Case::boot(format!("smallest guest: {name}, in ring {ring}"), move |context, limit| {
            let ended = context.run_guest(world, &context.kernels()?.smallest, "", limit)?;
            expect_status(&ended, 0)?;
            expect_text(&ended, &format!("hello from ring {ring}"))
        }));
        cases.push(Case::boot(format!("demo: what it proves, {name}"), move |context, limit| {
            proofs(context, world, ring, limit)
        }));
    }
    cases.push(Case::boot("demo: on the second CPU of two", on_second_cpu));
    cases
}

/// A domain need not run on the CPU that booted.
fn on_second_cpu(context: &Context, limit: Duration) -> Result<(), Failure> {
    let kernels = context.kernels()?;
    let mut manifest = Manifest::for_guest(kernels.demo.clone(), demo::CMDLINE);
    manifest.domains[0].vcpus[0].cpu = 1;
    let contents = Contents::hypervisor(kernels.hypervisor.clone(), manifest.compile(Some(DEBUG_EXIT_PORT))?);
    let ended = context.start(&contents, &Machine { cpus: 2, ..Machine::default() }, limit)?.finish()?;
    verdict(&ended)
}

fn demo_command(context: &Context, limit: Duration) -> Result<(), Failure> {
    let finished = Pv::new(context)?.run(&["demo"], limit)?;
    let output = finished.stdout + &finished.stderr;
    ensure(finished.status.success(), format_args!("{}:\n{output}", finished.status))?;
    let sha256 = context.kernels()?.demo.sha256();
    let shown = output.matches(&sha256).count();
    ensure(shown >= 6, format_args!("the ELF's hash is shown {shown} times, not for each world:\n{output}"))
}

fn verdict(ended: &Ended) -> Result<(), Failure> {
    expect_status(ended, 0)?;
    expect_text(ended, "result: verdict ok")
}

fn checking_backend(context: &Context, limit: Duration) -> Result<(), Failure> {
    let ended =
        context.run_guest(World::Native, &context.kernels()?.demo, "run=demo backend=checking", limit)?;
    verdict(&ended)
}

/// The ring that the kernel reads from CS, and the counts of what must never happen.
fn proofs(context: &Context, world: World, ring: u8, limit: Duration) -> Result<(), Failure> {
    let ended = context.run_guest(world, &context.kernels()?.demo, demo::CMDLINE, limit)?;
    verdict(&ended)?;
    expect_text(&ended, &format!("result: code_segment_ring {ring} ring"))?;
    expect_text(&ended, "result: user_view_kernel_pages 0")?;
    expect_text(&ended, "result: known_root_hidden_faults 0")
}

/// With the clock driven by instructions, even the measurements are answers.
fn repeatable(context: &Context, world: World, limit: Duration) -> Result<(), Failure> {
    let kernels = context.kernels()?;
    let contents = world.contents(&kernels.demo, &kernels.hypervisor, demo::CMDLINE)?;
    let machine = Machine { icount: true, ..Machine::default() };
    let run = || -> Result<Vec<results::Value>, Failure> {
        let ended = context.start(&contents, &machine, limit)?.finish()?;
        verdict(&ended)?;
        Ok(results::parse(&ended.console))
    };
    let (first, second) = (run()?, run()?);
    ensure(first == second, format_args!("two runs differ:\n{first:?}\n{second:?}"))
}

/// As on a real machine, which has no debug-exit device.
fn powered_off(context: &Context, world: World, firmware: Firmware, limit: Duration) -> Result<(), Failure> {
    let kernels = context.kernels()?;
    let contents = match world {
        World::Native => Contents::native(kernels.demo.clone(), demo::CMDLINE, End::PowerOff),
        World::Hypervisor => {
            let system_image = Manifest::for_guest(kernels.demo.clone(), demo::CMDLINE).compile(None)?;
            Contents::hypervisor(kernels.hypervisor.clone(), system_image)
        }
    };
    let machine = Machine { firmware, ..Machine::default() };
    let ended = context.start(&contents, &machine, limit)?.finish()?;
    ensure(
        ended.outcome == Outcome::PoweredOff,
        format_args!("expected a power-off, got {}{}", ended.outcome, last_lines(&ended.console)),
    )?;
    expect_text(&ended, "result: verdict ok")
}
