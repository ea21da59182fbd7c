//! The examples in `configs/`, with the kernels that they name: each is accepted and described, and nothing is booted.

use std::fs;
use std::path::Path;
use std::time::Duration;

use super::case::{Case, Context, ensure};
use super::host::Pv;
use crate::failure::Failure;

/// All of them.
pub fn cases() -> Vec<Case> {
    vec![
        Case::boot("configs: each is described", each_is_described),
        Case::boot("configs: devices and channels are described with their numbers", numbers),
    ]
}

fn each_is_described(context: &Context, limit: Duration) -> Result<(), Failure> {
    let folder = context.workspace.root.join("configs");
    let read = |error| Failure::file("read", &folder, &error);
    for entry in fs::read_dir(&folder).map_err(read)? {
        let path = entry.map_err(read)?.path();
        if path.extension().is_some_and(|extension| extension == "toml") {
            let text = describe(context, &path, limit)?;
            ensure(text.starts_with("system \""), format_args!("{}:\n{text}", path.display()))?;
        }
    }
    Ok(())
}

fn numbers(context: &Context, limit: Duration) -> Result<(), Failure> {
    for (file, line) in [
        ("devices.toml", "  device 0  \"com2\" ports 0x2f8-0x2ff, interrupt 3"),
        ("doorbell.toml", "  channel 0 \"ping\" to \"back\", its channel 0"),
        ("doorbell.toml", "  channel 0 \"ping\" to \"front\", its channel 0"),
    ] {
        let text = describe(context, &context.workspace.root.join("configs").join(file), limit)?;
        ensure(text.lines().any(|known| known == line), format_args!("no {line:?} in\n{text}"))?;
    }
    Ok(())
}

fn describe(context: &Context, config: &Path, limit: Duration) -> Result<String, Failure> {
    context.kernels()?;
    let config = config.display().to_string();
    let finished = Pv::new(context)?.run(&["describe", &config, "--smp", "2"], limit)?;
    ensure(finished.status.success(), format_args!("{}\n{}", finished.status, finished.stderr))?;
    Ok(finished.stdout)
}
