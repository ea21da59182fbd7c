//! The specification: its tables, header and rules, and the guest that is written against it alone.

use std::fs;
use std::process::Command;
use std::time::Duration;

use super::case::{Case, Context, Needs, ensure, expect_status, expect_text};
use crate::abi::Abi;
use crate::boot::World;
use crate::c_guest;
use crate::commands::{book, header};
use crate::failure::{Failure, Kind};
use crate::session::without_escapes;
use crate::specification::{Specification, problems, rules, tables};
use crate::toolchain;
use crate::workspace::Workspace;

/// All of them.
pub fn cases() -> Vec<Case> {
    vec![
        quick("specification: its tables are those of pvops-abi", |context| {
            let abi = Abi::read(&context.workspace)?;
            none(&tables::check(&Specification::read(&context.workspace)?, &abi))
        }),
        quick("specification: every MUST has an id of its own", |context| {
            none(&rules::requirements(&Specification::read(&context.workspace)?))
        }),
        quick("specification: links and summary", |context| {
            let folder = context.workspace.specification();
            none(&rules::links(&Specification::read(&context.workspace)?, &folder))
        }),
        quick("specification: sources cite what is in it", |context| {
            let specification = Specification::read(&context.workspace)?;
            let mut found = Vec::new();
            for folder in ["conformance", "hypervisor", "pvops-abi", "pvops-native", "guest-demo-kernel"] {
                found.extend(rules::citations(&specification, &context.workspace.root.join(folder))?);
            }
            none(&found)
        }),
        quick("specification: pvops.h is up to date", |context| header::check(&context.workspace)),
        quick("specification: pvops.h is C11 and C++17", header_compiles),
        quick("specification: it shows the C guest and how to build it", shows_c_guest),
        book_builds(),
        Case::boot("specification: the C guest, and the bytes that are shown", c_guest_boots),
    ]
}

/// mdbook takes minutes to compile, so nothing installs it for a test.
fn book_builds() -> Case {
    let name = "specification: it builds as a book";
    match book::installed(&Workspace::find()) {
        Some(_) => quick(name, |context| {
            let program = book::installed(&context.workspace);
            let program = program.ok_or_else(|| problems(&["mdbook is gone".into()]))?;
            book::build(&context.workspace, &program).map(|_| ())
        }),
        None => Case::skipped(name, "mdbook is not installed; `cargo pv book` does that"),
    }
}

fn quick(name: &str, run: fn(&Context) -> Result<(), Failure>) -> Case {
    let mut case = Case::boot(name, move |context, _| run(context));
    case.needs = Needs::AllCpus;
    case
}

fn none(found: &[String]) -> Result<(), Failure> {
    if found.is_empty() { Ok(()) } else { Err(problems(found)) }
}

/// Included twice, as headers are, with all warnings as errors.
fn header_compiles(context: &Context) -> Result<(), Failure> {
    let folder = tempfile::tempdir().map_err(|error| Failure::new(Kind::File, error.to_string()))?;
    let source = folder.path().join("includes-it-twice");
    fs::write(&source, "#include <pvops.h>\n#include <pvops.h>\n")
        .map_err(|error| Failure::file("write", &source, &error))?;
    for (compiler, language, standard) in
        [(toolchain::gcc()?, "c", "-std=c11"), (toolchain::gxx()?, "c++", "-std=c++17")]
    {
        let mut command = Command::new(compiler);
        command.args(["-x", language, standard, "-ffreestanding", "-fsyntax-only"]);
        command
            .args(["-Wall", "-Wextra", "-Wpedantic", "-Werror", "-I"])
            .arg(context.workspace.specification());
        c_guest::compile(command.arg(&source))?;
    }
    Ok(())
}

/// The walk-through is about the files that are built.
fn shows_c_guest(context: &Context) -> Result<(), Failure> {
    let specification = Specification::read(&context.workspace)?;
    let chapter = specification.chapter("guest-in-c.md")?;
    for file in ["guest.c", "link.ld"] {
        let path = context.workspace.c_guest_sources().join(file);
        let source = fs::read_to_string(&path).map_err(|error| Failure::file("read", &path, &error))?;
        ensure(chapter.code.contains(&source), format_args!("guest-in-c.md does not show {file} as it is"))?;
    }
    let shown = chapter.code.iter().find_map(|code| code.strip_prefix("gcc "));
    let words: Vec<&str> = shown.unwrap_or("").split_whitespace().filter(|word| *word != "\\").collect();
    let wanted: Vec<&str> =
        c_guest::OPTIONS.into_iter().chain(["-I", "../../spec", "-o", "c-guest", "guest.c"]).collect();
    ensure(words == wanted, format_args!("guest-in-c.md shows {words:?}, not {wanted:?}"))
}

/// The guest passes; its notes, and the `StartInfo` that it prints, are those in the text.
fn c_guest_boots(context: &Context, limit: Duration) -> Result<(), Failure> {
    let guest = c_guest::build(&context.workspace)?;
    let specification = Specification::read(&context.workspace)?;
    let notes = dump(&specification, "guest-in-c.md", "400000")?;
    ensure(holds(&guest.bytes, &notes), "guest-in-c.md shows other notes than the C guest has")?;

    let ended = context.run_guest(World::Hypervisor, &guest, "", limit)?;
    expect_status(&ended, 0)?;
    expect_text(&ended, "c-guest: a page fault at 8")?;
    expect_text(&ended, "c-guest: a timer event")?;
    let console = without_escapes(&ended.console);
    let printed: Vec<u8> =
        console.lines().filter_map(|line| line.strip_prefix("c-guest: ")).flat_map(row).collect();
    let mut shown = dump(&specification, "first-boot.md", "205000")?;
    // The one field that differs from machine to machine.
    let clock = std::mem::offset_of!(pvops_abi::layout::StartInfo, tsc_hz);
    ensure(printed.len() == shown.len(), format_args!("{} bytes, not {}", printed.len(), shown.len()))?;
    shown[clock..clock + 8].copy_from_slice(&printed[clock..clock + 8]);
    ensure(
        printed == shown,
        format_args!("first-boot.md shows another StartInfo than the C guest saw:\n{console}"),
    )
}

/// The bytes of a block of code that begins at this address.
fn dump(specification: &Specification, file: &str, start: &str) -> Result<Vec<u8>, Failure> {
    let chapter = specification.chapter(file)?;
    let block = chapter.code.iter().find(|code| code.starts_with(start));
    let block = block.ok_or_else(|| problems(&[format!("{file} shows no bytes at {start}")]))?;
    Ok(block.lines().flat_map(row).collect())
}

/// The bytes of a line: behind the address, up to the first word that is none.
fn row(line: &str) -> Vec<u8> {
    let bytes = line
        .split_whitespace()
        .skip(1)
        .map_while(|word| (word.len() == 2).then(|| u8::from_str_radix(word, 16).ok()).flatten());
    bytes.collect()
}

fn holds(bytes: &[u8], part: &[u8]) -> bool {
    !part.is_empty() && bytes.windows(part.len()).any(|window| window == part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_stand_between_address_and_remark() {
        assert_eq!(row("0270  06 00  f8 ff      name 6 bytes"), [6, 0, 0xf8, 0xff]);
        assert_eq!(row("c-guest:"), <[u8; 0]>::default());
        assert!(holds(&[1, 2, 3], &[2, 3]) && !holds(&[1, 2], &[]) && !holds(&[1, 2], &[2, 1]));
    }
}
