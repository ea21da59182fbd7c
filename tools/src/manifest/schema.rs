//! The shape of `system.toml`, as serde reads it. Spans are kept wherever a check may have to point.

use serde::Deserialize;
use toml::Spanned;

/// The whole file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Document {
    pub(super) system: System,
    #[serde(default)]
    pub(super) domain: Vec<Spanned<Domain>>,
}

/// `[system]`
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct System {
    pub(super) name: Spanned<String>,
}

/// `[[domain]]`
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Domain {
    pub(super) name: Spanned<String>,
    /// Path of the guest ELF, relative to the file.
    pub(super) image: Spanned<String>,
    /// A size such as `"64 MiB"`.
    pub(super) memory: Spanned<String>,
    pub(super) vcpus: Spanned<Vec<Vcpu>>,
    pub(super) cmdline: Option<Spanned<String>>,
    #[serde(default)]
    pub(super) console: bool,
    #[serde(default)]
    pub(super) on_crash: OnCrash,
}

/// One virtual CPU.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Vcpu {
    pub(super) cpu: Spanned<u32>,
    pub(super) priority: Option<Spanned<u8>>,
}

/// `"stop"`, `"halt-system"` or `{ restart = { times = 3, within_s = 10 } }`
#[derive(Deserialize, Default)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) enum OnCrash {
    #[default]
    Stop,
    HaltSystem,
    Restart(Restart),
}

/// How often a crashed domain is started anew.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Restart {
    pub(super) times: Spanned<u32>,
    pub(super) within_s: Spanned<u32>,
}
