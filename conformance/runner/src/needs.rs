//! Whether what a target needs is there.

use std::path::{Path, PathBuf};

use crate::failure::{Failure, Kind};
use crate::target::Need;

/// The program at `path`, or on PATH if it is a bare name.
pub fn find_program(path: &Path) -> Option<PathBuf> {
    if path.components().count() > 1 {
        return path.is_file().then(|| path.to_path_buf());
    }
    let folders = std::env::var_os("PATH")?;
    std::env::split_paths(&folders).map(|folder| folder.join(path)).find(|candidate| candidate.is_file())
}

/// Whether the program or file called `name` is there.
pub fn is_there(need: &Need, name: &str) -> bool {
    match need.program {
        Some(_) => find_program(Path::new(name)).is_some(),
        None => Path::new(name).exists(),
    }
}

/// The failure for something that is not there.
pub fn missing(need: &Need, name: &str) -> Failure {
    let failure = Failure::new(Kind::Missing, format!("{name} is not there"));
    match need.debian_packages.as_slice() {
        [] => failure,
        packages => failure.hint(format!("install it: sudo apt-get install {}", packages.join(" "))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_found_on_the_path_only_by_bare_name() {
        assert!(find_program(Path::new("sh")).is_some());
        assert!(find_program(Path::new("/nowhere/sh")).is_none());
        assert!(find_program(Path::new("no-such-program")).is_none());
    }
}
