//! Mutants: the suite notices some of them here (all of them by `cargo pv mutants`), and the true build has none.

use std::fs;
use std::path::Path;
use std::sync::OnceLock;
use std::time::Duration;

use super::case::{BOOT_LIMIT, Case, Context, Needs, ensure};
use super::host::Pv;
use crate::building;
use crate::elf_file::ElfFile;
use crate::failure::Failure;
use crate::workspace::Workspace;

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

/// Points by their beginnings, with what they come to in the true build: mutation points, trace points in Rust and in the
/// entry code.
const POINTS: [(&str, &str); 3] = [("mutant!(", "false"), ("trace!(", ""), ("trace_point!(", "\"\"")];
/// There are more than so many of each; fewer were found only if this search is wrong.
const LEAST_POINTS: [usize; POINTS.len()] = [40, 10, 5];

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
    let normal = &context.kernels()?.hypervisor;
    let without = hypervisor_without_points(&context.workspace)?;
    ensure(normal.loaded() == without.loaded(), "mutation points leave something in the true build")?;
    let breakable = ElfFile::read(&building::breakable_hypervisor(&context.workspace)?)?;
    ensure(normal.loaded() != breakable.loaded(), "the build that can be broken is the true one")
}

/// The hypervisor from sources without mutation points and trace points; built by the first that asks.
pub fn hypervisor_without_points(workspace: &Workspace) -> Result<ElfFile, Failure> {
    static BUILT: OnceLock<Result<ElfFile, Failure>> = OnceLock::new();
    BUILT.get_or_init(|| build_without_points(workspace)).clone()
}

fn build_without_points(workspace: &Workspace) -> Result<ElfFile, Failure> {
    let folder = workspace.root_without_points();
    if folder.exists() {
        fs::remove_dir_all(&folder).map_err(|error| Failure::file("remove", &folder, &error))?;
    }
    let mut points = [0; POINTS.len()];
    copy_sources(&workspace.root, &folder, &mut points)?;
    for ((begins, _), (count, least)) in POINTS.iter().zip(points.into_iter().zip(LEAST_POINTS)) {
        ensure(count >= least, format_args!("{count} times {begins}"))?;
    }
    ElfFile::read(&building::hypervisor_without_points(workspace)?)
}

/// Copies the workspace's sources; those of the hypervisor without points, which are counted.
fn copy_sources(from: &Path, to: &Path, points: &mut [usize; POINTS.len()]) -> Result<(), Failure> {
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
            let text =
                if name == "mutants.rs" || name == "trace.rs" { text } else { without_points(&text, points) };
            fs::write(&target, text).map_err(|error| Failure::file("write", &target, &error))?;
        } else {
            fs::copy(&path, &target).map_err(|error| Failure::file("copy", &path, &error))?;
        }
    }
    Ok(())
}

/// Without points of every kind, which are counted.
fn without_points(text: &str, points: &mut [usize; POINTS.len()]) -> String {
    POINTS.iter().zip(points).fold(text.to_owned(), |text, (kind, count)| without(&text, *kind, count))
}

/// In place of each point what it comes to, as long as before: columns are in the messages of panics.
fn without(text: &str, (begins, becomes): (&str, &str), points: &mut usize) -> String {
    let mut parts = text.split(begins);
    let mut changed = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let end = end_of_arguments(part);
        let blank = |letter| if letter == '\n' { letter } else { ' ' };
        let point: String = begins.chars().chain(part[..end].chars()).collect();
        changed += becomes;
        changed.extend(point.chars().skip(becomes.len()).map(blank));
        changed += &part[end..];
        *points += 1;
    }
    changed
}

/// Behind the parenthesis that closes one which stands before `text`.
fn end_of_arguments(text: &str) -> usize {
    let mut depth = 1;
    for (at, letter) in text.char_indices() {
        match letter {
            '(' => depth += 1,
            ')' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return at + 1;
        }
    }
    0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_become_false_or_nothing_and_nothing_moves() {
        let mut points = [0; POINTS.len()];
        let text =
            "if mutant!(Some) || x { mutant!(any) }\ntrace!(Port, port(3),\n  x);\n  trace_point!(leave),\n";
        let changed = without_points(text, &mut points);
        assert_eq!((changed.len(), points), (text.len(), [2, 1, 1]));
        assert_eq!(changed.lines().count(), text.lines().count());
        let words = changed.split_whitespace().collect::<Vec<_>>().join(" ");
        assert_eq!(words, "if false || x { false } ; \"\" ,");
        assert_eq!(without_points("nothing", &mut points), "nothing");
    }
}
