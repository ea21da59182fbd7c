//! The demo kernel's call sites: what they are rewritten to in each world, what that costs, and that a kernel whose
//! sites were not rewritten does the same work.

mod costs;
mod expected;

use std::time::Duration;

use elf::ElfBytes;
use elf::endian::LittleEndian;

use super::case::{BOOT_LIMIT, Case, Context, Needs, ensure, expect_status, expect_text};
use super::elf_edit::{EXECUTABLE, Edit, WRITABLE};
use crate::boot::World;
use crate::disk_image::Contents;
use crate::elf_file::ElfFile;
use crate::failure::{Failure, Kind};
use crate::machine::{DEBUG_EXIT_PORT, Machine};
use crate::manifest::Manifest;
use crate::session::{last_lines, without_escapes};
use expected::{GUEST, NATIVE, Sites, UNPATCHED};

/// The section of the table, and the bytes of one of its records.
const TABLE: &str = "pvops_sites";
const RECORD_BYTES: usize = 8;
/// The byte of a record that holds its site's length.
const LENGTH: usize = 5;

/// All of them.
pub fn cases() -> Vec<Case> {
    let mut cases = vec![
        listed("native", World::Native, "", NATIVE),
        listed("the checking backend", World::Native, "backend=checking", |operation| {
            // It brings page tables of its own; the rest is the native backend's.
            if operation.starts_with("mmu.") { UNPATCHED(operation) } else { NATIVE(operation) }
        }),
        listed("hypervisor", World::Hypervisor, "", GUEST),
        listed("native, not rewritten", World::Native, "patch=off", UNPATCHED),
        listed("hypervisor, not rewritten", World::Hypervisor, "patch=off", UNPATCHED),
        Case::boot("call sites: hypervisor, on the second CPU of two", on_second_cpu),
        Case::boot("call sites: a damaged table is left alone", |context, limit| {
            let mut elf = Edit::new(&context.kernels()?.demo.bytes);
            let last = table(&context.kernels()?.demo)?.1.end - RECORD_BYTES;
            elf.bytes[last + LENGTH] ^= 0x40;
            refused(context, elf, "DamagedTable", limit)
        }),
        Case::boot("call sites: writable text is left alone", |context, limit| {
            let mut elf = Edit::new(&context.kernels()?.demo.bytes);
            for load in elf.loads() {
                if elf.flags(load) & EXECUTABLE != 0 {
                    elf.set_flags(load, elf.flags(load) | WRITABLE);
                }
            }
            refused(context, elf, "TextWritable", limit)
        }),
    ];
    for (name, world, options) in [
        ("native", World::Native, ""),
        ("the checking backend", World::Native, "backend=checking"),
        ("hypervisor", World::Hypervisor, ""),
    ] {
        cases.push(Case::boot(format!("demo: call sites not rewritten, {name}"), move |context, limit| {
            let cmdline = format!("run=demo patch=off {options}");
            let ended = context.run_guest(world, &context.kernels()?.demo, &cmdline, limit)?;
            expect_status(&ended, 0)?;
            expect_text(&ended, "call sites: not rewritten, as asked")?;
            expect_text(&ended, "result: verdict ok")
        }));
    }
    for mut case in [
        Case::boot("call sites: what each operation costs", costs::each),
        Case::boot("call sites: the demo costs what hard-coded instructions do", costs::whole_demo),
    ] {
        // Builds a kernel.
        case.needs = Needs::AllCpus;
        case.limit = 4 * BOOT_LIMIT;
        cases.push(case);
    }
    cases
}

/// The sites as the kernel reads them back, with one CPU and, natively, with two.
fn listed(name: &str, world: World, options: &'static str, expected: Sites) -> Case {
    Case::boot(format!("call sites: {name}"), move |context, limit| {
        let kernels = context.kernels()?;
        let contents = world.contents(&kernels.demo, &kernels.hypervisor, &format!("run=sites {options}"))?;
        for cpus in [1, 2] {
            check(context, &contents, &Machine { cpus, ..Machine::default() }, expected, limit)?;
        }
        Ok(())
    })
}

fn on_second_cpu(context: &Context, limit: Duration) -> Result<(), Failure> {
    let kernels = context.kernels()?;
    let mut manifest = Manifest::for_guest(kernels.demo.clone(), "run=sites");
    manifest.domains[0].vcpus[0].cpu = 1;
    let contents = Contents::hypervisor(kernels.hypervisor.clone(), manifest.compile(Some(DEBUG_EXIT_PORT))?);
    check(context, &contents, &Machine { cpus: 2, ..Machine::default() }, GUEST, limit)
}

// covers: OPS-019
fn check(
    context: &Context,
    contents: &Contents,
    machine: &Machine,
    expected: Sites,
    limit: Duration,
) -> Result<(), Failure> {
    let kernel = &context.kernels()?.demo;
    let ended = context.start(contents, machine, limit)?.finish()?;
    expect_status(&ended, 0)?;
    let console = without_escapes(&ended.console);
    let sites: Vec<&str> = console.lines().filter_map(|line| line.trim().strip_prefix("site: ")).collect();
    // All records but the one that is no site.
    let records = table(kernel)?.1.len() / RECORD_BYTES - 1;
    ensure(
        sites.len() == records,
        format_args!("{records} sites in the ELF, {} listed{}", sites.len(), last_lines(&console)),
    )?;
    let wrong: Vec<String> = sites
        .iter()
        .filter_map(|line| expected::mismatch(kernel, line, expected).transpose())
        .collect::<Result<_, _>>()?;
    ensure(wrong.is_empty(), wrong.join("\n"))?;
    let unseen: Vec<&&str> = expected::OPERATIONS
        .iter()
        .filter(|operation| !sites.iter().any(|line| line.split(' ').next() == Some(operation)))
        .collect();
    ensure(unseen.is_empty(), format_args!("no site of {unseen:?}"))
}

/// Address and file range of the table of sites.
fn table(kernel: &ElfFile) -> Result<(u64, std::ops::Range<usize>), Failure> {
    let broken = |_| Failure::new(Kind::CheckFailed, "the kernel is no ELF");
    let file = ElfBytes::<LittleEndian>::minimal_parse(&kernel.bytes).map_err(broken)?;
    let section = file.section_header_by_name(TABLE).map_err(broken)?;
    let section = section.ok_or_else(|| Failure::new(Kind::CheckFailed, format!("no section {TABLE}")))?;
    let start = section.sh_offset as usize;
    Ok((section.sh_addr, start..start + section.sh_size as usize))
}

/// The sites are not rewritten, the reason is given, and the kernel works.
// covers: OPS-018
fn refused(context: &Context, elf: Edit, reason: &str, limit: Duration) -> Result<(), Failure> {
    let guest = ElfFile { path: "guest".into(), bytes: elf.bytes };
    let ended = context.run_guest(World::Native, &guest, "run=load seconds=1", limit)?;
    expect_text(&ended, &format!("call sites: not rewritten: {reason}"))?;
    expect_text(&ended, "result: load_rounds")
}
