//! The commands in READMEs are commands, and the guest that the first one shows is the one that is built and booted.

use super::case::{Case, Context, Needs, ensure};
use crate::failure::{Failure, Kind};

/// All of them.
pub fn cases() -> Vec<Case> {
    vec![
        quick("readme: its commands parse", commands_parse),
        quick("readme: it shows the smallest guest", shows_smallest),
    ]
}

fn quick(name: &str, run: fn(&Context) -> Result<(), Failure>) -> Case {
    let mut case = Case::boot(name, move |context, _| run(context));
    case.needs = Needs::AllCpus;
    case
}

fn commands_parse(context: &Context) -> Result<(), Failure> {
    for file in ["README.md", "configs/README.md"] {
        let readme = read(context, file)?;
        let commands: Vec<Vec<String>> =
            code_lines(&readme).into_iter().filter_map(command_of_line).collect();
        ensure(!commands.is_empty(), format_args!("{file} shows no `cargo pv` command"))?;
        for words in commands {
            let refuse =
                |error| Failure::new(Kind::CheckFailed, format!("`cargo pv {}`: {error}", words.join(" ")));
            crate::parses(&words).map_err(refuse)?;
        }
    }
    Ok(())
}

fn shows_smallest(context: &Context) -> Result<(), Failure> {
    let source = read(context, "guest-demo-kernel/examples/smallest.rs")?;
    let lines = source.lines().count();
    ensure(lines < 60, format_args!("the smallest guest has {lines} lines, 60 or more"))?;
    let readme = read(context, "README.md")?;
    ensure(
        readme.contains(source.trim()),
        "the README does not show guest-demo-kernel/examples/smallest.rs as it is",
    )
}

fn read(context: &Context, file: &str) -> Result<String, Failure> {
    let path = context.workspace.root.join(file);
    std::fs::read_to_string(&path).map_err(|error| Failure::file("read", &path, &error))
}

/// The lines inside fenced code blocks.
fn code_lines(markdown: &str) -> Vec<&str> {
    let mut inside = false;
    let mut lines = Vec::new();
    for line in markdown.lines() {
        if line.trim_start().starts_with("```") {
            inside = !inside;
        } else if inside {
            lines.push(line);
        }
    }
    lines
}

/// What follows `cargo pv` on a shell line, as words; comments, pipes and redirections end it.
fn command_of_line(line: &str) -> Option<Vec<String>> {
    let rest = line.trim().trim_start_matches("$ ").strip_prefix("cargo pv")?;
    if !rest.is_empty() && !rest.starts_with(' ') {
        return None;
    }
    let mut words = Vec::new();
    let mut rest = rest.trim_start();
    while let Some(first) = rest.chars().next().filter(|first| !"#|>&;".contains(*first)) {
        let quoted = matches!(first, '"' | '\'');
        let body = if quoted { &rest[1..] } else { rest };
        let end = body.find(if quoted { first } else { ' ' }).unwrap_or(body.len());
        words.push(body[..end].to_owned());
        rest = body[end..].trim_start_matches(['"', '\'']).trim_start();
    }
    Some(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_found_in_code_blocks_only() {
        let markdown = "cargo pv no\n```sh\n$ cargo pv demo # all worlds\ncargo pv run native --cmdline 'a b' | cat\n\
                        cargo pvx\nls\n```\ncargo pv no\n";
        let commands: Vec<_> = code_lines(markdown).into_iter().filter_map(command_of_line).collect();
        assert_eq!(commands, [vec!["demo"], vec!["run", "native", "--cmdline", "a b"]]);
    }

    fn words(line: &str) -> Vec<String> {
        line.split(' ').map(str::to_owned).collect()
    }

    #[test]
    fn commands_are_checked_by_the_real_parser() {
        assert!(crate::parses(&words("run native --smp 2")).is_ok());
        assert!(crate::parses(&words("--help")).is_ok());
        assert!(crate::parses(&words("run elsewhere")).is_err());
        assert!(crate::parses(&words("demmo")).is_err());
    }
}
