//! Mutants: the suite notices some of them here (all of them by `cargo pv mutants`), and the true build has none.

use std::fs;
use std::path::Path;
use std::time::Duration;

use super::case::{BOOT_LIMIT, Case, Context, Needs, ensure};
use super::host::Pv;
use crate::building;
use crate::elf_file::ElfFile;
use crate::failure::Failure;

/// One of each kind: an error, an event, a register, a deadline, a flush, a view, a mark, another domain.
const SOME: [&str; 8] = [
    "UnknownIsInvalid",
    "EventLost",
    "RegisterClobbered",
    "DeadlineEarly",
    "FlushPageDoesNothing",
    "UserViewShowsKernel",
    "AccessedLost",
    "VectorStateLeaked",
];

/// All of them.
pub fn cases() -> Vec<Case> {
    let some = Case::boot("mutants: some of each kind are killed", some_are_killed);
    let none = Case::boot("mutants: the true build has no mutation point", |context, _| no_points(context));
    vec![
        Case { limit: 4 * BOOT_LIMIT, ..some },
        Case { needs: Needs::AllCpus, limit: 4 * BOOT_LIMIT, ..none },
    ]
}

fn some_are_killed(context: &Context, limit: Duration) -> Result<(), Failure> {
    context.kernels()?;
    building::breakable_hypervisor(&context.workspace)?;
    let words: Vec<&str> = std::iter::once("mutants").chain(SOME).collect();
    let finished = Pv::new(context)?.run(&words, limit)?;
    let output = finished.stdout + &finished.stderr;
    ensure(finished.status.success(), &output)?;
    let count = SOME.len();
    ensure(output.contains(&format!("{count} of {count} mutants killed")), output)
}

/// The hypervisor is the same, byte for byte, as one from sources in which each point is the word `false`; and the one that
/// can be broken is another, which shows that this comparison can fail.
fn no_points(context: &Context) -> Result<(), Failure> {
    let workspace = &context.workspace;
    let folder = workspace.root_without_mutants();
    if folder.exists() {
        fs::remove_dir_all(&folder).map_err(|error| Failure::file("remove", &folder, &error))?;
    }
    let mut points = 0;
    copy_sources(&workspace.root, &folder, &mut points)?;
    ensure(points >= 40, format_args!("{points} mutation points"))?;
    let without = ElfFile::read(&building::hypervisor_without_mutants(workspace)?)?;
    let normal = &context.kernels()?.hypervisor;
    ensure(normal.loaded() == without.loaded(), "mutation points leave something in the true build")?;
    let breakable = ElfFile::read(&building::breakable_hypervisor(workspace)?)?;
    ensure(normal.loaded() != breakable.loaded(), "the build that can be broken is the true one")
}

/// Copies the workspace's sources; those of the hypervisor without mutation points, which are counted.
fn copy_sources(from: &Path, to: &Path, points: &mut usize) -> Result<(), Failure> {
    fs::create_dir_all(to).map_err(|error| Failure::file("create", to, &error))?;
    let entries = fs::read_dir(from).map_err(|error| Failure::file("read", from, &error))?;
    for path in entries.filter_map(Result::ok).map(|entry| entry.path()) {
        let name = path.file_name().unwrap_or_default();
        let hidden = name.to_string_lossy().starts_with('.');
        let target = to.join(name);
        if path.is_dir() {
            if name != "target" && !hidden {
                copy_sources(&path, &target, points)?;
            }
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).map_err(|error| Failure::file("read", &path, &error))?;
            let text = if name == "mutants.rs" { text } else { without_points(&text, points) };
            fs::write(&target, text).map_err(|error| Failure::file("write", &target, &error))?;
        } else {
            fs::copy(&path, &target).map_err(|error| Failure::file("copy", &path, &error))?;
        }
    }
    Ok(())
}

/// Each point is `false`, and as long as before: columns are in the messages of panics.
fn without_points(text: &str, points: &mut usize) -> String {
    const BEGINS: &str = "mutant!(";
    let mut parts = text.split(BEGINS);
    let mut changed = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let end = part.find(')').map_or(0, |end| end + 1);
        changed += &format!("{:<width$}", "false", width = BEGINS.len() + end);
        changed += &part[end..];
        *points += 1;
    }
    changed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_become_false_and_nothing_moves() {
        let mut points = 0;
        let text = "if mutant!(Some) || x { mutant!(any) }\n";
        let changed = without_points(text, &mut points);
        assert_eq!((changed.len(), points), (text.len(), 2));
        assert_eq!(changed.split_whitespace().collect::<Vec<_>>().join(" "), "if false || x { false }");
        assert_eq!(without_points("nothing", &mut points), "nothing");
    }
}
